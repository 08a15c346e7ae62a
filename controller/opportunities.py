"""What could be better: named opportunities with expected gain and confidence, from which optimizations start.

They are found from measurements alone, whatever the policies want. An optimization in the journal names the opportunity
that it answers, and its time from opportunity to applied begins when that opportunity was first seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from envs.objective import Objective
from envs.outlook import shortage
from envs.recent import Recent
from envs.spec import Role, SystemSpec

HEADROOM = 1.25
"""Share of the CPU in use that a grant should be. Default: peaks within a second are a quarter above its mean."""
IDLE, SCARCE = 0.6, 0.9
"""Use of a grant below which it is idle, and above which it is scarce; shares."""
UNMET = 0.05
"""Share of the wanted work left undone from which on something is wrong."""
LEAST_CPU = 1e-3
"""Cores; less is next to nothing."""
LIKELY = 0.5
"""Chance of a shortage from which on it is told."""
LEAST_GAIN = 0.01
"""Relative gain of efficiency below which nothing is told."""
WINDOW_PERIODS = 20
"""Periods over which confidence grows and fades."""


class Kind(StrEnum):
    """What could be better."""

    IDLE_RESERVATION = "idle_reservation"
    """CPU is reserved and not used, while the work is done."""
    SHORTAGE = "shortage"
    """Work is left undone, and the CPU granted is in use."""
    OVERSUBSCRIPTION = "oversubscription"
    """More threads than cores granted, while work is left undone or the deadline is missed."""
    SMALL_BATCH = "small_batch"
    """Batches are full, and work is left undone."""
    IMMINENT_ISSUE = "imminent_issue"
    """Demand will probably exceed what the grant can do within the shortest forecast lead."""


ROLES = {
    Kind.IDLE_RESERVATION: Role.ALLOCATION,
    Kind.SHORTAGE: Role.ALLOCATION,
    Kind.IMMINENT_ISSUE: Role.ALLOCATION,
    Kind.OVERSUBSCRIPTION: Role.TUNING,
    Kind.SMALL_BATCH: Role.TUNING,
}


@dataclass(frozen=True)
class Opportunity:
    """Something that could be better.

    Attributes:
        kind: what.
        workload: whose.
        gain: expected, of the efficiency, as a share of what it is now.
        confidence: share of the recent periods in which it was there, in (0, 1).
        seen_at: seconds; when it was first seen.
        detail: the measurements behind it, in one line.
    """

    kind: Kind
    workload: str
    gain: float
    confidence: float
    seen_at: float
    detail: str

    @property
    def role(self) -> Role:
        """Whose knobs it asks for."""
        return ROLES[self.kind]

    def record(self) -> dict[str, Any]:
        """As it stands in the journal, floats exact."""
        return dict(vars(self))

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Opportunity:
        """The one that `record` was made of.

        Raises:
            KeyError, ValueError, TypeError: it was made of none.
        """
        return cls(**{**record, "kind": Kind(record["kind"])})


@dataclass(frozen=True)
class _Workload:
    """The measurements of one workload; NaN where missing.

    Attributes:
        name: of the workload.
        granted: cores.
        used: cores.
        undone: share of the wanted work that was left.
        broken: whether one of its SLOs is.
        worth: what its missing work would add to the value of all work, as a share.
        price: of a core, as a share of what everything reserved costs.
    """

    name: str
    granted: float
    used: float
    undone: float
    broken: bool
    worth: float
    price: float


class Opportunities:
    """Finds opportunities, period by period, and remembers since when each is there.

    Args:
        spec: metrics, knobs and objectives.
    """

    def __init__(self, spec: SystemSpec) -> None:
        self.spec, self._objective = spec, Objective(spec)
        self._metrics = {name: i for i, name in enumerate(spec.catalogue.names)}  # the catalogue is made at each look
        self._knobs = {name: i for i, name in enumerate(spec.knob_names)}
        self._confidence: dict[tuple[Kind, str], float] = {}
        self._seen_at: dict[tuple[Kind, str], float] = {}

    def find(self, recent: Recent, setting: np.ndarray, now: float) -> list[Opportunity]:
        """All that there are after a period, the largest expected gain first. A missing reading gives none.

        Args:
            recent: of a single system, the last period included.
            setting: (n_knobs,) in force.
            now: seconds.
        """
        there: dict[tuple[Kind, str], tuple[float, str]] = {}
        for i, workload in enumerate(self._workloads(recent.values, setting)):
            for kind, gain, detail in (*self._now(workload, recent, setting), *self._ahead(workload, i, recent)):
                if gain >= LEAST_GAIN:  # False for NaN
                    there[kind, workload.name] = gain, detail
        self._remember(there, now)
        found = [
            Opportunity(kind, name, gain, self._confidence[kind, name], self._seen_at[kind, name], detail)
            for (kind, name), (gain, detail) in there.items()
        ]
        return sorted(found, key=lambda opportunity: -opportunity.gain)

    def _remember(self, there: Mapping[tuple[Kind, str], object], now: float) -> None:
        weight = 1.0 / WINDOW_PERIODS
        for key in {*self._confidence, *there}:
            before = self._confidence.get(key, 0.0)
            self._confidence[key] = before + weight * ((key in there) - before)
        self._seen_at = {key: self._seen_at.get(key, now) for key in there}

    def _workloads(self, values: np.ndarray, setting: np.ndarray) -> Iterator[_Workload]:
        spec, objective = self.spec, self._objective
        useful, value = objective.useful(values), float(objective.value(values))
        broken = objective.breaches(values) > 0
        total = sum(float(setting[self._knobs[o.cpu_knob]]) for o in spec.workloads.values())
        weights = objective.weights[:-1] / objective.weights[:-1].sum()
        for i, (name, o) in enumerate(spec.workloads.items()):
            undone = max(0.0, 1.0 - float(useful[i])) if np.isfinite(useful[i]) else float("nan")
            own = [bool(b) for b, slo in zip(broken, spec.slos, strict=True) if slo.metric.startswith(f"{name}_")]
            yield _Workload(
                name,
                granted=float(setting[self._knobs[o.cpu_knob]]),
                used=float(values[self._metrics[o.cpu_used]]),
                undone=undone,
                broken=any(own),
                worth=float(weights[i]) * undone / max(value, 1e-3),
                price=1.0 / max(total, 1e-9),
            )

    def _now(self, w: _Workload, recent: Recent, setting: np.ndarray) -> Iterator[tuple[Kind, float, str]]:
        use = w.used / max(w.granted, LEAST_CPU)
        if use < IDLE and w.undone <= UNMET and not w.broken:
            freed = min((w.granted - HEADROOM * w.used) * w.price, 0.99)
            yield Kind.IDLE_RESERVATION, freed / (1.0 - freed), f"{w.used:.2f} of {w.granted:.2f} cores in use"
        if w.undone > UNMET and use > SCARCE:
            yield Kind.SHORTAGE, w.worth, f"{w.undone:.0%} of the work undone, {use:.0%} of the grant in use"
        if not (w.undone > UNMET or w.broken):
            return
        threads = self._knob(f"{w.name}_threads", setting)
        if threads is not None and threads > max(1.0, np.ceil(w.granted)):
            yield Kind.OVERSUBSCRIPTION, w.worth, f"{threads:g} threads on {w.granted:.2f} cores"
        size = self._knob(f"{w.name}_batch_size", setting)
        mean = self._metric(f"{w.name}_batch_mean_size", recent.values)
        if size is not None and mean is not None and mean >= SCARCE * size:
            yield Kind.SMALL_BATCH, w.worth, f"batches of {mean:.1f} where {size:g} are allowed"

    def _ahead(self, w: _Workload, i: int, recent: Recent) -> Iterator[tuple[Kind, float, str]]:
        """The shortest lead counts: it is the time that an optimization takes."""
        lead = self.spec.forecast_leads_seconds[0]
        at = i * len(self.spec.forecast_leads_seconds)
        expected, upper = float(recent.expected[at]), float(recent.upper[at])
        objective = list(self.spec.workloads.values())[i]
        done = float(recent.values[self._metrics[objective.done]])
        capacity = done * w.granted / max(w.used, LEAST_CPU)
        chance = float(shortage(np.array([expected]), np.array([upper]), np.array([capacity]))[0])
        if chance >= LIKELY and w.undone <= UNMET:
            missing = 1.0 - capacity / max(expected, capacity, 1e-9)
            share = float(self._objective.weights[i] / self._objective.weights[:-1].sum())
            detail = f"{expected:.0f} per second expected in {lead:g} s, {capacity:.0f} can be done"
            yield Kind.IMMINENT_ISSUE, chance * share * max(missing, UNMET), detail

    def _knob(self, name: str, setting: np.ndarray) -> float | None:
        return float(setting[self._knobs[name]]) if name in self._knobs else None

    def _metric(self, name: str, values: np.ndarray) -> float | None:
        return float(values[self._metrics[name]]) if name in self._metrics else None
