"""Between watching and acting: mode `advise`, where changes wait for an operator; `canary`, where they are small."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from controller.arbiter import Admission, Move
from controller.shield import Reason, Refusal
from envs.scaling import KnobScaling
from envs.spec import Role, SystemSpec


@dataclass(frozen=True)
class Advice:
    """A change that the shield would allow, and that waits for an operator.

    Attributes:
        move: what is advised; its id is that of the optimization which it becomes.
        before: values in force when it was advised, one for each of the move's knobs.
        policy: that wanted it.
        expires_at: seconds.
        approved: whether an operator said yes; it is made as soon as the shield allows it.
    """

    move: Move
    before: tuple[float, ...]
    policy: str
    expires_at: float
    approved: bool = False


class Adviser:
    """At most one advice per workload, until it is approved and made, expires, or is overtaken.

    Args:
        next_id: gives ids of optimizations.
    """

    STATE = ("waiting",)

    def __init__(self, next_id: Callable[[], str]) -> None:
        self._next_id = next_id
        self.waiting: dict[str, Advice] = {}
        """By workload."""

    def keep(self, workloads: Collection[str]) -> None:
        """Forget what waits for other workloads than these."""
        self.waiting = {workload: advice for workload, advice in self.waiting.items() if workload in workloads}

    def review(self, approvals: Collection[str], current: np.ndarray, now: float) -> list[Refusal]:
        """Take approvals over, and drop what has expired or been overtaken.

        Args:
            approvals: ids that an operator approved since the last period.
            current: (n_knobs,) in force.
            now: seconds.
        """
        notes = []
        for workload, advice in list(self.waiting.items()):
            id, in_force = advice.move.id, tuple(float(current[knob]) for knob in advice.move.knobs)
            if in_force != advice.before:
                notes.append(Refusal(Reason.ADVICE, f"{id} is overtaken: its knobs were changed meanwhile"))
                del self.waiting[workload]
            elif not now < advice.expires_at:
                late = "approved, but not allowed in time" if advice.approved else "not approved in time"
                notes.append(Refusal(Reason.ADVICE, f"{id} has expired: {late}"))
                del self.waiting[workload]
            elif id in approvals:
                self.waiting[workload] = replace(advice, approved=True)
        known = {advice.move.id for advice in self.waiting.values()}
        unknown = [id for id in approvals if id not in known]
        return notes + [Refusal(Reason.ADVICE, f"no advice {id} waits any more") for id in unknown]

    def withdraw(self, moves: Collection[Move], current: np.ndarray, fixed: Collection[int]) -> list[Refusal]:
        """Drop what is not wanted now, approved or not: a knob is pinned, or the same role moves it the other way.

        Args:
            moves: that are wanted now.
            current: (n_knobs,) in force.
            fixed: knobs that nobody but the operator moves.
        """
        notes = []
        for workload, advice in list(self.waiting.items()):
            if set(advice.move.knobs) & set(fixed):
                notes.append(Refusal(Reason.ADVICE, f"{advice.move.id} is withdrawn: a knob of it is pinned"))
                del self.waiting[workload]
        for move in moves:
            if move.workload not in self.waiting or self.waiting[move.workload].move.role is not move.role:
                continue
            advice = self.waiting[move.workload]
            advised = dict(zip(advice.move.knobs, advice.move.values, strict=True))
            wanted = dict(zip(move.knobs, move.values, strict=True))
            shared = wanted.keys() & advised.keys()
            if any((wanted[knob] - current[knob]) * (advised[knob] - current[knob]) < 0 for knob in shared):
                notes.append(Refusal(Reason.ADVICE, f"{advice.move.id} is withdrawn: the opposite is wanted now"))
                del self.waiting[move.workload]
        return notes

    def split(self, moves: Collection[Move]) -> tuple[list[Move], list[Move]]:
        """What may be tried now, and what may be advised: approved changes, and moves of workloads without advice."""
        approved = [advice.move for advice in self.waiting.values() if advice.approved]
        return approved, [move for move in moves if move.workload not in self.waiting]

    def offer(
        self, moves: Collection[Move], current: np.ndarray, allowed: np.ndarray, policies: Mapping[Role, str],
        expires_at: float,
    ) -> list[Advice]:  # fmt: skip
        """Advise what the shield would allow of these moves.

        Args:
            moves: admitted, one per workload.
            current: (n_knobs,) in force.
            allowed: (n_knobs,) what the shield made of them.
            policies: role -> name of the policy that wants it.
            expires_at: seconds.

        Returns:
            The new ones; those that the shield leaves nothing of are no advice.
        """
        new = []
        for move in moves:
            knobs = tuple(knob for knob in move.knobs if allowed[knob] != current[knob])
            if not knobs:
                continue
            values = tuple(float(allowed[knob]) for knob in knobs)
            advised = replace(move, knobs=knobs, values=values, id=self._next_id())
            before = tuple(float(current[knob]) for knob in knobs)
            new.append(Advice(advised, before, policies.get(move.role, "?"), expires_at))
            self.waiting[move.workload] = new[-1]
        return new

    def made(self, move: Move) -> None:
        """An approved change is in force."""
        self.waiting.pop(move.workload, None)


class Canary:
    """Small steps, one workload at a time.

    Args:
        spec: knobs and their largest steps.
    """

    STATE = ("_turns",)

    def __init__(self, spec: SystemSpec) -> None:
        self._scaling = KnobScaling(spec.knobs)
        self._step = np.array([knob.max_step for knob in spec.knobs])  # (n_knobs,)
        self._turns: dict[str, float] = {}  # workload -> when it was changed last

    def limited(self, moves: Collection[Move], current: np.ndarray, share: float) -> list[Move]:
        """The moves with every knob within `share` of its largest step; whole numbers move by one at least."""
        own = self._scaling.scale(current)
        found = []
        for move in sorted(moves, key=lambda move: (not move.adds, self._turns.get(move.workload, -np.inf))):
            wanted = current.copy()
            wanted[list(move.knobs)] = move.values
            way = self._scaling.scale(wanted) - own
            small = self._scaling.unscale(own + np.clip(way, -share * self._step, share * self._step))
            small = np.where((small == current) & self._scaling.integer, current + np.sign(way), small)
            near = np.where(np.abs(way) <= share * self._step, wanted, small)
            found.append(replace(move, values=tuple(float(near[knob]) for knob in move.knobs)))
        return found

    def one_at_a_time(
        self, admission: Admission, undone: np.ndarray, on_trial: Collection[str], small: Collection[str]
    ) -> Admission:
        """What is left of an admission: urgent moves, and one other of a canary if none is on trial.

        Args:
            admission: of the arbiter.
            undone: (n_knobs,) that it started from.
            on_trial: workloads whose last change has no verdict yet.
            small: workloads in mode `canary`; the others neither wait for them nor are waited for.
        """
        kept = [move for move in admission.moves if move in admission.urgent or move.workload not in small]
        refusals = list(admission.refusals)
        setting = undone.copy()
        for move in admission.moves:
            if move in kept:
                continue
            others = sorted({*on_trial, *(other.workload for other in kept)} & {*small} - {move.workload})
            if others:
                what = f"{move.role} of {move.workload} waits for {', '.join(others)}: one workload at a time"
                refusals.append(Refusal(Reason.CANARY, what))
            else:
                kept.append(move)
        for move in kept:
            setting[list(move.knobs)] = move.values
        return Admission(setting, kept, refusals, admission.urgent)

    def applied(self, move: Move, now: float) -> None:
        """Remember whose turn it was."""
        self._turns[move.workload] = now
