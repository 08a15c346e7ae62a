"""Decision: what one period of the control loop saw, wanted, allowed and did; and how that is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from controller.ladder import Advice
from controller.opportunities import Opportunity
from controller.shield import Refusal
from controller.trial import Trial, Verdict
from envs.spec import Role, SystemSpec
from telemetry.metrics import Snapshot
from telemetry.processes import boot_id


class Mode(StrEnum):
    """How far the controller goes, from the lowest rung of the ladder to the highest.

    It falls by itself, one rung at a time; it rises only by an operator.
    """

    OFF = "off"
    """Only reads."""
    SHADOW = "shadow"
    """Decides and writes down, changes nothing."""
    ADVISE = "advise"
    """Each change waits until an operator approves it, and is then on trial as any other."""
    CANARY = "canary"
    """Changes by a part of the largest step, one workload at a time, so that the rest of the system tells the load
    from the change; only what adds capacity, or pays for it in a breach, does not wait."""
    ACT = "act"
    """Changes whatever the shield allows."""

    @property
    def changes(self) -> bool:
        """Whether something may be set in this mode, approved or not."""
        return self in (Mode.ADVISE, Mode.CANARY, Mode.ACT)

    @property
    def below(self) -> Mode:
        """One rung down; `off` stays."""
        return list(Mode)[max(0, self.rung - 1)]

    @property
    def rung(self) -> int:
        """Number of the rung, from 0 for `off`."""
        return list(Mode).index(self)


@dataclass
class Decision:
    """One period of the loop.

    Attributes:
        time: seconds on the plant's clock, end of the period that was read.
        at: wall clock, ISO 8601; a label only.
        mode: in force for the system as a whole.
        snapshot: what was read.
        before: (n_knobs,) in force when the decision was made.
        setting: (n_knobs,) in force after it.
        wanted: (n_knobs,) what the shield allowed; in shadow mode it is not carried out.
        proposals: role -> (n_knobs,) what the policy wanted.
        policies: role -> name of the policy that wanted it.
        reasons: for every difference between what was wanted and what was done.
        opened: trials of the changes made.
        verdicts: of the trials that ended.
        complete: whether no reading was missing.
        stage_seconds: by stage.
        period: number of it since the start.
        opportunities: what could be better, from measurements alone; the largest expected gain first.
        inputs: all that it was decided from, as plain values; see `controller.period.Inputs`.
        effect: what became of it, as plain values; see `controller.period.Effect`.
        advised: changes that wait for an operator from now on; see `controller.ladder`.
        modes: workload -> mode in force, where that is lower than the system's.
    """

    time: float
    at: str
    mode: Mode
    snapshot: Snapshot
    before: np.ndarray
    setting: np.ndarray
    wanted: np.ndarray
    proposals: Mapping[Role, np.ndarray] = field(default_factory=dict)
    policies: Mapping[Role, str] = field(default_factory=dict)
    reasons: list[Refusal] = field(default_factory=list)
    opened: list[Trial] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    complete: bool = True
    stage_seconds: dict[str, float] = field(default_factory=dict)
    period: int = 0
    opportunities: Sequence[Opportunity] = ()
    inputs: dict[str, Any] = field(default_factory=dict)
    effect: dict[str, Any] = field(default_factory=dict)
    advised: list[Advice] = field(default_factory=list)
    modes: Mapping[str, Mode] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether another setting is in force than before."""
        return bool((self.setting != self.before).any())


def intent_record(spec: SystemSpec, seconds: float, at: str, before: np.ndarray, wanted: np.ndarray) -> dict[str, Any]:
    """What is about to be changed: written before it is done, so that a crash leaves no unknown setting in force.

    Args:
        spec: whose knobs.
        seconds: time of the period, on the plant's clock.
        at: wall clock, ISO 8601.
        before: (n_knobs,) in force.
        wanted: (n_knobs,) to be in force.
    """
    return {"kind": "intent", "boot": boot_id(), "time": seconds, "at": at, "knobs": changes(spec, before, wanted)}


def decision_record(spec: SystemSpec, decision: Decision) -> dict[str, Any]:
    """A decision as it stands in the journal; holds and refusals too."""
    return {
        "kind": "decision",
        "period": decision.period,
        "time": decision.time,
        "at": decision.at,
        "mode": decision.mode,
        **({"modes": dict(decision.modes)} if decision.modes else {}),
        "snapshot": summary(spec, decision.snapshot),
        "proposals": {
            role: {"policy": decision.policies.get(role), "knobs": changes(spec, decision.before, setting)}
            for role, setting in decision.proposals.items()
        },
        "reasons": [{"reason": reason.reason, "detail": reason.detail} for reason in decision.reasons],
        "allowed": changes(spec, decision.before, decision.wanted),
        "opened": [_opened(spec, trial, decision) for trial in decision.opened],
        "verdicts": [
            {
                "id": v.trial.id,
                "outcome": v.outcome,
                "reason": v.reason,
                "gain": v.gain,
                "gain_interval": v.gain_interval,
            }
            for v in decision.verdicts
        ],
        **({"advised": [advice_record(spec, advice) for advice in decision.advised]} if decision.advised else {}),
        "stage_seconds": {stage: round(seconds, 6) for stage, seconds in decision.stage_seconds.items()},
        "inputs": decision.inputs,
        "effect": decision.effect,
    }


def summary(spec: SystemSpec, snapshot: Snapshot) -> dict[str, float]:
    """The metrics that SLOs and objectives are made of, by name, to four digits."""
    names = [slo.metric for slo in spec.slos]
    for objective in spec.workloads.values():
        names += [objective.done, objective.wanted, objective.cpu_used]
    catalogue = spec.catalogue
    return {name: float(f"{snapshot.values[catalogue.index(name)]:.4g}") for name in dict.fromkeys(names)}


def changes(spec: SystemSpec, before: np.ndarray, after: np.ndarray) -> dict[str, tuple[float, float]]:
    """Knob -> (before, after), for the knobs that differ."""
    return {
        name: (float(old), float(new))
        for name, old, new in zip(spec.knob_names, before, after, strict=True)
        if old != new
    }


def advice_record(spec: SystemSpec, advice: Advice) -> dict[str, Any]:
    """An advice as it stands in journal and status."""
    move = advice.move
    pairs = zip(move.knobs, advice.before, move.values, strict=True)
    return {
        "id": move.id,
        "workload": move.workload,
        "role": move.role,
        "policy": advice.policy,
        "knobs": {spec.knobs[knob].name: (old, new) for knob, old, new in pairs},
        "expires_at": advice.expires_at,
        "approved": advice.approved,
    }


def _opened(spec: SystemSpec, trial: Trial, decision: Decision) -> dict[str, Any]:
    return {
        "id": trial.id,
        "workload": trial.workload,
        "role": trial.role,
        "policy": decision.policies.get(trial.role),
        "knobs": {
            spec.knobs[knob].name: (old, new)
            for knob, old, new in zip(trial.knobs, trial.before, trial.after, strict=True)
        },
        "opportunity": _answered(trial, decision.opportunities),
        "seen_at": trial.seen_at,
        "applied_at": trial.applied_at,
    }


def _answered(trial: Trial, opportunities: Sequence[Opportunity]) -> dict[str, Any] | None:
    """The opportunity that a change answers, the largest of its workload and role; None if measurements show none."""
    own = [one for one in opportunities if (one.workload, one.role) == (trial.workload, trial.role)]
    return own[0].record() if own else None
