"""How far a controller may go by its modes: what the monitors hold its changes against."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from controller.decision import Decision, Mode
from controller.shield import Reason
from controller.trial import Trial
from envs.spec import WORKLOADS
from training.faults.world import World

TOLERANCE = 1e-6


def mode_of(decision: Decision, workload: str) -> Mode:
    """Of a workload, in force in a period."""
    return decision.modes.get(workload, decision.mode)


def fallen(decision: Decision) -> list[str]:
    """Workloads whose mode fell after a period: one, or all with the system."""
    told = [reason.detail for reason in decision.reasons if reason.reason is Reason.DEMOTED]
    named = [str(workload) for workload in WORKLOADS if any(f"mode of {workload} " in detail for detail in told)]
    return named or [str(workload) for workload in WORKLOADS if told]


def still_as_high(decision: Decision, now: Mapping[str, Mode]) -> list[str]:
    """Workloads whose mode should have fallen after a period, and has not; who was lower than the others may stay.

    Args:
        decision: of the period.
        now: workload -> mode in force after it.
    """
    rungs = {workload: mode_of(decision, workload).rung for workload in fallen(decision)}
    top = max(rungs.values(), default=0)
    return [workload for workload, rung in rungs.items() if rung == top and now[workload].rung >= top]


def ordered_mode(world: World, workload: str) -> Mode:
    """The highest mode that operators allow a workload."""
    wanted = [Mode(world.ordered[name]) for name in ("mode", f"mode.{workload}") if name in world.ordered]
    return min(wanted, key=lambda mode: mode.rung, default=Mode.ACT)


def is_large(world: World, decision: Decision, trial: Trial) -> bool:
    """Whether a change is longer than a canary's; whole numbers are rounded, and move by one at least."""
    before, after = decision.before.copy(), decision.before.copy()
    before[trial.knobs], after[trial.knobs] = trial.before, trial.after
    allowed = world.config.canary_step * np.array([knob.max_step for knob in world.spec.knobs])
    whole = np.array([knob.integer for knob in world.spec.knobs])
    shorter = np.where(whole, np.where(np.abs(after - before) <= 1.0, before, after - np.sign(after - before)), after)
    way = np.abs(world.scaling.scale(shorter) - world.scaling.scale(before))
    return bool((way > allowed + TOLERANCE).any())
