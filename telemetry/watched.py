"""Hourly levels of the series in a store or a trace, for the forecaster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from telemetry.issues import HOUR, IssueError, first_hour, hourly_levels
from telemetry.public_traces import is_recording, load_series
from telemetry.query import Query, QueryError, Range, query_trace
from telemetry.store_files import is_store
from telemetry.store_reader import StoreReader
from telemetry.tiers import is_counter
from telemetry.trace import Trace
from telemetry.trace_formats import Series, on_grid

STEP_SECONDS = 300.0
"""Of what is read; finer readings are averaged first. Default: three of them make the quarter hour of an issue."""
MEMORY_HOURS = 24 * 24
"""How much of a store is read: two weeks for the table, one for the record, and a little."""

Reader = Callable[[Query], Range]


@dataclass(frozen=True, eq=False)
class Watched:
    """One series.

    Attributes:
        name: full name.
        levels: (H,) see `hourly_levels`, of the negated readings where it is mirrored; H may be 0.
        end: seconds, end of the newest hour, on the clock of what was read.
        mirrored: whether low readings are the issue.
    """

    name: str
    levels: np.ndarray
    end: float
    mirrored: bool = False


def watched_series(
    path: Path, patterns: Sequence[str] = ("*",), mirrored: Collection[str] = (), *, sliding: bool = False
) -> list[Watched]:
    """Series that match any pattern, counters as growth per second; those that cannot be made hourly are left out.

    A store or recording of minutes may leave none.

    Args:
        path: a store, a recording, or a trace in a format that `trimtab trace` reads.
        patterns: as in a shell.
        mirrored: names, full or without labels, of series whose low readings are the issue.
        sliding: whether the newest hour ends with the newest readings, not with an hour of the clock.

    Raises:
        QueryError: nothing matches.
        TraceError: not a trace that we can read.
        StoreError: a store that is empty or of another version.
    """
    names = Query(tuple(patterns))
    if is_store(path):
        reader = StoreReader(path)
        begin = reader.newest() - MEMORY_HOURS * HOUR
        known: Sequence[str] = reader.names()
        series = _both_kinds(names, known, begin, reader.read)
    elif is_recording(path):
        trace = Trace.load(path)
        known = trace.metric_names
        series = _both_kinds(names, known, None, lambda query: query_trace(trace, query))
    else:
        series = load_series(path)
        known = [one.name for one in series]
        series = [one for one, wanted in zip(series, names.wants(known), strict=True) if wanted]
    if not any(names.wants(known)):
        raise QueryError(f"{path}: nothing matches {' '.join(patterns)}; see `trimtab trace show {path}`")
    found = (_hourly(one, mirrored=is_named(one.name, mirrored), sliding=sliding) for one in series)
    return [watched for watched in found if watched is not None]


def is_named(series: str, names: Collection[str]) -> bool:
    """Whether a series is one of these, by its full name or its name without labels."""
    return series in names or series.partition("{")[0] in names


def _both_kinds(asked: Query, names: Sequence[str], begin: float | None, read: Reader) -> list[Series]:
    wanted = [name for name, matches in zip(names, asked.wants(names), strict=True) if matches]
    found: list[Series] = []
    for counters in (False, True):
        chosen = tuple(name.replace("[", "[[]") for name in wanted if is_counter(name) == counters)
        if chosen:
            query = Query(chosen, begin, step_seconds=STEP_SECONDS, field="rate" if counters else "auto")
            found += _columns(read(query))
    return found


def _columns(found: Range) -> list[Series]:
    # Times are ends of periods; a series is dated by the beginning of its first one.
    if len(found.times) < 2:
        return []
    wall = np.maximum.accumulate(found.wall) - STEP_SECONDS
    return [on_grid(name, wall, values) for name, values in zip(found.names, found.values.T, strict=True)]


def _hourly(series: Series, *, mirrored: bool, sliding: bool) -> Watched | None:
    values = -series.values if mirrored else series.values
    start, step = series.start, series.step_seconds
    if sliding and 0 < step <= HOUR:
        values = values[:-1]  # the newest step may not be over
        over = len(values) % round(HOUR / step)
        values, start = values[over:], start + over * step
    try:
        levels = hourly_levels(values, step, 0.0 if sliding else start)
    except IssueError:
        return None
    return Watched(series.name, levels, (start if sliding else first_hour(start)) + len(levels) * HOUR, mirrored)
