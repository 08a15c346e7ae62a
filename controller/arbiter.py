"""One arbiter between the policies: whose change goes first, and which has to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from controller.shield import Reason, Refusal
from envs.scaling import KnobScaling
from envs.spec import Role, SystemSpec

LEAST_MOVE = 0.005
"""Distance in the scaled range [-1, 1] below which a knob is left out of a move that is made for another knob."""


@dataclass(frozen=True)
class Move:
    """What one policy wants to change of one workload.

    Attributes:
        workload: whose knobs.
        role: of the policy.
        knobs: positions in a setting.
        values: wanted, in natural units.
        adds: whether the workload's CPU grant grows.
        takes: whether it shrinks.
        seen_at: seconds; when such a change was first wanted.
        id: of the optimization, where it has one already.
    """

    workload: str
    role: Role
    knobs: tuple[int, ...]
    values: tuple[float, ...]
    adds: bool
    takes: bool
    seen_at: float
    id: str = ""


@dataclass(frozen=True)
class Situation:
    """What the arbiter has to know besides the moves.

    Attributes:
        now: seconds.
        busy: workload -> id of its running trial.
        broken: workloads whose SLOs do not hold.
        blind: whether readings are missing.
        pause_left: (workload, role) -> seconds of backoff left.
        has_baseline: workload -> whether there is something to compare a change with.
    """

    now: float
    busy: Mapping[str, str] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    blind: bool = False
    pause_left: Callable[[str, Role], float] = lambda workload, role: 0.0
    has_baseline: Callable[[str], bool] = lambda workload: True


@dataclass(frozen=True)
class Admission:
    """The moves that go ahead, at most one per workload, and why the others do not."""

    setting: np.ndarray
    moves: list[Move]
    refusals: list[Refusal]
    urgent: list[Move] = field(default_factory=list)
    """Those that do not wait: they add capacity, or pay for it in a breach."""


class Arbiter:
    """Splits full settings into moves by workload and role, and admits them one per workload.

    Args:
        spec: knobs and workloads.
    """

    STATE = ("_seen_at", "_last_role")

    def __init__(self, spec: SystemSpec) -> None:
        self.spec = spec
        self._scaling = KnobScaling(spec.knobs)
        self._cpu: dict[str, int] = {
            str(workload): spec.knob_index(o.cpu_knob) for workload, o in spec.workloads.items()
        }
        self._seen_at: dict[tuple[str, Role], float] = {}
        self._last_role: dict[str, Role] = {}

    def moves(
        self, proposals: Mapping[Role, np.ndarray], current: np.ndarray, now: float, pinned: Iterable[str] = ()
    ) -> list[Move]:
        """What the proposals change, capacity-adding moves first; pinned knobs and small moves are left out.

        Args:
            proposals: full settings (n_knobs,) by role; only the role's own knobs count. They come from `Task.decode`,
                which leaves alone what is within the dead band.
            current: (n_knobs,) in force.
            now: seconds.
            pinned: knobs that nobody but the operator moves.
        """
        fixed = set(pinned)
        own = self._scaling.scale(current)
        found: list[Move] = []
        for role, setting in proposals.items():
            distance = np.abs(self._scaling.scale(setting) - own)  # (n_knobs,); NaN does not move
            for workload in self.spec.workloads:
                knobs = tuple(
                    i
                    for i, knob in enumerate(self.spec.knobs)
                    if (knob.workload, knob.role) == (workload, role)
                    and knob.name not in fixed
                    and distance[i] > LEAST_MOVE
                )
                # Fitting the grants to the cores there are moves those of others by less than the dead band; a trial of
                # that is not worth its while, and the shield takes the difference from what is raised.
                if knobs and distance[list(knobs)].max() >= self.spec.dead_band:
                    seen_at = self._seen_at.setdefault((workload, role), now)
                    found.append(self._move(workload, role, knobs, setting, current, seen_at))
        wanted = {(move.workload, move.role) for move in found}
        self._seen_at = {key: seen_at for key, seen_at in self._seen_at.items() if key in wanted}
        return sorted(found, key=lambda move: not move.adds)

    def admit(self, moves: list[Move], current: np.ndarray, situation: Situation) -> Admission:
        """Which moves go ahead.

        Args:
            moves: as `moves` gave them.
            current: (n_knobs,) in force.
            situation: what is known now.
        """
        setting = current.copy()
        admitted: list[Move] = []
        refusals: list[Refusal] = []
        urgent = self._urgent(moves, current, situation)
        for move in sorted(moves, key=lambda move: self._rank(move, situation)):
            taken = {other.workload: f"the {other.role} change of this period" for other in admitted}
            refusal = self._refusal(move, {**situation.busy, **taken}, taken, move in urgent, situation)
            if refusal is not None:
                refusals.append(refusal)
                if refusal.reason in (Reason.BACKOFF, Reason.NO_BASELINE):
                    # What was found harmful a moment ago, or cannot be judged, is no opportunity yet.
                    self.overlook(move)
                continue
            admitted.append(move)
            setting[list(move.knobs)] = move.values
        return Admission(setting, admitted, refusals, [move for move in admitted if move in urgent])

    def overlook(self, move: Move) -> None:
        """What cannot be made now is no opportunity yet: it counts as seen when it is wanted again."""
        self._seen_at.pop((move.workload, move.role), None)

    def applied(self, move: Move) -> None:
        """Remember that a move was carried out."""
        self._last_role[move.workload] = move.role
        self._seen_at.pop((move.workload, move.role), None)

    def _rank(self, move: Move, situation: Situation) -> tuple[bool, bool]:
        """Capacity first; but the role that had its turn last goes behind, unless there is need.

        A policy that always wants a little more must not starve the other.
        """
        had_its_turn = self._last_role.get(move.workload) is move.role
        in_need = bool(situation.broken) or situation.blind
        return not (move.adds and (in_need or not had_its_turn)), had_its_turn

    def _move(
        self,
        workload: str,
        role: Role,
        knobs: tuple[int, ...],
        setting: np.ndarray,
        current: np.ndarray,
        seen_at: float,
    ) -> Move:
        cpu = self._cpu[workload]
        change = float(setting[cpu] - current[cpu]) if cpu in knobs else 0.0
        return Move(workload, role, knobs, tuple(float(setting[i]) for i in knobs), change > 0, change < 0, seen_at)

    def _urgent(self, moves: list[Move], current: np.ndarray, situation: Situation) -> list[Move]:
        """Moves that do not wait: those that add capacity, and in a breach those that pay for it."""
        adding = [move for move in moves if move.adds]
        raised = sum(self._cpu_change(move, current) for move in adding)
        free = self.spec.cores - sum(float(current[cpu]) for cpu in self._cpu.values())
        paying = [m for m in moves if m.takes and m.workload not in situation.broken] if raised > free else []
        return adding + (paying if situation.broken & {move.workload for move in adding} else [])

    def _cpu_change(self, move: Move, current: np.ndarray) -> float:
        cpu = self._cpu[move.workload]
        return move.values[move.knobs.index(cpu)] - float(current[cpu])

    def _refusal(
        self, move: Move, busy: Mapping[str, str], taken: Mapping[str, str], urgent: bool, situation: Situation
    ) -> Refusal | None:
        what = f"{move.role} of {move.workload}"
        if move.workload in busy and (not urgent or move.workload in taken):
            return Refusal(Reason.BUSY, f"{what} waits for {busy[move.workload]}")
        left = situation.pause_left(move.workload, move.role)
        in_need = urgent and (bool(situation.broken) or situation.blind)
        if left > 0 and not in_need:
            return Refusal(Reason.BACKOFF, f"{what} for another {left:.0f} s after a rollback")
        if not urgent and not situation.has_baseline(move.workload):
            return Refusal(Reason.NO_BASELINE, f"{what}: nothing yet to compare it with")
        return None
