"""Carries a plan out: the intent is written down, the right to act is asked for, then the plant is set."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
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
    attempt = _set_all(plan, at, plant, guard, recorder) if plan.act else Attempt(True, False, [])
    if isinstance(plant, PlantWithReplicas):
        return _set_some(attempt, plan, at, plant, guard, recorder)
    return attempt


def _set_all(plan: Plan, at: str, plant: Plant, guard: Guard | None, recorder: Recorder) -> Attempt:
    """Apply the plan's setting."""
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


def _set_some(
    attempt: Attempt, plan: Plan, at: str, plant: PlantWithReplicas, guard: Guard | None, recorder: Recorder
) -> Attempt:
    """Set what only some replicas get: a change that is tried, its end, what is in force for those that came back.

    The end of a trial comes after the change of all, which it may be: canaries then have what the rest has. Those that
    came back wait for a period without any change, so that they get what is in force after it. Nothing is decided by
    that, so that only the kill switch and a missing right to act hold it up.
    """
    inputs = plan.inputs
    steps: list[tuple[str, Mapping[str, Mapping[str, float]], Callable[[], None]]] = []
    for name, values in plan.tried.items():
        if values or name in plant.tried:
            steps.append(("canaries", {name: values}, functools.partial(plant.try_on, name, values)))
    may_catch_up = inputs.mode.changes and not (inputs.killed or inputs.no_right or plan.restore or plan.act or steps)
    if may_catch_up and plant.behind:
        steps.append(("replicas", {name: dict(one) for name, one in plant.behind.items()}, plant.catch_up))
    for kind, values_of, do in steps:
        comes_back = not any(values_of.values())
        intent = intent_record(plant.spec, inputs.snapshot.time, at, inputs.before, inputs.before)
        try:
            recorder.intent({**intent, kind: values_of}, urgent=comes_back)
        except JournalError as error:
            attempt.refusals.append(Refusal(Reason.JOURNAL, str(error)))
            if not comes_back:
                continue
        try:
            with _acting(plant, guard):
                do()
                attempt = attempt._replace(made=True)
        except GuardError as error:
            attempt.refusals.append(Refusal(Reason.LEASE, str(error)))
        except PlantError as error:
            attempt = attempt._replace(made=True)
            attempt.refusals.append(Refusal(Reason.ACTUATOR, str(error)))
    return attempt


def _acting(plant: object, guard: Guard | None) -> contextlib.AbstractContextManager[None]:
    """What a change is made in: with a guard, how to undo it is on the disk before."""
    if guard is None or not isinstance(plant, PlantWithReverts):
        return contextlib.nullcontext()
    return guard.acting(plant.revert_steps())
