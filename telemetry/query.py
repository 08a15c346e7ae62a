"""Any range of a store or a trace, at any step: what `trimtab trace query` and `export` show."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from typing import Any, Literal

import numpy as np

from telemetry.tiers import COUNT, FIELDS, INCREASE, LAST, MAX, MEAN, MIN, SECONDS, is_counter, period_ends
from telemetry.trace import SETTING_PREFIX, Trace

Field = Literal["auto", "mean", "min", "max", "last", "increase", "rate"]

UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
YEAR = 365 * UNITS["d"]
_DURATION = re.compile(r"([0-9.]+)\s*(s|min|m|h|d)?")


class QueryError(ValueError):
    """A question that cannot be answered; the message is one line."""


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Attributes:
        series: patterns as in a shell, of the full name or of the name without labels.
        begin: wall clock, seconds since 1970 (of a trace without one: its own seconds); None: from the beginning.
        end: likewise, not included; None: to the end.
        step_seconds: distance of the answers; None: as recorded.
        field: of a period; `auto` is the mean of a gauge and the last value of a counter, `rate` the growth of a
            counter per second.
    """

    series: tuple[str, ...] = ("*",)
    begin: float | None = None
    end: float | None = None
    step_seconds: float | None = None
    field: Field = "auto"

    def __post_init__(self) -> None:
        if self.step_seconds is not None and not 0 < self.step_seconds < math.inf:
            raise QueryError(f"step of {self.step_seconds} s; allowed is more than 0, e.g. 60 or 5min")
        if self.begin is not None and self.end is not None and not self.begin < self.end:
            raise QueryError(f"range from {instant(self.begin)} to {instant(self.end)}; it must begin before it ends")

    def wants(self, names: Iterable[str]) -> np.ndarray:
        """Which series match, (n,) bool."""
        patterns = [re.compile(translate(pattern)) for pattern in self.series]
        return np.array(
            [any(p.match(name) or p.match(name.partition("{")[0]) for p in patterns) for name in names], dtype=bool
        )

    def inside(self, wall: np.ndarray) -> np.ndarray:
        """Which times are in the range, (n,) bool."""
        low = -math.inf if self.begin is None else self.begin
        high = math.inf if self.end is None else self.end
        return (wall >= low) & (wall < high)


@dataclass(frozen=True, eq=False)
class Range:
    """The answer.

    Attributes:
        times: (T,) seconds, strictly increasing, on the store's or the trace's own axis; ends of periods at a step.
        wall_offsets: (T,) seconds to add for the wall clock.
        names: (n,) series in alphabetical order.
        values: (T, n) float64, NaN where nothing is known.
        source: what was read, e.g. the tiers.
        metadata: of the trace that was read, as of the first row.
    """

    times: np.ndarray
    wall_offsets: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wall(self) -> np.ndarray:
        """(T,) wall clock, seconds since 1970; steps where the clock was set."""
        return self.times + self.wall_offsets

    def trace(self) -> Trace:
        """As a trace, which an environment replays; series named `setting:...` are its settings."""
        knobs = np.array([name.startswith(SETTING_PREFIX) for name in self.names], dtype=bool)
        metrics = tuple(name for name in self.names if not name.startswith(SETTING_PREFIX))
        knob_names = tuple(name.removeprefix(SETTING_PREFIX) for name in self.names if name not in metrics)
        dated = {"wall_start": float(self.wall[0])} if len(self.times) and self.wall[0] >= YEAR else {}
        metadata = {**self.metadata, **dated, "source": self.source}
        return Trace(self.times, self.values[:, ~knobs], metrics, self.values[:, knobs], knob_names, metadata)


@dataclass(frozen=True, eq=False)
class Rows:
    """Readings and summaries in long form, in any order.

    Attributes:
        times: (n,) seconds on the axis: of a reading, or the end of a period.
        wall_offsets: (n,).
        series: (n,) index into the names.
        values: (len(FIELDS), n); a reading is a period with one value, whose increase and seconds are NaN.
        periods: (n,) seconds that the row stands for; 0 for a reading.
    """

    times: np.ndarray
    wall_offsets: np.ndarray
    series: np.ndarray
    values: np.ndarray
    periods: np.ndarray


def readings(times: np.ndarray, wall_offsets: np.ndarray, series: np.ndarray, values: np.ndarray) -> Rows:
    """Rows of single readings, each argument (n,)."""
    fields = np.broadcast_to(values, (len(FIELDS), len(values))).copy()
    fields[INCREASE], fields[SECONDS], fields[COUNT] = np.nan, np.nan, 1.0
    return Rows(times, wall_offsets, series, fields, np.zeros(len(times)))


def answer(rows: Rows, names: tuple[str, ...], query: Query, source: str = "") -> Range:
    """Rows as a table of the field and step that are asked for."""
    order = np.lexsort((rows.times, rows.series))
    times, series, values = rows.times[order], rows.series[order], rows.values[:, order]
    counters = np.array([is_counter(name) for name in names], dtype=bool)
    _fill_increase(times, values, series, counters)
    step = query.step_seconds
    # A period ends just before a sweep at its end, and belongs to the step that ends there too.
    before = times - 1e-6 * (rows.periods[order] > 0)
    ends = before if step is None else period_ends(before, step)
    grid, row = np.unique(ends, return_inverse=True)
    offsets = np.zeros(len(grid))
    offsets[row] = rows.wall_offsets[order]
    starts = np.flatnonzero(np.diff(series * len(grid) + row, prepend=-1))
    table = np.full((len(grid), len(names)), np.nan)
    if len(starts):
        periods = _reduce(values, starts)
        table[row[starts], series[starts]] = _field(periods, query.field, counters[series[starts]])
    alphabetical = sorted(range(len(names)), key=names.__getitem__)
    return Range(grid, offsets, tuple(names[i] for i in alphabetical), table[:, alphabetical], source)


def query_trace(trace: Trace, query: Query) -> Range:
    """A range of a trace; its settings are series too, named as in the file (`setting:threads`)."""
    names = (*trace.metric_names, *(SETTING_PREFIX + name for name in trace.knob_names))
    values = np.concatenate([trace.values, trace.settings], axis=1)
    begun = trace.metadata.get("wall_start")
    offset = 0.0 if begun is None or not len(trace) else float(begun) - float(trace.times[0])
    rows, wanted = query.inside(trace.times + offset), query.wants(names)
    chosen = values[np.ix_(rows, wanted)].T  # (n, T)
    series, at = np.nonzero(~np.isnan(chosen))
    times = trace.times[rows][at]
    found = readings(times, np.full(len(times), offset), series, chosen[series, at])
    table = answer(found, tuple(n for n, there in zip(names, wanted, strict=True) if there), query, "trace")
    later = float(table.times[0] - trace.times[0]) if len(table.times) else 0.0
    day = {"start_seconds": trace.metadata["start_seconds"] + later} if "start_seconds" in trace.metadata else {}
    return replace(table, metadata={**trace.metadata, **day})


def parse_time(text: str, newest: float) -> float:
    """Seconds since 1970 from an ISO date (UTC unless it says otherwise), seconds, or `-90min` before the newest row.

    Raises:
        QueryError: it is none of these.
    """
    if text.startswith("-"):
        return newest - parse_duration(text[1:])
    try:
        return float(text)
    except ValueError:
        pass
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(
            f"time {text!r}; allowed are 2026-11-24T12:30, seconds since 1970, and -90min, -12h, -7d before the end"
        ) from None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def parse_duration(text: str) -> float:
    """Seconds from `90`, `90s`, `5min`, `1h` or `7d`.

    Raises:
        QueryError: it is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    try:
        return float(match[1]) * UNITS[match[2] or "s"] if match else float("")
    except ValueError:
        raise QueryError(f"duration {text!r}; allowed are 90, 90s, 5min, 1h, 7d") from None


def instant(seconds: float) -> str:
    """Wall clock as text, UTC, to the millisecond; seconds of a trace that does not know its date stay a number."""
    if abs(seconds) < YEAR:
        return f"{seconds:.3f}"
    stamp = datetime(1970, 1, 1) + timedelta(seconds=round(seconds, 3))
    return stamp.isoformat(timespec="milliseconds") + "Z"


def _fill_increase(times: np.ndarray, values: np.ndarray, series: np.ndarray, counters: np.ndarray) -> None:
    """What counters grew by up to each reading since the row before, which may be a summary; in place."""
    last, before = values[LAST, 1:], values[LAST, :-1]
    grown = np.where(last >= before, last - before, last)  # a counter that fell began again at 0
    unknown = np.isnan(values[INCREASE, 1:]) & (series[1:] == series[:-1]) & counters[series[1:]]
    values[INCREASE, 1:][unknown] = grown[unknown]
    values[SECONDS, 1:][unknown] = np.diff(times)[unknown]


def _reduce(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Runs of rows -> one row each, (len(FIELDS), runs)."""
    level, count = values[MEAN], values[COUNT]
    weight = np.where(np.isnan(level), 0.0, count)
    weights = np.add.reduceat(weight, starts)
    total = np.add.reduceat(np.where(np.isnan(level), 0.0, level) * weight, starts)
    grown = values[[INCREASE, SECONDS]]
    known = np.add.reduceat((~np.isnan(grown)).astype(float), starts, axis=1)
    found = np.empty((len(FIELDS), len(starts)))
    found[MEAN] = np.divide(total, weights, where=weights > 0, out=np.full(len(starts), np.nan))
    found[MIN], found[MAX] = np.fmin.reduceat(values[MIN], starts), np.fmax.reduceat(values[MAX], starts)
    found[LAST] = values[LAST, np.append(starts[1:], values.shape[1]) - 1]
    found[[INCREASE, SECONDS]] = np.where(known > 0, np.add.reduceat(np.nan_to_num(grown), starts, axis=1), np.nan)
    found[COUNT] = np.add.reduceat(count, starts)
    return found


def _field(periods: np.ndarray, asked: Field, counters: np.ndarray) -> np.ndarray:
    """(runs,) what is asked for, of which some are counters."""
    if asked == "rate":
        return periods[INCREASE] / periods[SECONDS]
    if asked == "auto":
        return np.where(counters, periods[LAST], periods[MEAN])
    return periods[FIELDS.index(asked)]
