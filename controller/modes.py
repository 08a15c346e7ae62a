"""The mode of each workload: the lowest of the system's, the operator's for it, and the configuration's for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.decision import Mode


def modes_in_force(workloads: Iterable[str], system: Mode, *limits: Mapping[str, Mode]) -> dict[str, Mode]:
    """Mode of each workload.

    Args:
        workloads: of the system.
        system: mode of the system as a whole.
        limits: workload -> mode that it may have at most; one that is not named has no limit there.
    """
    return {
        workload: min([system, *(limit[workload] for limit in limits if workload in limit)], key=lambda mode: mode.rung)
        for workload in workloads
    }


def highest(modes: Mapping[str, Mode]) -> Mode:
    """Of all workloads: how far the controller goes at most."""
    return max(modes.values(), key=lambda mode: mode.rung, default=Mode.OFF)


def told(system: str, modes: Mapping[str, str]) -> str:
    """In one line: the system's mode, and those of the workloads that have another one, as in `act, serving shadow`."""
    return ", ".join([system, *(f"{workload} {mode}" for workload, mode in modes.items() if mode != system)])
