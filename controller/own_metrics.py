"""The controller's own figures as Prometheus text, written to its state directory once per period.

`control serve` shows them, and node_exporter's textfile collector can read the file as it is.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from controller.decision import Decision, Mode
from controller.loop import Controller
from controller.own_cost import OwnCost
from controller.shield import Reason
from telemetry.collectors.source import parse_key, series_key
from telemetry.exposition import Exposition
from telemetry.series_catalogue import Family
from telemetry.sweep import RowValues, Sweep

MAX_SERIES = 500
"""Four times what there are at rest. What exceeds it is left out, family by family, and counted."""
DELAY_BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0)
"""Seconds; the goal is 10, the promise 60."""

PREFIX = "trimtab_controller_"
LEFT_OUT = PREFIX + "series_left_out"
_key = functools.cache(series_key)
"""The same hundred series each period."""
_TABLE = """
periods_total counter: Periods that were completed, by the mode in force.
failed_periods_total counter: Periods that ended in an error.
missed_periods_total counter: Periods that passed without a reading, since the one before took too long.
stage_seconds gauge: Time that a stage of the last period took.
stage_seconds_total counter: Time that a stage has taken since the start.
availability_ratio gauge: Share of the periods since the start that were decided on complete readings.
trials_total counter: Optimizations that ended, by outcome.
trials_running gauge: Optimizations that are being judged.
opportunity_to_applied_seconds histogram: From the first proposal of a change to being in force.
refusals_total counter: Differences between what was wanted and what was done, by reason.
invalid_readings_total counter: Readings that were not believed, by reason and metric.
valid_readings_ratio gauge: Share of the last period's readings that were believed.
retraining_asked gauge: Whether the system is no longer what the policies were trained on.
observation_distance_ratio gauge: Distance of the last observation from what a policy was made with, 1 at its limit.
strange_observations_total counter: Observations that were unlike what a policy was made with.
success_ratio gauge: Share of the judged optimizations that are proven better.
success_low_ratio gauge: Low end of its 95 % interval.
success_high_ratio gauge: High end of its 95 % interval.
config_last_reload_successful gauge: Whether the configuration file in force is the newest one.
mode gauge: 1 for the mode in force of the system, 0 for the others.
workload_mode gauge: 1 for the mode in force of a workload, 0 for the others.
killed gauge: Whether the kill switch is on.
paused gauge: Whether an operator has paused it.
pins gauge: Knobs that an operator holds.
conditions gauge: Conditions that are active.
condition_active gauge: Whether a condition is active; those that have not been active since the start are absent.
start_timestamp_seconds gauge: When this controller was started, seconds since 1970.
last_period_timestamp_seconds gauge: When the last period was completed, seconds since 1970.
cpu_used_cores gauge: Processor time per second of all its processes over the last minute.
process_cpu_seconds_total counter: Processor time of one of its processes.
process_resident_memory_bytes gauge: Memory of one of its processes.
series_left_out gauge: Series that are not shown, since there were more than are allowed.
up gauge: Whether the process of the controller is alive.
ready gauge: Whether nothing speaks against its readiness (/readyz).
seconds_since_last_period gauge: Age of the last completed period.
warden_silence_seconds gauge: Time since the warden's last sign of life.
leased gauge: Whether a setting is in force that would be taken back.
"""
FAMILIES = {
    PREFIX + head.split()[0]: Family(PREFIX + head.split()[0], head.split()[1], meaning)
    for head, _, meaning in (line.partition(": ") for line in _TABLE.strip().splitlines())
}


class OwnMetrics:
    """Counts what happens over the periods."""

    def __init__(self) -> None:
        # From zero on: Prometheus sees no increase in a counter that begins at one.
        self._refusals: Counter[Reason] = Counter(dict.fromkeys(Reason, 0))
        self._conditions: set[str] = set()
        self._delays: list[float] = [0.0] * (len(DELAY_BOUNDS) + 1)
        self._delay_sum = 0.0
        self._page, self._cap = MetricsPage(), Cap()
        self._started_at = time.time()

    def count(self, decision: Decision) -> None:
        """One more period."""
        self._refusals.update(refusal.reason for refusal in decision.reasons)
        for trial in decision.opened:
            delay = trial.applied_at - trial.seen_at
            self._delays[int(np.searchsorted(DELAY_BOUNDS, delay))] += 1
            self._delay_sum += delay

    def text(self, controller: Controller, missed_periods: int, cost: OwnCost) -> str:
        """All figures, Prometheus text.

        Args:
            controller: that counts some of them itself.
            missed_periods: of its plant.
            cost: as last measured.
        """
        self._conditions |= set(controller.conditions.active)
        values = {
            **controller.metrics(),
            **_labelled("mode", "mode", {mode: float(mode is controller.mode) for mode in Mode}),
            **_workload_modes(controller.modes_in_force),
            **_labelled("refusals_total", "reason", {r: float(n) for r, n in self._refusals.items()}),
            **_labelled(
                "condition_active",
                "condition",
                {name: float(name in controller.conditions.active) for name in sorted(self._conditions)},
            ),
            **self._delay_series(),
            **_cost_series(cost),
            PREFIX + "missed_periods_total": float(missed_periods),
            PREFIX + "killed": float(controller.killed),
            PREFIX + "paused": float(controller.paused),
            PREFIX + "pins": float(len(controller.pins)),
            PREFIX + "start_timestamp_seconds": self._started_at,
            PREFIX + "last_period_timestamp_seconds": time.time(),
        }
        return self._page.text(self._cap(values))

    def _delay_series(self) -> dict[str, float]:
        name = PREFIX + "opportunity_to_applied_seconds"
        bounds = [*(f"{bound:g}" for bound in DELAY_BOUNDS), "+Inf"]
        counts = np.cumsum(self._delays).tolist()
        buckets = {_key(f"{name}_bucket", le=bound): n for bound, n in zip(bounds, counts, strict=True)}
        return {**buckets, f"{name}_sum": self._delay_sum, f"{name}_count": counts[-1]}


class MetricsPage:
    """Prometheus text of series; as long as their names stay the same it costs an eighth of the first time."""

    def __init__(self) -> None:
        self._exposition = Exposition(FAMILIES.get)
        self._names: tuple[str, ...] = ()

    def text(self, values: Mapping[str, float]) -> str:
        """Series name -> value as text."""
        names = tuple(values)
        self._names = names if names != self._names else self._names  # the same object is what keeps the template
        row = np.fromiter(values.values(), dtype=np.float64, count=len(values))
        self._exposition.show(Sweep(0.0, RowValues(self._names, row)))
        return self._exposition.text().decode()


class Cap:
    """Leaves out what is more than `MAX_SERIES`, family by family, and counts it."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._kept: list[str] = []

    def __call__(self, values: Mapping[str, float]) -> dict[str, float]:
        """The series that are shown."""
        names = tuple(values)
        if names != self._names:
            self._names, self._kept = names, capped(names)
        return {**{name: values[name] for name in self._kept}, LEFT_OUT: float(len(names) - len(self._kept))}


def capped(names: Sequence[str], most: int = MAX_SERIES - 1) -> list[str]:
    """Those series whose whole families fit into so many, first come first served."""
    families = [_family(name) for name in names]
    kept, room = set(), most
    for family, size in Counter(families).items():
        if size <= room:
            kept.add(family)
            room -= size
    return [name for name, family in zip(names, families, strict=True) if family in kept]


def _family(series: str) -> str:
    name = parse_key(series)[0]
    base = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
    return base if base in FAMILIES else name


def _labelled(name: str, label: str, values: Mapping[str, float]) -> dict[str, float]:
    return {_key(PREFIX + name, **{label: str(key)}): value for key, value in values.items()}


def _workload_modes(in_force: Mapping[str, Mode]) -> dict[str, float]:
    name = PREFIX + "workload_mode"
    return {series_key(name, workload=w, mode=m): float(m is mine) for w, mine in in_force.items() for m in Mode}


def _cost_series(cost: OwnCost) -> dict[str, float]:
    cpu = {name: usage.cpu_seconds for name, usage in cost.usage.items()}
    memory = {name: float(usage.resident_bytes) for name, usage in cost.usage.items()}
    return {
        **_labelled("process_cpu_seconds_total", "process", cpu),
        **_labelled("process_resident_memory_bytes", "process", memory),
        PREFIX + "cpu_used_cores": cost.cpu_cores,
    }
