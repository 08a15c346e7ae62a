"""Which series move most, against what is usual for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from telemetry.collectors.source import parse_key
from telemetry.live_readings import LiveReadings

KEEP = 0.95
"""Of the usual level per sweep: it looks back some 20 sweeps."""
SETTLED = 5
"""Sweeps until anything is called unusual."""
GROWING = ("_total", "_count", "_sum")
KERNEL = ("node_netstat_", "node_vmstat_")
SILENT = (
    "trimtab_",
    "workload_process_",
    "workload_thread_",
    "node_buddyinfo_",
    "node_time_seconds",
    "process_start_time_seconds",
)
"""Not shown: ourselves, what moves by its nature or means nothing to most, and the parts of sums that are shown."""


@dataclass(frozen=True)
class Mover:
    """A series that does something unusual.

    Attributes:
        series: full name.
        value: level, or rate per second of a counter.
        usual: what it was lately.
        is_rate: whether it is a rate.
    """

    series: str
    value: float
    usual: float
    is_rate: bool


class Movers:
    """Keeps an exponential mean and mean deviation of every series; three numbers a series and no history."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._grows = self._shown = np.empty(0, dtype=bool)
        self._mean = self._deviation = np.empty(0)
        self._seen = np.empty(0, dtype=int)

    def update(self, readings: LiveReadings, most: int) -> list[Mover]:
        """Take the newest sweep in; the series farthest from their usual, farthest first."""
        if readings.names is not self._names:
            self._set_names(readings.names)
        now = np.where(self._grows, readings.rates, readings.row)  # (n,)
        known = np.isfinite(now)
        distance = np.where(known, np.abs(now - self._mean), 0.0)
        # A twentieth of the level and a thousandth of anything: what never moved is not unusual for a last digit.
        spread = self._deviation + 0.05 * np.abs(self._mean) + 1e-3
        score = np.where(known & self._shown & (self._seen >= SETTLED), distance / spread, 0.0)
        found = [i for i in np.argsort(-score, kind="stable")[:most].tolist() if score[i] > 3.0]
        movers = [Mover(self._names[i], float(now[i]), float(self._mean[i]), bool(self._grows[i])) for i in found]
        self._learn(now, known, distance)
        return movers

    def _learn(self, now: np.ndarray, known: np.ndarray, distance: np.ndarray) -> None:
        keep = np.where(self._seen == 0, 0.0, KEEP)
        mean = keep * self._mean + (1 - keep) * now
        self._deviation = np.where(
            known, KEEP * self._deviation + (1 - KEEP) * (self._seen > 0) * distance, self._deviation
        )
        self._mean = np.where(known, mean, self._mean)
        self._seen = self._seen + known

    def _set_names(self, names: tuple[str, ...]) -> None:
        columns = {name: i for i, name in enumerate(self._names)}
        former = np.array([columns.get(name, -1) for name in names], dtype=int)
        old = former >= 0

        def carried(values: np.ndarray) -> np.ndarray:
            result = np.zeros(len(names), dtype=values.dtype)
            result[old] = values[former[old]]
            return result

        self._mean, self._deviation, self._seen = map(carried, (self._mean, self._deviation, self._seen))
        metrics = [parse_key(name)[0] for name in names]
        self._grows = np.array([_grows(metric) for metric in metrics], dtype=bool)
        self._shown = np.array([not metric.startswith(SILENT) and not metric.endswith("_bucket") for metric in metrics])
        self._names = names


def _grows(metric: str) -> bool:
    """Counters; among the kernel's untyped figures, all but the levels that are called so."""
    if metric.startswith(KERNEL):
        return not metric.startswith("node_vmstat_nr_") and not metric.endswith(("CurrEstab", "RtoMin", "RtoMax"))
    return metric.endswith(GROWING)
