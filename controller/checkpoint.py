"""A kernel as it stands, in one record: from there on the journal can be replayed, whatever came before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.config import ControllerConfig
from controller.kernel import Kernel
from controller.memory import Remembers, recall, remembered
from controller.period import array_of, numbers
from envs.spec import SystemSpec

KIND = "checkpoint"
YOUNGER = frozenset({"canaries", "recoverability"})
"""Parts that journals of former versions do not know: nothing was remembered of them."""


def checkpoint_record(kernel: Kernel, at: str) -> dict[str, Any]:
    """All that a kernel's next decisions depend on, besides their inputs.

    Args:
        kernel: between two periods.
        at: wall clock, ISO 8601.
    """
    return {
        "kind": KIND,
        "at": at,
        "run": kernel.run_id,
        "period": kernel.period,
        "fingerprint": kernel.spec.fingerprint,
        "spec": kernel.spec.model_dump(mode="json"),
        "config": kernel.config.plain(),
        "found": numbers(kernel.found),
        "memory": memory(kernel),
    }


def kernel_of(record: Mapping[str, Any]) -> Kernel:
    """A kernel that goes on from a checkpoint.

    Raises:
        KeyError, ValueError, TypeError: the record is none, or of another version.
    """
    spec, config = SystemSpec.model_validate(record["spec"]), ControllerConfig.of(record["config"])
    kernel = Kernel(spec, config, array_of(record["found"]), record["run"])
    for name, part in _parts(kernel).items():
        if name in record["memory"] or name not in YOUNGER:
            recall(part, record["memory"][name])
    return kernel


def memory(kernel: Kernel) -> dict[str, Any]:
    """What a kernel and its parts remember, as plain values."""
    return {name: remembered(part) for name, part in _parts(kernel).items()}


def budgets(kernel: Kernel) -> dict[str, Any]:
    """What of that a restart must not refill: of each part what its `BUDGETS` name."""
    return {name: remembered(part, own) for name, part in _parts(kernel).items() if (own := _budgets_of(part))}


def recall_budgets(kernel: Kernel, plain: Mapping[str, Any]) -> None:
    """Let a kernel that has not decided yet go on with another one's budgets.

    Raises:
        KeyError, ValueError, TypeError: `plain` was not made by `budgets`, or by another version.
    """
    for name, part in _parts(kernel).items():
        if own := _budgets_of(part):
            recall(part, plain[name], own)


def _budgets_of(part: Remembers) -> tuple[str, ...]:
    return getattr(part, "BUDGETS", ())


def _parts(kernel: Kernel) -> dict[str, Remembers]:
    names = (
        "shield", "recoverability", "arbiter", "trials", "adviser", "canary", "canaries", "recovery", "infeasible",
        "budgets",
    )  # fmt: skip
    return {"kernel": kernel, **{name: getattr(kernel, name) for name in names}}
