"""The workloads of a sweep, one row each, whichever source tells of them."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from telemetry.live_readings import LiveReadings
from telemetry.sampler import histogram_quantile

LABELS = ("component", "group", "name", "job")
"""Labels that name a workload: of scraped components, processes, control groups, and pushed jobs."""
CPU = (
    ("container_cpu_usage_seconds_total", "name"),  # in nanoseconds, and complete when processes end
    ("process_cpu_clock_seconds_total", "group"),  # in nanoseconds
    ("process_cpu_seconds_total", "group"),
    ("process_cpu_seconds_total", "component"),
    ("process_cpu_seconds_total", "job"),
)
MEMORY = (
    ("process_resident_memory_bytes", "group"),
    ("process_resident_memory_bytes", "component"),
    ("container_memory_rss", "name"),
    ("process_resident_memory_bytes", "job"),
)
COUNTED = ("requests", "samples", "events", "steps")
"""What a workload is paid for, in its counters' names: the rate shown is that of the first that it has."""
LATENCY_SWEEPS = 10
"""Percentiles are over so many periods: at some ten requests a second, p99 of one period is a single request."""
SPARK = 60
"""Readings of the last minute at one a second."""


@dataclass(frozen=True)
class WorkloadRow:
    """One workload; NaN is what is not known.

    Attributes:
        name: of the component, group or job.
        cores: processors used.
        memory: bytes resident.
        rate: per second, of what `counted` says.
        counted: requests, samples, events or steps.
        p50: seconds of its latency or step histogram over the last periods.
        p99: seconds.
        cores_past: cores used, oldest first, up to `SPARK`.
        rate_past: rates, likewise.
    """

    name: str
    cores: float
    memory: float
    rate: float
    counted: str
    p50: float
    p99: float
    cores_past: tuple[float, ...]
    rate_past: tuple[float, ...]


class Workloads:
    """Follows the workloads from sweep to sweep."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._known: list[str] = []
        self._counters: dict[str, tuple[str, str]] = {}
        self._histograms: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._buckets: dict[str, deque[np.ndarray]] = {}
        self._past: dict[str, tuple[deque[float], deque[float]]] = {}

    def update(self, readings: LiveReadings) -> list[WorkloadRow]:
        """The rows of the newest sweep, in the order in which sources tell of them."""
        if readings.names is not self._names:
            self._names = readings.names
            self._find(readings)
        return [self._row(name, readings) for name in self._known]

    def _find(self, readings: LiveReadings) -> None:
        """Who there is, and which counter and histogram each is shown by."""
        has: dict[str, dict[str, str]] = {}  # workload -> metric -> the label by which it is the workload's
        for metric in readings.metrics:
            if metric.startswith(("trimtab_", "node_")):
                continue
            for labels, _ in readings.columns(metric):
                label = next((label for label in LABELS if label in labels), None)
                if label is not None:
                    has.setdefault(labels[label], {})[metric] = label
        self._known, former = list(has), self._histograms
        self._counters = {name: _counter(metrics) for name, metrics in has.items()}
        self._histograms = {}
        for name, metrics in has.items():
            histogram = next((metric for metric in metrics if metric.endswith("_seconds_bucket")), None)
            if histogram is not None:
                self._histograms[name] = _buckets_of(readings, histogram, metrics[histogram], name)
                if name not in former or not np.array_equal(former[name][0], self._histograms[name][0]):
                    self._buckets.pop(name, None)
        self._past = {name: past for name, past in self._past.items() if name in has}

    def _row(self, name: str, readings: LiveReadings) -> WorkloadRow:
        cores = _first(readings.rate(metric, **{by: name}) for metric, by in CPU)
        memory = _first(readings.level(metric, **{by: name}) for metric, by in MEMORY)
        counter, label = self._counters[name]
        rate = readings.rate(counter, **{label: name}) if counter else math.nan
        past = self._past.setdefault(name, (deque(maxlen=SPARK), deque(maxlen=SPARK)))
        past[0].append(cores)
        past[1].append(rate)
        counted = next((thing for thing in COUNTED if f"_{thing}_" in counter), "")
        p50, p99 = self._percentiles(name, readings)
        return WorkloadRow(name, cores, memory, rate, counted, p50, p99, tuple(past[0]), tuple(past[1]))

    def _percentiles(self, name: str, readings: LiveReadings) -> tuple[float, float]:
        if name not in self._histograms:
            return math.nan, math.nan
        bounds, columns = self._histograms[name]
        cumulative = np.array([readings.row[column].sum() for column in columns])  # (B,)
        past = self._buckets.setdefault(name, deque(maxlen=LATENCY_SWEEPS + 1))
        if past and not (cumulative >= past[-1]).all():
            past.clear()  # a restart, or a reading is missing
        past.append(cumulative)
        counts = np.diff(cumulative - past[0], prepend=0.0)
        return histogram_quantile(bounds, counts, 0.5), histogram_quantile(bounds, counts, 0.99)


def _counter(metrics: Mapping[str, str]) -> tuple[str, str]:
    """The counter that a workload's rate is of, and the label by which it is the workload's; empty without one."""
    for end in ("_total", "_received_total", "_sent_total"):
        for thing in COUNTED:
            found = next((metric for metric in metrics if metric.endswith(f"_{thing}{end}")), None)
            if found is not None:
                return found, metrics[found]
    return "", ""


def _buckets_of(readings: LiveReadings, histogram: str, label: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (B,) ascending and the columns (B, children) of a workload's histogram, whose children are added up."""
    by_bound: dict[float, list[int]] = {}
    for labels, column in readings.columns(histogram, **{label: name}):
        with contextlib.suppress(KeyError, ValueError):  # called a bucket, and none
            by_bound.setdefault(float(labels["le"]), []).append(column)
    bounds = sorted(by_bound)
    most = max(map(len, by_bound.values()), default=0)
    whole = [bound for bound in bounds if len(by_bound[bound]) == most]
    return np.array(whole), np.array([by_bound[bound] for bound in whole])


def _first(values: Iterable[float]) -> float:
    """The first that is known."""
    return next((value for value in values if value == value), math.nan)
