"""Are readings to be believed? What is not becomes NaN, which is missing; nothing ever takes its place.

Every value is checked before anything is decided by it: is it there and finite, within its physical range, not frozen,
and in accord with the others. The kernel then treats what is left out as any missing reading: nothing is taken from
anybody, nothing is tried, capacity may still be added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from controller.laws import WINDOW, Law, Window, laws_for
from controller.plant_events import PlantOnHost
from envs.plant import Plant
from envs.spec import SystemSpec
from telemetry.metrics import MetricSpec, Snapshot

WRONG_UNIT = 1000.0
"""So many times the declared upper bound is a wrong unit or garbage. The bound itself is where resolution ends, and an
age or a queue may well grow beyond it; only shares cannot exceed theirs."""
SHARES, MOST_SHARE = "_ratio", 1.1
"""Shares end at their bound, and a tenth above it, since two meters are read a little apart."""
HELD_PERIODS = 30
"""A law must have held for so long before it speaks against a reading: where it never did, the system is another."""
FROZEN_PERIODS = 30
RESTLESS_SHARE = 0.98
"""Frozen is what has had the same value for so many periods, and a new one in so many of those before. What rests by
nature (memory, a count) is never called frozen: nobody could tell."""
LEARNING_PERIODS, MEMORY_PERIODS = 300, 3600
"""Readings before anything can be called frozen, and how many are remembered."""
SHOWN = 3
"""Doubts that are told in full."""
_NEAR = 1e-9


class Fault(StrEnum):
    """Why a reading is not believed."""

    MISSING = "missing"
    NOT_FINITE = "not_finite"
    BELOW_RANGE = "below_range"
    ABOVE_RANGE = "above_range"
    FROZEN = "frozen"
    SUSPECT = "suspect"


@dataclass(frozen=True)
class Finding:
    """One reading that is not believed."""

    metric: str
    fault: Fault
    detail: str


class Validity:
    """Checks one snapshot a period.

    Args:
        spec: declares the metrics and their range.
        host_cores: of the host that all workloads share; None where they do not, or nobody knows.
        limits_hold: whether CPU grants are limits, not only weights.

    Attributes:
        counts: (fault, metric) -> readings that were left out.
        valid_share: share of the last snapshot's readings that are believed.
    """

    def __init__(self, spec: SystemSpec, *, host_cores: float | None = None, limits_hold: bool = False) -> None:
        metrics = spec.catalogue.metrics
        self.counts: Counter[tuple[Fault, str]] = Counter()
        self.valid_share = 1.0
        self._names, self._seconds = spec.catalogue.names, spec.control_period_seconds
        self._low = np.array([metric.low for metric in metrics])  # (n_metrics,)
        self._high = np.array([physical_high(metric) for metric in metrics])
        self._bounds = np.array([[metric.low, metric.high] for metric in metrics])  # (n_metrics, 2)
        self._stillness = _Stillness(len(metrics))
        self._idle = _asked_for(spec)
        self._laws = laws_for(spec, host_cores=host_cores, limits_hold=limits_hold)
        self._values = np.full((WINDOW, len(metrics)), np.nan)  # believed but for the laws, oldest first
        self._settings = np.full((WINDOW, len(spec.knobs)), np.nan)
        self._held = [0] * len(self._laws)  # periods in a row
        self._needs = [spec.catalogue.indices(law.needs) for law in self._laws]
        self._suspects = [spec.catalogue.indices(law.suspects) for law in self._laws]

    def check(self, snapshot: Snapshot, setting: np.ndarray) -> tuple[Snapshot, list[Finding]]:
        """What is believed of a snapshot.

        Args:
            snapshot: as it was read, (n_metrics,).
            setting: (n_knobs,) in force during the period.

        Returns:
            The snapshot with NaN for what is not believed, and why, in the order of the metrics.
        """
        values = np.array(snapshot.values, dtype=float)
        faults = self._out_of_range(values)
        frozen = self._frozen(values)
        for index in np.flatnonzero(frozen):
            faults[int(index)] = (Fault.FROZEN, f"has been {values[index]:g} for {self._stillness.run[index]} periods")
        values[list(faults)] = np.nan
        self._remember(values, setting)
        for law, suspects in self._broken():
            for index in suspects:
                faults.setdefault(int(index), (Fault.SUSPECT, law))
        values[list(faults)] = np.nan
        self.valid_share = 1.0 - len(faults) / len(values)
        findings = [Finding(self._names[index], *faults[index]) for index in sorted(faults)]
        self.counts.update((finding.fault, finding.metric) for finding in findings)
        return replace(snapshot, values=values), findings

    def metrics(self) -> dict[str, float]:
        """Figures by series name."""
        return {
            f'trimtab_controller_invalid_readings_total{{reason="{fault}",metric="{metric}"}}': float(count)
            for (fault, metric), count in self.counts.items()
        } | {"trimtab_controller_valid_readings_ratio": self.valid_share}

    def _out_of_range(self, values: np.ndarray) -> dict[int, tuple[Fault, str]]:
        """Index -> fault, of what is no reading at all."""
        with np.errstate(invalid="ignore"):
            inside = (values >= self._low - _NEAR) & (values <= self._high * (1.0 + _NEAR))  # NaN compares false
        faults: dict[int, tuple[Fault, str]] = {}
        for index in np.flatnonzero(~inside):
            value, low, high = values[index], self._low[index], self._high[index]
            if np.isnan(value):
                fault = (Fault.MISSING, "is missing")
            elif np.isinf(value):
                fault = (Fault.NOT_FINITE, f"is {value}")
            elif value < low:
                fault = (Fault.BELOW_RANGE, f"is {value:g}, its least is {low:g}")
            else:
                fault = (Fault.ABOVE_RANGE, f"is {value:g}, its most is {high:g}")
            faults[int(index)] = fault
        return faults

    def _frozen(self, values: np.ndarray) -> np.ndarray:
        """(n_metrics,) bool. What rests at a bound, or belongs to a workload that nobody asks for, may stand still."""
        resting = (values == self._bounds[:, 0]) | (values == self._bounds[:, 1])
        asked = np.where(self._idle >= 0, values[self._idle], np.inf)
        with np.errstate(invalid="ignore"):
            idle = ~(asked > 0.0)
        return self._stillness.update(values, resting | idle)

    def _remember(self, values: np.ndarray, setting: np.ndarray) -> None:
        for rows, row in ((self._values, values), (self._settings, setting)):
            rows[:-1] = rows[1:]
            rows[-1] = row

    def _broken(self) -> Iterator[tuple[str, np.ndarray]]:
        """What each broken law says, and the metrics that it makes suspect."""
        whole = np.isfinite(self._values).all(axis=0)  # (n_metrics,)
        if not np.isfinite(self._settings).all():
            return
        for i, law in enumerate(self._laws):
            if not whole[self._needs[i]].all():
                continue
            words = law.broken(self._window(law, self._needs[i]))
            if not words:
                self._held[i] += 1
            elif self._held[i] >= HELD_PERIODS:
                yield f"contradicts others: {words} ({law.name})", self._suspects[i]
            else:
                self._held[i] = 0

    def _window(self, law: Law, needs: np.ndarray) -> Window:
        columns = {name: self._values[:, index] for name, index in zip(law.needs, needs, strict=True)}
        return Window(columns, self._settings, self._seconds)


class _Stillness:
    """Which metrics never stand still, and for how long they do now.

    Attributes:
        run: (n,) periods with the same value, the last one included.
    """

    def __init__(self, n: int) -> None:
        self.run = np.zeros(n, dtype=int)
        self._periods, self._values = np.zeros(n), np.zeros(n)  # of the runs that ended: their length, their number
        self._last = np.full(n, np.nan)

    def update(self, values: np.ndarray, may_rest: np.ndarray) -> np.ndarray:
        """Take in a period: which are frozen, (n,) bool.

        Args:
            values: (n,), NaN where missing.
            may_rest: (n,) bool, where standing still means nothing.
        """
        known = np.isfinite(values) & ~may_rest
        same = known & (values == self._last)
        self._learn(known & ~same & (self.run > 0))
        self.run = np.where(same, self.run + 1, np.where(known, 1, np.where(may_rest, 0, self.run)))
        self._last = np.where(known, values, np.where(may_rest, np.nan, self._last))
        restless = (self._periods >= LEARNING_PERIODS) & (self._values >= RESTLESS_SHARE * self._periods)
        return known & restless & (self.run >= FROZEN_PERIODS)

    def _learn(self, ended: np.ndarray) -> None:
        """Count the runs that ended, (n,) bool; no longer than it takes to be called frozen, for once is no habit."""
        self._periods += np.where(ended, np.minimum(self.run, FROZEN_PERIODS), 0)
        self._values += ended
        fading = MEMORY_PERIODS / np.maximum(self._periods, MEMORY_PERIODS)
        self._periods *= fading
        self._values *= fading


def validity_of(plant: Plant) -> Validity:
    """The checks for a plant's readings, with what it tells of its host."""
    if isinstance(plant, PlantOnHost):
        return Validity(plant.spec, host_cores=plant.host_cores, limits_hold=plant.limits_hold)
    return Validity(plant.spec)


def doubts(findings: Sequence[Finding]) -> str:
    """What is there and not believed, in one line; empty where all that is there is. What is missing is no doubt."""
    by_detail: dict[str, list[str]] = {}
    for finding in findings:
        if finding.fault is not Fault.MISSING:
            by_detail.setdefault(finding.detail, []).append(finding.metric)
    there = [f"{', '.join(metrics)} {detail}" for detail, metrics in by_detail.items()]
    return "; ".join(there[:SHOWN]) + (f"; and {len(there) - SHOWN} more" if len(there) > SHOWN else "")


def physical_high(metric: MetricSpec) -> float:
    """The largest value that can be true."""
    return (MOST_SHARE if metric.name.endswith(SHARES) else WRONG_UNIT) * metric.high


def _asked_for(spec: SystemSpec) -> np.ndarray:
    """(n_metrics,) int: for each metric of a workload what it is asked to do, -1 for those of no workload."""
    catalogue = spec.catalogue
    wanted = {str(name): catalogue.index(objective.wanted) for name, objective in spec.workloads.items()}
    return np.array([wanted.get(name.partition("_")[0], -1) for name in catalogue.names])
