"""Reads all sources once per period, and works out what happened between two readings."""

from __future__ import annotations

import bisect
import functools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from telemetry.collectors.source import ArraySource, Source, parse_key
from telemetry.columns import Columns, columns_of
from telemetry.own_cost import OwnCost
from telemetry.sweep import RowValues, Sweep

logger = logging.getLogger(__name__)

NAN = float("nan")


class Stop(Protocol):
    """What `Sampler.run` waits on; `threading.Event` is one."""

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; True as soon as it is time to stop."""
        ...


class Sampler:
    """Sweeps over sources; a source that fails costs its own values and nothing else.

    What a sweep costs is among the values of the next one: see `telemetry.own_cost`.

    Args:
        sources: with different names.
        period_seconds: from the start of a sweep to the start of the next.
        clock: seconds, monotonic.
        wall_clock: seconds since 1970; only watched for steps.

    Raises:
        ValueError: on a period that is not positive or names used twice.
    """

    def __init__(
        self,
        sources: Sequence[Source | ArraySource],
        period_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        names = [source.name for source in sources]
        if len(set(names)) != len(names):
            raise ValueError(f"sources need different names, got {', '.join(sorted(names))}")
        if not period_seconds > 0:
            raise ValueError(f"period_seconds is {period_seconds}, must be > 0")
        self.sources, self.period_seconds, self._clock = tuple(sources), period_seconds, clock
        self.last: Sweep | None = None
        self._columns = [columns_of(source) for source in sources]
        self._cost = OwnCost(names, clock, wall_clock)
        self._names: tuple[str, ...] = ()
        self._parts: tuple[tuple[str, ...], ...] = ()
        self._kept: np.ndarray | None = None
        self._failing: set[str] = set()

    def sweep(self) -> Sweep:
        """Read every source once. Never raises for what a source does."""
        begin = self._cost.begin()
        errors: dict[str, str] = {}
        for columns in self._columns:
            source_begin = self._clock()
            try:
                columns.read()
            except Exception as error:  # a source may be anybody's code, and the loop must outlive it
                columns.clear()
                errors[columns.name] = str(error).partition("\n")[0] or type(error).__name__
            self._note(columns.name, errors.get(columns.name))
            self._cost.read(columns.name, self._clock() - source_begin, columns.name in errors, columns.missing)
        names, row = self._join()
        self._cost.end(len(names))
        self.last = Sweep(begin, RowValues(names, row), errors)
        return self.last

    def run(self, stop: Stop, consume: Callable[[Sweep], None] | None = None) -> None:
        """Sweep at start + k * period until `stop`; late sweeps do not shift later ones.

        Periods that passed during a slow sweep are left out and counted, not caught up with: a burst of sweeps would
        measure nothing but itself.

        Args:
            stop: e.g. a `threading.Event`.
            consume: called with each sweep, on this thread.
        """
        start, done = self._clock(), 0
        while True:
            sweep = self.sweep()
            if consume is not None:
                consume(sweep)
            passed = int((self._clock() - start) / self.period_seconds)
            self._cost.missed(max(0, passed - done))
            done = max(passed, done) + 1
            if stop.wait(max(0.0, start + done * self.period_seconds - self._clock())):
                return

    def _join(self) -> tuple[tuple[str, ...], np.ndarray]:
        """All columns side by side: names, and a row of its own for this sweep. A name told twice keeps its last."""
        every: list[Columns | OwnCost] = [*self._columns, self._cost]
        parts = tuple(columns.names for columns in every)
        row = np.concatenate([columns.values for columns in every])  # (n,)
        if len(parts) != len(self._parts) or any(a is not b for a, b in zip(parts, self._parts, strict=True)):
            self._parts = parts
            joined = [name for part in parts for name in part]
            last = {name: i for i, name in enumerate(joined)}
            self._kept = None if len(last) == len(joined) else np.fromiter(last.values(), dtype=int)
            self._names = tuple(last)
        return self._names, row if self._kept is None else row[self._kept]

    def _note(self, name: str, error: str | None) -> None:
        """Log when a source begins to fail and when it is back."""
        if error is not None:
            if name not in self._failing:
                logger.warning("source %s fails: %s", name, error)
                self._failing.add(name)
        elif name in self._failing:
            logger.info("source %s is back", name)
            self._failing.remove(name)


def counter_delta(before: Sweep, after: Sweep, series: str, reasons: Counter[str] | None = None) -> float:
    """How much a counter grew between two sweeps; never negative.

    NaN where it is missing in one of them ("missing"), is NaN or infinite ("not finite") or fell ("reset": what it
    counted before the restart is unknown, so the growth is too).

    Args:
        before: the earlier sweep.
        after: the later one.
        series: full series name.
        reasons: if given, counts why the result is NaN.
    """
    old, new = before.values.get(series), after.values.get(series)
    if old is None or new is None:
        reason = "missing"
    elif not (math.isfinite(old) and math.isfinite(new)):
        reason = "not finite"
    elif new < old:
        reason = "reset"
    else:
        return new - old
    if reasons is not None:
        reasons[reason] += 1
    return NAN


def histogram_delta(
    before: Sweep, after: Sweep, name: str, labels: Mapping[str, str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What a Prometheus histogram observed between two sweeps.

    Args:
        before: the earlier sweep.
        after: the later one.
        name: without `_bucket`.
        labels: those of the histogram without `le`; series with others are not counted.

    Returns:
        Upper bounds (B,) ascending, the last +inf, and observations per bucket (B,), not cumulative. All counts are
        NaN when any bucket is missing before or was reset; both are empty when there is no such histogram.
    """
    buckets = _buckets(after.names, name, frozenset((labels or {}).items()))
    found = [(bound, series) for bound, series in buckets if series in after.values]
    bounds = np.array([bound for bound, _ in found])
    cumulative = np.array([counter_delta(before, after, series) for _, series in found])  # (B,)
    counts = np.diff(cumulative, prepend=0.0)
    if np.isnan(counts).any() or (counts < 0).any():  # < 0: a reset that some buckets have outgrown already
        counts = np.full(len(bounds), NAN)
    return bounds, counts


@functools.lru_cache(maxsize=8)
def _buckets(names: tuple[str, ...], histogram: str, labels: frozenset[tuple[str, str]]) -> list[tuple[float, str]]:
    """Upper bounds and series of a histogram's buckets, ascending. Names stay the same sweep after sweep."""
    found = []
    for series in names:
        if series.startswith(f"{histogram}_bucket{{"):
            has = parse_key(series)[1]
            bound = has.pop("le", None)
            if bound is not None and has.items() == labels:
                found.append((float(bound), series))
    return sorted(found)


def histogram_quantile(bounds: np.ndarray, counts: np.ndarray, q: float) -> float:
    """The `q` quantile, as Prometheus computes it: linear within a bucket, the first bucket from 0.

    In the bucket to +inf the answer is its lower bound.

    Args:
        bounds: (B,) upper bounds, ascending, the last +inf.
        counts: (B,) observations per bucket.
        q: in [0, 1].

    Returns:
        NaN without observations, or where counts are NaN.

    Raises:
        ValueError: on `q` outside [0, 1].
    """
    if not 0 <= q <= 1:
        raise ValueError(f"quantile {q} must be in [0, 1]")
    cumulative = np.cumsum(counts)
    if not len(counts) or not cumulative[-1] > 0:
        return NAN
    rank = q * float(
        cumulative[-1]
    )  # not counts.sum(): its rounding may differ, and then q = 1 lies beyond all buckets
    # The first bucket that holds something and reaches the rank: q = 0 is the low end of the data, not of the buckets.
    bucket = max(int(np.searchsorted(cumulative, rank, side="left")), int(np.flatnonzero(counts)[0]))
    if not np.isfinite(bounds[bucket]):
        return float(bounds[bucket - 1]) if bucket > 0 else NAN
    low = float(bounds[bucket - 1]) if bucket > 0 else min(0.0, float(bounds[0]))
    below = float(cumulative[bucket] - counts[bucket])
    return low + (float(bounds[bucket]) - low) * (rank - below) / float(counts[bucket])


def share_below(bounds: np.ndarray, counts: np.ndarray, bound: float) -> float:
    """Share of observations <= `bound`, linear within a bucket; exact where `bound` is one of the buckets' bounds.

    What lies in the bucket to +inf counts as above. NaN without observations, or where counts are NaN.
    """
    total = counts.sum() if len(counts) else 0.0
    if not total > 0:
        return NAN
    bucket = bisect.bisect_left(bounds.tolist(), bound)
    below = float(counts[:bucket].sum())
    if bucket < len(bounds) and np.isfinite(bounds[bucket]):
        low = float(bounds[bucket - 1]) if bucket > 0 else min(0.0, float(bounds[0]))
        width = float(bounds[bucket]) - low
        below += float(counts[bucket]) * (max(bound - low, 0.0) / width if width > 0 else 1.0)
    elif bound == np.inf:
        below = float(total)
    return below / float(total)
