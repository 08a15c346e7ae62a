"""What goes into the kernel in one period, and what comes out of it; each as plain records for the journal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controller.arbiter import Move
from controller.canaries import Paired
from controller.config import ControllerConfig
from controller.decision import Decision, Mode
from controller.ladder import Advice
from controller.opportunities import Opportunity
from controller.plant_events import Event, EventKind
from controller.prescale import Floor
from controller.shield import Reason, Refusal
from controller.trial import Trial, Verdict
from envs.spec import Role
from telemetry.metrics import Snapshot


@dataclass(frozen=True)
class Inputs:
    """All that comes from outside into one period; the kernel knows nothing else, no clock either.

    Attributes:
        now: seconds on the loop's clock.
        snapshot: the newest reading.
        before: (n_knobs,) setting in force.
        mode: wanted by the operator, for the system as a whole.
        modes: workload -> mode that the operator wants for it at most.
        proposals: role -> (n_knobs,) wanted by a policy, after `Task.decode`.
        policies: role -> name of that policy.
        proposal_reasons: why a role was left to its fallback, or is held.
        events: of the plant, since the period before.
        paused: whether the operator wants nothing new.
        killed: whether the kill switch is on.
        pins: knob -> value that the operator wants.
        rollback: trial that the operator wants back, empty for everything; None if nothing.
        revert: whether he wants the setting found at start.
        no_right: why the guard does not let us change anything new; empty if it does.
        approvals: changes that the operator approved since the period before; only mode `advise` asks for that.
        config: that is in force from now on; None if it stays as it was.
        floors: CPU knob -> least grant that forecasts ask for, and why.
        opportunities: what could be better, the largest expected gain first; told with the changes that answer them.
        paired: by component with replicas, what those showed that get changes first, and the others.
        lost: why the lease was lost since the period before; empty if it was not. `before` is then what was restored.
    """

    now: float
    snapshot: Snapshot
    before: np.ndarray
    mode: Mode
    proposals: Mapping[Role, np.ndarray] = field(default_factory=dict)
    policies: Mapping[Role, str] = field(default_factory=dict)
    proposal_reasons: Sequence[Refusal] = ()
    events: Sequence[Event] = ()
    paused: bool = False
    killed: bool = False
    pins: Mapping[str, float] = field(default_factory=dict)
    rollback: str | None = None
    revert: bool = False
    approvals: Sequence[str] = ()
    config: ControllerConfig | None = None
    no_right: str = ""
    lost: str = ""
    floors: Mapping[str, Floor] = field(default_factory=dict)
    opportunities: Sequence[Opportunity] = ()
    paired: Mapping[str, Paired] = field(default_factory=dict)
    modes: Mapping[str, Mode] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For the journal, floats exact; what is as by default is left out."""
        always = {
            "now": number(self.now),
            "time": number(self.snapshot.time),
            "values": numbers(self.snapshot.values),
            "before": numbers(self.before),
            "mode": self.mode,
        }
        sometimes = {
            "proposals": {role: numbers(setting) for role, setting in self.proposals.items()},
            "modes": dict(self.modes),
            "policies": dict(self.policies),
            "proposal_reasons": _pairs(self.proposal_reasons),
            "events": [[event.kind, event.workload, event.detail, event.knob] for event in self.events],
            "paused": self.paused,
            "killed": self.killed,
            "pins": {name: number(value) for name, value in self.pins.items()},
            "revert": self.revert,
            "approvals": list(self.approvals),
            "config": None if self.config is None else self.config.plain(),
            "no_right": self.no_right,
            "lost": self.lost,
            "opportunities": [opportunity.record() for opportunity in self.opportunities],
            "floors": {name: [number(floor.cores), floor.why] for name, floor in self.floors.items()},
            "paired": {name: [_knobs(p.knobs), numbers(p.canary), numbers(p.rest)] for name, p in self.paired.items()},
        }
        asked: dict[str, Any] = {} if self.rollback is None else {"rollback": self.rollback}
        day = float(self.snapshot.day)
        asked |= {} if math.isnan(day) else {"day": day}  # 0 is midnight, when a window may begin
        return always | {key: value for key, value in sometimes.items() if value} | asked

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Inputs:
        """The inputs that `plain` was made of.

        Raises:
            KeyError, ValueError, TypeError: it was made of none.
        """
        same = ("paused", "killed", "rollback", "revert", "approvals", "no_right", "lost")
        return cls(
            _float(plain["now"]),
            Snapshot(_float(plain["time"]), array_of(plain["values"]), _float(plain.get("day"))),
            array_of(plain["before"]),
            Mode(plain["mode"]),
            proposals={Role(role): array_of(setting) for role, setting in plain.get("proposals", {}).items()},
            policies={Role(role): name for role, name in plain.get("policies", {}).items()},
            proposal_reasons=_refusals(plain.get("proposal_reasons", [])),
            events=[Event(EventKind(kind), *rest) for kind, *rest in plain.get("events", [])],
            pins={name: _float(value) for name, value in plain.get("pins", {}).items()},
            config=ControllerConfig.of(plain["config"]) if "config" in plain else None,
            opportunities=[Opportunity.of(one) for one in plain.get("opportunities", [])],
            paired={
                name: Paired(_values(knobs), array_of(canary), array_of(rest))
                for name, (knobs, canary, rest) in plain.get("paired", {}).items()
            },
            floors={name: Floor(_float(cores), why) for name, (cores, why) in plain.get("floors", {}).items()},
            modes={workload: Mode(mode) for workload, mode in plain.get("modes", {}).items()},
            **{key: plain[key] for key in same if key in plain},
        )


@dataclass
class Plan:
    """What one period is going to do.

    Attributes:
        inputs: that it was made of, with what cannot be used taken out.
        setting: (n_knobs,) to be applied.
        undone: (n_knobs,) with rollbacks, restorations and pins alone, in case no new change may be made.
        moves: those that open a trial when they are in force.
        restore: whether everything goes back to what was found, rather than to a setting of ours.
        act: whether `setting` is to be applied; else it is only what would be.
        reasons: for every difference between what was wanted and `setting`.
        verdicts: of the trials that ended.
        blind: why the system cannot be seen well enough; None if it can.
        advised: changes that wait for an operator from now on.
        tried: component -> knob -> value for the canaries alone; empty gives them what the rest has.
        trying: those moves that are in force on the canaries, if `tried` is.
        modes: in force, of each workload.
    """

    inputs: Inputs
    setting: np.ndarray
    undone: np.ndarray
    moves: list[Move] = field(default_factory=list)
    restore: bool = False
    act: bool = False
    reasons: list[Refusal] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    blind: Refusal | None = None
    advised: list[Advice] = field(default_factory=list)
    tried: dict[str, dict[str, float]] = field(default_factory=dict)
    trying: list[Move] = field(default_factory=list)
    modes: Mapping[str, Mode] = field(default_factory=dict)

    @property
    def held(self) -> set[str]:
        """Workloads of which nothing new is set while others are changed; what was begun is still taken back."""
        return {workload for workload, mode in self.modes.items() if self.inputs.mode.changes and not mode.changes}

    @property
    def left(self) -> set[str]:
        """Those of them whose mode is `off`: nothing is set, only everything at once goes back to what was found."""
        return {workload for workload in self.held if self.modes[workload] is Mode.OFF}


@dataclass(frozen=True)
class Effect:
    """What became of a plan.

    Attributes:
        now: seconds on the loop's clock, after it.
        setting: (n_knobs,) read back.
        journaled: whether the intent was written down; if not, only `undone` was to be applied.
        attempted: whether an actuator was called.
        refusals: of journal, guard and actuators.
        tried: component -> knobs that its canaries have otherwise than the rest.
    """

    now: float
    setting: np.ndarray
    journaled: bool = True
    attempted: bool = False
    refusals: Sequence[Refusal] = ()
    tried: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For the journal, floats exact."""
        found = {"now": number(self.now), "setting": numbers(self.setting)}
        told = {"journaled": self.journaled, "attempted": self.attempted, "refusals": _pairs(self.refusals)}
        tried = {name: _knobs(values) for name, values in self.tried.items()}
        return found | told | ({"tried": tried} if tried else {})

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Effect:
        """The effect that `plain` was made of.

        Raises:
            KeyError, ValueError, TypeError: it was made of none.
        """
        now, setting = _float(plain["now"]), array_of(plain["setting"])
        tried = {name: _values(knobs) for name, knobs in plain.get("tried", {}).items()}
        return cls(now, setting, plain["journaled"], plain["attempted"], _refusals(plain["refusals"]), tried)


@dataclass
class Aftermath:
    """What the kernel makes of an effect.

    Attributes:
        setting: (n_knobs,) in force; what was before, where it could not be read back.
        wanted: (n_knobs,) that was to be in force.
        reasons: for every difference between the two, and for a demotion.
        verdicts: of the trials that ended by it.
        opened: trials of the changes made.
        short: whether not all of it is in force.
        demoted: why a mode falls; empty if none does.
        demoted_workload: whose mode; empty for the system's.
        demoted_mode: that is in force from now on; None if none falls.
        frozen: why from now on nothing new may be tried until an operator resumes; empty if nothing happened.
    """

    setting: np.ndarray
    wanted: np.ndarray
    reasons: list[Refusal] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    opened: list[Trial] = field(default_factory=list)
    short: bool = False
    demoted: str = ""
    demoted_workload: str = ""
    demoted_mode: Mode | None = None
    frozen: str = ""


def decision_of(plan: Plan, effect: Effect, aftermath: Aftermath, at: str, period: int) -> Decision:
    """One period told as a whole.

    Args:
        plan: of the kernel.
        effect: of the plan.
        aftermath: of the effect.
        at: wall clock, ISO 8601.
        period: number of it.
    """
    inputs = plan.inputs
    return Decision(
        inputs.snapshot.time,
        at,
        inputs.mode,
        inputs.snapshot,
        inputs.before,
        aftermath.setting,
        aftermath.wanted,
        inputs.proposals,
        inputs.policies,
        [*plan.reasons, *effect.refusals, *aftermath.reasons],
        aftermath.opened,
        plan.verdicts + aftermath.verdicts,
        bool(np.isfinite(inputs.snapshot.values).all()),
        period=period,
        advised=plan.advised,
        opportunities=inputs.opportunities,
        modes={workload: mode for workload, mode in plan.modes.items() if mode is not inputs.mode},
    )


def number(value: float) -> float | str | None:
    """What JSON can hold of a float, exactly: NaN as null, infinities as text."""
    if math.isfinite(value):
        return float(value)
    return None if math.isnan(value) else str(float(value))


def _float(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def numbers(array: np.ndarray) -> Any:
    """What JSON can hold of an array of floats, exactly."""
    found = np.asarray(array, dtype=float)
    return found.tolist() if np.isfinite(found).all() else _exact(found.tolist())


def _exact(value: Any) -> Any:
    return [_exact(item) for item in value] if isinstance(value, list) else number(value)


def array_of(plain: Any) -> np.ndarray:
    """The array that `numbers` was given.

    Raises:
        ValueError, TypeError: it was given none.
    """
    return np.array(plain, dtype=float)  # None becomes NaN, "inf" infinity


def _knobs(values: Mapping[str, float]) -> dict[str, float | str | None]:
    return {name: number(value) for name, value in values.items()}


def _values(plain: Mapping[str, float | str | None]) -> dict[str, float]:
    return {name: _float(value) for name, value in plain.items()}


def _pairs(refusals: Sequence[Refusal]) -> list[list[str]]:
    return [[refusal.reason, refusal.detail] for refusal in refusals]


def _refusals(pairs: Sequence[Sequence[str]]) -> list[Refusal]:
    return [Refusal(Reason(reason), detail) for reason, detail in pairs]
