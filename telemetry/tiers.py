"""What a second, a minute or an hour of a series was like, so that long horizons stay small.

A gauge keeps mean, smallest, largest and last value; a counter its last value and how much it grew. Means of minutes
make the mean of an hour by the number of readings behind each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.ring import Block

FIELDS = ("mean", "min", "max", "last", "increase", "seconds", "count")
"""Of a period: `increase` is what a counter grew by in the `seconds` between readings, `count` how many there were."""
MEAN, MIN, MAX, LAST, INCREASE, SECONDS, COUNT = range(len(FIELDS))
COUNTED = ("_total", "_bucket", "_count", "_sum")
"""Endings of counters. What the kernel counts under a name without one (`node_vmstat_*`) is kept as a gauge."""
ENDED = 5000
"""Series that a period holds beyond those of its newest part; with more it goes on in a new piece, as where a program
was restarted. Default: 1.5 MiB, and six minutes where 18 processes live for a minute each."""


@dataclass(frozen=True, eq=False)
class Summary:
    """One period of all series.

    Attributes:
        time: end of the period, seconds on the store's axis.
        first: time of the first sweep in it.
        last: time of the last.
        wall_offset: seconds to add for the wall clock.
        names: (C,) full series names.
        values: (len(FIELDS), C) float64; NaN where a field does not apply or nothing was read.
    """

    time: float
    first: float
    last: float
    wall_offset: float
    names: tuple[str, ...]
    values: np.ndarray


def is_counter(series: str) -> bool:
    """Whether a full series name is that of a counter."""
    return series.partition("{")[0].endswith(COUNTED)


def period_ends(times: np.ndarray, step_seconds: float) -> np.ndarray:
    """Ends of the periods that times lie in; period k is [k, k + 1) steps since 1970."""
    return (np.floor(times / step_seconds) + 1) * step_seconds


def growth(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much counters grew from one reading to the next that is known, and in how many seconds.

    A counter that fell was reset: what it shows since then has been counted since then, so it grew by at least that.

    Args:
        times: (R, C) seconds; the first row that of the last known readings before, NaN without any.
        values: (R, C) readings, NaN where missing.

    Returns:
        Growth and seconds up to each but the first reading, (R - 1, C) each, NaN where unknown.
    """
    rows = np.where(np.isfinite(values), np.arange(len(values))[:, None], 0)
    np.maximum.accumulate(rows, axis=0, out=rows)  # of the last known reading, up to here
    before, now = np.take_along_axis(values, rows, axis=0)[:-1], values[1:]
    grown = np.where(now >= before, now - before, np.where(now < before, now, np.nan))
    grown[~np.isfinite(grown)] = np.nan
    return grown, np.where(np.isnan(grown), np.nan, times[1:] - np.take_along_axis(times, rows, axis=0)[:-1])


class Summarizer:
    """Turns sweeps into one summary a period; remembers each counter's last value from period to period.

    Where many series end, a period comes in pieces, which lie one after the other in time.

    Args:
        step_seconds: length of a period.
    """

    def __init__(self, step_seconds: float) -> None:
        self.step_seconds = step_seconds
        self._open: Summary | None = None  # the period being filled
        self._names: tuple[str, ...] = ()  # of the block before
        self._counted = np.empty(0, dtype=bool)  # (C,) which of these are counters
        self._last = np.empty((2, 0))  # (2, C) time and value of their last readings

    def add(self, block: Block) -> list[Summary]:
        """Take sweeps; returns the periods and pieces that are over."""
        ends = period_ends(block.times, self.step_seconds)  # (R,)
        begins = np.flatnonzero(np.diff(ends, prepend=-np.inf))
        finished = []
        for begin, end in zip(begins, [*begins[1:], len(ends)], strict=True):
            rows = slice(begin, end)
            piece = Block(block.times[rows], block.wall_offsets[rows], block.names, block.values[rows])
            finished += self.merge([self._summarize(float(ends[begin]), piece)])
        return finished

    def merge(self, parts: Sequence[Summary]) -> list[Summary]:
        """Take summaries of shorter periods; returns the periods and pieces that are over."""
        finished = []
        for part in parts:
            # The end of a period is the beginning of the next; what is summarized lies before it.
            end = float(period_ends(np.array(part.time - 1e-6), self.step_seconds))
            if self._open and end > self._open.time:
                finished += self.flush()
            part = replace(part, time=end)
            self._open = combine([self._open, part]) if self._open else part
            if len(self._open.names) > len(part.names) + ENDED:
                finished += self.flush()
        return finished

    def over(self, now: float) -> list[Summary]:
        """The period that what was taken last lies in, if it is over at `now`, seconds on the axis."""
        return self.flush() if self._open and self._open.time <= now else []

    def flush(self) -> list[Summary]:
        """The period that is not over yet, if there is one."""
        finished, self._open = self._open, None
        return [finished] if finished else []

    def _summarize(self, end: float, block: Block) -> Summary:
        """Sweeps that lie in the period that ends at `end`."""
        names, values = block.names, block.values
        if names is not self._names:
            self._rename(names)
        counted, before = self._counted, self._last
        times = np.broadcast_to(block.times[:, None], values.shape)
        found = np.full((len(FIELDS), len(names)), np.nan)
        finite = np.isfinite(values)
        found[COUNT] = finite.sum(axis=0)
        known = found[COUNT] > 0
        gauges, counters = known & ~counted, known & counted
        level = np.where(finite, values, np.nan)
        found[MEAN, gauges] = np.nanmean(level[:, gauges], axis=0)
        found[MIN, gauges] = np.nanmin(level[:, gauges], axis=0)
        found[MAX, gauges] = np.nanmax(level[:, gauges], axis=0)
        newest = len(values) - 1 - finite[::-1].argmax(axis=0)  # (C,) row of the last reading
        found[LAST, known] = level[newest, np.arange(len(names))][known]
        sequence = (
            np.concatenate([was[None], now])[:, counters] for was, now in zip(before, (times, values), strict=True)
        )
        grown, seconds = growth(*sequence)
        found[INCREASE, counters], found[SECONDS, counters] = _sum_known(grown), _sum_known(seconds)
        self._last = np.where(known, [block.times[newest], found[LAST]], before)
        first, last = float(block.times[0]), float(block.times[-1])
        return Summary(end, first, last, float(block.wall_offsets[-1]), names, found)

    def _rename(self, names: tuple[str, ...]) -> None:
        last_of = dict(zip(self._names, self._last.T.tolist(), strict=True))
        self._last = np.array([last_of.get(name, (np.nan, np.nan)) for name in names]).reshape(-1, 2).T
        self._counted = np.array([is_counter(name) for name in names], dtype=bool)
        self._names = names


def combine(parts: Sequence[Summary]) -> Summary:
    """Summaries of one period, in order of time, as one."""
    names = union(parts)
    stacked = np.full((len(parts), len(FIELDS), len(names)), np.nan)
    for values, part in zip(stacked, parts, strict=True):
        values[:, columns_in(names, part.names)] = part.values
    count = stacked[:, COUNT]
    found = np.full((len(FIELDS), len(names)), np.nan)
    found[COUNT] = np.nansum(count, axis=0)
    levels = ~np.isnan(stacked[:, MEAN])
    weight = np.where(levels, count, 0.0)
    gauges = levels.any(axis=0)
    total = np.where(levels, stacked[:, MEAN], 0.0) * weight
    found[MEAN, gauges] = total.sum(axis=0)[gauges] / weight.sum(axis=0)[gauges]
    found[MIN], found[MAX] = np.fmin.reduce(stacked[:, MIN], axis=0), np.fmax.reduce(stacked[:, MAX], axis=0)
    known = ~np.isnan(stacked[:, LAST])
    newest = len(parts) - 1 - known[::-1].argmax(axis=0)
    found[LAST] = stacked[newest, LAST, np.arange(len(names))]
    found[INCREASE], found[SECONDS] = _sum_known(stacked[:, INCREASE]), _sum_known(stacked[:, SECONDS])
    return replace(parts[-1], first=parts[0].first, names=names, values=found)


def union(parts: Sequence[Summary]) -> tuple[str, ...]:
    """All series of several periods, each once."""
    if all(part.names is parts[0].names for part in parts):
        return parts[0].names
    return tuple(dict.fromkeys(name for part in parts for name in part.names))


def columns_in(names: tuple[str, ...], some: tuple[str, ...]) -> np.ndarray:
    """Where `some`, (n,), stand in `names`, which has them all."""
    if some is names:
        return np.arange(len(names))
    column_of = {name: column for column, name in enumerate(names)}
    return np.array([column_of[name] for name in some], dtype=np.intp)


def _sum_known(grown: np.ndarray) -> np.ndarray:
    """Sum over the first axis of what is known; NaN where nothing is."""
    known = ~np.isnan(grown)
    return np.where(known.any(axis=0), np.where(known, grown, 0.0).sum(axis=0), np.nan)
