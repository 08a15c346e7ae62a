"""Carries a plan out: the intent is written down, the right to act is asked for, then the plant is set."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from controller.decision import intent_record
from controller.guard import Guard, GuardError
from controller.journal import JournalError
from controller.period import Plan
from controller.plant_events import PlantWithReverts
from controller.recorder import Recorder
from controller.replicas import PlantWithReplicas
from controller.shield import Reason, Refusal
from envs.plant import Plant, PlantError


class Attempt(NamedTuple):
    """What was tried of a plan.

    Attributes:
        journaled: whether the intent was written down; if not, only what comes back was tried.
        made: whether an actuator was called.
        refusals: of journal, guard and actuators.
    """

    journaled: bool
    made: bool
    refusals: list[Refusal]


def carry_out(plan: Plan, at: str, plant: Plant, guard: Guard | None, recorder: Recorder) -> Attempt:
    """Do what a plan says; nothing where it is only what would be done.

    Args:
        plan: of the kernel.
        at: wall clock, ISO 8601.
        plant: to be set.
        guard: the right to act; None needs none.
        recorder: of the intent.
    """
    if not plan.act:  # replicas wait for such a period, so that they get what is in force after a change or a rollback
        return _catch_up(plan, at, plant, guard, recorder)
    refusals: list[Refusal] = []
    before, wanted = plan.inputs.before, plan.setting
    try:
        intent = intent_record(plant.spec, plan.inputs.snapshot.time, at, before, wanted)
        recorder.intent(intent, urgent=not plan.moves)
    except JournalError as error:
        # What comes back stands in the journal already, so it goes ahead; nothing new does.
        refusals.append(Refusal(Reason.JOURNAL, str(error)))
        wanted = plan.undone
    journaled, made = not refusals, False
    try:
        if (wanted != before).any():
            with _acting(plant, guard):
                made = True
                if plan.restore and isinstance(plant, PlantWithReverts):
                    plant.restore()
                else:
                    plant.apply(wanted)
    except GuardError as error:
        refusals.append(Refusal(Reason.LEASE, str(error)))
    except (PlantError, ValueError) as error:
        refusals.append(Refusal(Reason.ACTUATOR, str(error)))
    return Attempt(journaled, made, refusals)


def _catch_up(plan: Plan, at: str, plant: Plant, guard: Guard | None, recorder: Recorder) -> Attempt:
    """Set replicas that came back to what is in force.

    Nothing is decided by it: the value is the one that all others have. So it does not wait for what holds changes
    back, but for the kill switch, and for a right to act.
    """
    inputs, nothing = plan.inputs, Attempt(True, False, [])
    may = inputs.mode.changes and not (inputs.killed or inputs.no_right or plan.restore)
    if not may or not isinstance(plant, PlantWithReplicas) or not plant.behind:
        return nothing
    intent = intent_record(plant.spec, inputs.snapshot.time, at, inputs.before, inputs.before)
    try:
        recorder.intent({**intent, "replicas": {name: dict(one) for name, one in plant.behind.items()}}, urgent=False)
        with _acting(plant, guard):
            plant.catch_up()
    except (JournalError, GuardError, PlantError) as error:
        reasons = {JournalError: Reason.JOURNAL, GuardError: Reason.LEASE}
        return Attempt(True, False, [Refusal(reasons.get(type(error), Reason.ACTUATOR), str(error))])
    return Attempt(True, True, [])


def _acting(plant: Plant, guard: Guard | None) -> contextlib.AbstractContextManager[None]:
    """What a change is made in: with a guard, how to undo it is on the disk before."""
    if guard is None or not isinstance(plant, PlantWithReverts):
        return contextlib.nullcontext()
    return guard.acting(plant.revert_steps())
