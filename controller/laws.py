"""Laws that readings must obey together: a sensor that lies breaks one sooner or later, whatever the policy thinks.

Rates are compared as means over a window, since levels are read at the ends of periods and rates over them. All bounds
hold for any arrival process; the tolerance covers meters that are read a little apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from envs.spec import SystemSpec
from telemetry.metrics import Catalogue

WINDOW = 10
"""Periods that a law looks back; it is silent until it has seen as many in a row."""
TOLERANCE = 0.15
"""Of the larger side."""
CPU_SLACK_CORES = 0.1
LONGEST_SECONDS = 6.0
"""Upper bound of the one request in a hundred above p99: deadlines of the components are shorter."""
FAILED_SHARE = 0.01
"""With more failures Little's law is silent: a rejected request counts as slow, and never waits in the queue."""
IN_FLIGHT_BATCHES = 2.0
"""Requests that are neither waiting nor answered, in batches."""


@dataclass(frozen=True)
class Window:
    """The last periods, oldest first.

    Attributes:
        columns: metric -> (WINDOW,).
        settings: (WINDOW, n_knobs) in force during each; NaN where it is not known.
        seconds: of a period.
    """

    columns: dict[str, np.ndarray]
    settings: np.ndarray
    seconds: float

    def __getitem__(self, metric: str) -> np.ndarray:
        return self.columns[metric]


@dataclass(frozen=True)
class Law:
    """One of them.

    Attributes:
        name: for journal and metrics.
        needs: metrics that it reads; without all of them in the spec it does not apply.
        suspects: those that are not believed when it is broken.
        broken: how it is broken, in words; empty while it holds. All readings of the window are finite.
    """

    name: str
    needs: tuple[str, ...]
    suspects: tuple[str, ...]
    broken: Callable[[Window], str]


def laws_for(spec: SystemSpec, *, host_cores: float | None = None, limits_hold: bool = False) -> list[Law]:
    """Those that a spec has the metrics for.

    Args:
        spec: of the system.
        host_cores: of the host that all workloads share; None where they do not, or nobody knows.
        limits_hold: whether CPU grants are limits, not only weights.
    """
    laws = [
        _order("serving_latency_p50_seconds", "serving_latency_p99_seconds"),
        _order("training_goodput_per_second", "training_samples_per_second"),
        _done_in_time(),
        _served(),
        _written(),
        _little(),
    ]
    parts = tuple(objective.cpu_used for objective in spec.workloads.values())
    if host_cores is not None:
        laws.append(_sum_of_parts(parts, host_cores))
    if limits_hold:
        for objective in spec.workloads.values():
            knob = spec.knob_index(objective.cpu_knob)
            laws.append(_limit(objective.cpu_used, knob, spec.knobs[knob].high))
    return [law for law in laws if _has(spec.catalogue, law.needs)]


def _has(catalogue: Catalogue, names: Sequence[str]) -> bool:
    return all(name in catalogue for name in names)


def _exceeds(less: float, more: float, slack: float = 0.0) -> bool:
    return less > more * (1.0 + TOLERANCE) + slack


def _order(less: str, more: str) -> Law:
    def broken(window: Window) -> str:
        low, high = window[less][-1], window[more][-1]
        # Half of a period's work may be counted in the next one by one of two meters.
        return f"{less} {low:.4g} above {more} {high:.4g}" if _exceeds(low, high, 1e-9) else ""

    return Law(f"{less} <= {more}", (less, more), (less, more), broken)


def _done_in_time() -> Law:
    names = ("serving_goodput_per_second", "serving_within_slo_ratio")

    def broken(window: Window) -> str:
        goodput, share = (window[name][-1] for name in names)
        return f"goodput {goodput:.4g} with none in time" if goodput > 1.0 and share < 1e-6 else ""

    return Law("goodput needs answers in time", names, names, broken)


def _served() -> Law:
    needs = ("serving_arrivals_per_second", "serving_goodput_per_second", "serving_failed_per_second",
             "serving_queue_requests", "serving_batch_mean_size")  # fmt: skip

    def broken(window: Window) -> str:
        arrivals, goodput, failed, queue, batch = (window[name] for name in needs)
        finished = float((goodput + failed)[1:].sum()) * window.seconds
        there = float(queue[0]) + float(arrivals[1:].sum()) * window.seconds
        slack = IN_FLIGHT_BATCHES * max(8.0, float(batch.max()))
        return f"{finished:.0f} requests finished, {there:.0f} were there" if _exceeds(finished, there, slack) else ""

    return Law("finished <= arrived + waiting", needs, needs[:4], broken)


def _written() -> Law:
    needs = ("ingest_arrivals_per_second", "ingest_written_per_second", "ingest_backlog_events")

    def broken(window: Window) -> str:
        arrivals, written, backlog = (window[name] for name in needs)
        done = float(written[1:].sum()) * window.seconds
        there = float(backlog[0]) + float(arrivals[1:].sum()) * window.seconds
        # A shard of events is published at once, and it may be counted a period earlier than its backlog.
        slack = 64.0 + float(written.max()) * window.seconds
        return f"{done:.0f} events written, {there:.0f} were there" if _exceeds(done, there, slack) else ""

    return Law("written <= arrived + backlog", needs, needs, broken)


def _little() -> Law:
    """Little's law, L = lambda W, with what percentiles say of the mean: p50 / 2 <= W <= p99 + 1 % of the longest."""
    needs = ("serving_arrivals_per_second", "serving_failed_per_second", "serving_queue_requests",
             "serving_latency_p50_seconds", "serving_latency_p99_seconds", "serving_batch_mean_size")  # fmt: skip

    def broken(window: Window) -> str:
        arrivals, failed, queue, p50, p99, batch = (window[name] for name in needs)
        if failed.sum() > FAILED_SHARE * arrivals.sum():
            return ""
        slack = IN_FLIGHT_BATCHES * max(8.0, float(batch.max()))
        waiting, least = float(queue.mean()), float((arrivals * p50).mean()) / 2.0
        most = float((arrivals * (p99 + 0.01 * LONGEST_SECONDS)).mean())
        # The queue is a sample at the end of each period, hence twice the tolerance in both directions.
        if least > 2.0 * waiting + slack:
            return f"{waiting:.0f} requests waiting, latency and rate say {least:.0f} or more"
        if waiting > 2.0 * most + slack:
            return f"{waiting:.0f} requests waiting, latency and rate say {most:.0f} or fewer"
        return ""

    return Law("Little: waiting = rate x latency", needs, (needs[0], *needs[2:5]), broken)


def _sum_of_parts(parts: tuple[str, ...], cores: float) -> Law:
    def broken(window: Window) -> str:
        used = float(sum(window[name][-3:].mean() for name in parts))
        return f"{used:.2f} cores used of {cores:g}" if _exceeds(used, cores, CPU_SLACK_CORES) else ""

    return Law("parts of CPU <= host", parts, parts, broken)


def _limit(metric: str, knob: int, highest: float) -> Law:
    def broken(window: Window) -> str:
        # Three periods: a limit acts at once, but the period that it is lowered in began above it.
        used, limit = float(window[metric][-3:].mean()), float(window.settings[-4:, knob].max())
        if limit >= highest * (1.0 - 1e-6):
            return ""  # a limit beyond the knob's range, or none at all, shows as the end of the range
        return f"{metric} {used:.2f} of {limit:.2f} granted" if _exceeds(used, limit, CPU_SLACK_CORES) else ""

    return Law(f"{metric} <= limit", (metric,), (metric,), broken)
