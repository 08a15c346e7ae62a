"""What forecasts ask for: least grants of CPU. Forecasts only ever add; taking away needs measurements and a policy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from envs.outlook import shortage
from envs.recent import Recent
from envs.spec import SystemSpec

ALARM_WITHIN = "1h"
"""Target of `telemetry.issues` that holds a grant: later ones leave time to wait and see."""


@dataclass(frozen=True)
class PrescaleConfig:
    """When forecasts raise a grant."""

    chance: float = 2.0
    """Chance of a shortage within the shortest forecast lead from which on the grant is raised; above 1: never.
    Default: never. Where a grant is in force within a period, a policy that sees the demand is soon enough, and raising
    it before costs more than it brings: `trimtab bench prescale`, `docs/forecasting.md`."""
    alarm: float = 0.95
    """Probability of an issue within the hour from which on nothing is taken from the workload; above 1: never."""


SMOOTHING = 0.1
"""Weight of a new period in the running means."""
LEAST_CPU = 1e-3
"""Cores. What uses less tells nothing about what it could do."""


class Floor(NamedTuple):
    """The least grant that a forecast asks for."""

    cores: float
    why: str


@dataclass(frozen=True)
class Alarm:
    """A forecast issue of a metric within the hour.

    Attributes:
        metric: that will be over its limit.
        probability: of it.
        expires_at: seconds since 1970, from which on the forecast counts no more.
    """

    metric: str
    probability: float
    expires_at: float


class Prescaler:
    """Turns forecasts into least grants.

    Args:
        spec: workloads, knobs and forecast leads.
        config: when they are asked for.
    """

    def __init__(self, spec: SystemSpec, config: PrescaleConfig | None = None) -> None:
        self.spec, self.config = spec, config or PrescaleConfig()
        workloads = list(spec.workloads.values())
        self._done_at = spec.catalogue.indices([objective.done for objective in workloads])
        self._used_at = spec.catalogue.indices([objective.cpu_used for objective in workloads])
        self._done, self._used = (np.zeros(len(spec.workloads)) for _ in range(2))  # running means

    def floors(self, recent: Recent, setting: np.ndarray, alarms: Sequence[Alarm] = ()) -> dict[str, Floor]:
        """CPU knob -> least grant; none where readings are missing.

        Args:
            recent: of a single system, with its outlook.
            setting: (n_knobs,) in force.
            alarms: that have not expired.
        """
        found: dict[str, Floor] = {}
        rates = self._core_rates(recent)
        leads = len(self.spec.forecast_leads_seconds)
        expected, upper = recent.expected[::leads], recent.upper[::leads]  # (n_workloads,), of the shortest lead
        cpu = [self.spec.knob_index(objective.cpu_knob) for objective in self.spec.workloads.values()]
        free = max(0.0, self.spec.cores - float(setting[cpu].sum()))  # a forecast takes nothing from the others
        for i, (name, objective) in enumerate(self.spec.workloads.items()):
            knob = self.spec.knobs[self.spec.knob_index(objective.cpu_knob)]
            granted = float(setting[self.spec.knob_index(knob.name)])
            floor = self._ahead(float(expected[i]), float(upper[i]), float(rates[i]), granted)
            floor = floor or self._alarmed(name, granted, alarms)
            if floor is not None:
                found[knob.name] = Floor(min(floor.cores, granted + free, knob.high), floor.why)
        return found

    def _core_rates(self, recent: Recent) -> np.ndarray:
        """Work per second that a core does, (n_workloads,): of the last periods, since one alone is mostly noise."""
        done, used = recent.values[self._done_at], recent.values[self._used_at]
        known = np.isfinite(done) & np.isfinite(used)
        for mean, now in ((self._done, done), (self._used, used)):
            mean += np.where(known, SMOOTHING * (now - mean), 0.0)
        return np.where(self._used >= LEAST_CPU, self._done / np.maximum(self._used, LEAST_CPU), np.nan)

    def _ahead(self, expected: float, upper: float, rate: float, granted: float) -> Floor | None:
        """What the expected demand needs, if it probably exceeds what the grant can do."""
        capacity = rate * granted
        chance = float(shortage(*(np.array([value]) for value in (expected, upper, capacity)))[0])
        if not (chance >= self.config.chance and rate > 0.0):  # also where something is NaN
            return None
        lead = self.spec.forecast_leads_seconds[0]
        return Floor(expected / rate, f"{expected:.3g} per second expected in {lead:g} s, {capacity:.3g} can be done")

    def _alarmed(self, workload: str, granted: float, alarms: Sequence[Alarm]) -> Floor | None:
        """What is granted, while an issue of the workload is foretold."""
        for alarm in alarms:
            if alarm.metric.startswith(f"{workload}_") and alarm.probability >= self.config.alarm:
                return Floor(granted, f"{alarm.metric} over its limit within the hour, {alarm.probability:.0%} sure")
        return None


def lifted(proposal: np.ndarray, floors: Mapping[int, Floor]) -> np.ndarray:
    """A proposal that leaves no knob below its floor, (n_knobs,); it never gives less than the proposal.

    Args:
        proposal: (n_knobs,) wanted by the allocation policy, or what is in force.
        floors: position of a knob -> least grant; one that is not finite asks for nothing.
    """
    raised = proposal.copy()
    for knob, floor in floors.items():
        if floor.cores > raised[knob]:  # False for NaN
            raised[knob] = floor.cores
    return raised


def read_alarms(path: Path, now: float) -> list[Alarm]:
    """The alarms of a forecast that `trimtab forecast --json` wrote; none where it is missing, damaged or expired.

    Args:
        path: of the file.
        now: seconds since 1970.
    """
    try:
        metrics = json.loads(path.read_text())["metrics"]
        alarms = [
            Alarm(str(one["metric"]), float(probability), float(one["expires_at"]))
            for one in metrics
            if (probability := one["horizons"][ALARM_WITHIN]["probability"]) is not None  # of a young metric
        ]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError):
        return []
    return [alarm for alarm in alarms if now < alarm.expires_at and math.isfinite(alarm.probability)]
