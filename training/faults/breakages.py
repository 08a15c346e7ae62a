"""Ways to break a controller on purpose: each is given a world whose controller has just begun."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from controller import face
from controller.arbiter import Admission, Situation
from controller.judge import Judge
from controller.lease import BEAT, write_in_place
from controller.loop import Controller
from controller.shield import Shield
from controller.trial import Outcome, Trial, Verdict
from envs.recent import Recent
from telemetry.metrics import Snapshot
from training.faults.host import FileActuator
from training.faults.world import World

Prepare = Callable[[World], None]


def _controller(world: World) -> Controller:
    if world.controller is None:
        raise RuntimeError("a mutant is prepared when its controller has begun")
    return world.controller


def shield_lets_all_through(world: World) -> None:
    def check(proposed: Any, current: np.ndarray, *_: Any, **__: Any) -> tuple[np.ndarray, list[Any]]:
        return np.where(np.isfinite(proposed), proposed, current), []

    _controller(world).kernel.shield.check = check  # type: ignore[method-assign]


def shield_exaggerates(world: World) -> None:
    shield = _controller(world).kernel.shield

    def check(proposed: Any, current: np.ndarray, *rest: Any, **named: Any) -> tuple[np.ndarray, list[Any]]:
        setting, reasons = Shield.check(shield, proposed, current, *rest, **named)
        return current + 20.0 * (setting - current), reasons

    shield.check = check  # type: ignore[method-assign]


def shield_undoes_nothing(world: World) -> None:
    shield = _controller(world).kernel.shield

    def check(proposed: Any, current: np.ndarray, *rest: Any, **named: Any) -> tuple[np.ndarray, list[Any]]:
        return (current.copy(), []) if named.get("undo") else Shield.check(shield, proposed, current, *rest, **named)

    shield.check = check  # type: ignore[method-assign]


def missing_counts_as_zero(world: World) -> None:
    controller = _controller(world)
    append = controller.recent.append

    def zeros(snapshot: Snapshot) -> Recent:
        return append(replace(snapshot, values=np.nan_to_num(snapshot.values, posinf=0.0, neginf=0.0)))

    controller.recent.append = zeros  # type: ignore[method-assign]
    controller.kernel.shield.missing = lambda snapshot, now: None  # type: ignore[method-assign]


def judge_finds_nothing(world: World) -> None:
    judge = _controller(world).trials.judge

    def verdict(trial: Trial, busy: set[str]) -> Verdict | None:
        found = Judge.verdict(judge, trial, busy)
        return found and replace(found, outcome=Outcome.KEEP)

    judge.verdict = verdict  # type: ignore[method-assign]


def missing_counts_as_good(world: World) -> None:
    judge = _controller(world).trials.judge

    def verdict(trial: Trial, busy: set[str]) -> Verdict | None:
        found = Judge.verdict(judge, trial, busy)
        return replace(found, outcome=Outcome.KEEP) if found and "missing" in found.reason else found

    judge.verdict = verdict  # type: ignore[method-assign]


def arbiter_sees_no_trials(world: World) -> None:
    arbiter = _controller(world).kernel.arbiter
    admit = arbiter.admit

    def blind(moves: Any, current: np.ndarray, situation: Situation) -> Admission:
        return admit(moves, current, replace(situation, busy={}, has_baseline=lambda workload: True))

    arbiter.admit = blind  # type: ignore[method-assign]


def warden_only_beats(world: World) -> None:
    def look() -> None:
        write_in_place(str(world.directory / BEAT), world.clock())

    if world.guard is not None:
        world.guard.look = look  # type: ignore[method-assign]


def no_lease(world: World) -> None:
    if world.guard is not None:
        world.guard.acting = lambda steps: contextlib.nullcontext()  # type: ignore[method-assign, assignment, return-value]


def guard_never_objects(world: World) -> None:
    if world.guard is not None:
        world.guard.problem = lambda: None  # type: ignore[method-assign]


def no_lock(world: World) -> None:
    if world.guard is not None:
        world.guard.let_go()


def journal_drops(kind: str) -> Prepare:
    def prepare(world: World) -> None:
        append = world.journal.append

        def dropping(record: Any, **named: Any) -> bool:
            return record.get("kind") != kind and append(record, **named)

        world.journal.append = dropping  # type: ignore[method-assign]

    return prepare


def decides_by_chance(world: World) -> None:
    shield, rng = _controller(world).kernel.shield, np.random.default_rng(0)

    def check(proposed: Any, current: np.ndarray, *rest: Any, **named: Any) -> tuple[np.ndarray, list[Any]]:
        return Shield.check(shield, proposed if rng.random() < 0.5 else current, current, *rest, **named)

    shield.check = check  # type: ignore[method-assign]


def face_is_open(world: World) -> None:
    before = face.denial
    face.denial = lambda *_: None  # type: ignore[assignment]
    world.on_close.append(lambda: setattr(face, "denial", before))


def deaf(world: World) -> None:
    _controller(world).heed = lambda: None


def modes_of_workloads_are_nothing(world: World) -> None:
    kernel = _controller(world).kernel
    kernel.decide = lambda inputs: type(kernel).decide(kernel, replace(inputs, modes={}))  # type: ignore[method-assign]


def no_compare_and_set(world: World) -> None:
    world.host._unchanged_since = lambda actuator: True  # type: ignore[method-assign]


def compares_values_alone(world: World) -> None:
    for actuator in world.host.actuators.used:
        if isinstance(actuator, FileActuator):
            actuator.set_elsewhere = set  # type: ignore[method-assign, assignment]


def tells_what_was_asked(world: World) -> None:
    for actuator in world.host.actuators.used:
        if isinstance(actuator, FileActuator):
            _only_tell(actuator)


def _only_tell(actuator: FileActuator) -> None:
    actuator.apply = lambda values: actuator.read() | dict(values)  # type: ignore[method-assign]


def policies_may_raise(world: World) -> None:
    proposer = _controller(world).proposer

    def propose(recent: Any, setting: np.ndarray) -> Any:
        for role, policy in proposer.policies.items():
            policy.act(proposer.tasks[role].observe(recent, setting))
        return type(proposer).propose(proposer, recent, setting)

    proposer.propose = propose  # type: ignore[method-assign]
