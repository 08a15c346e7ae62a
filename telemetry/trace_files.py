"""What `trimtab trace` does: describe, query, convert, export and generate traces and stores."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.table import Table

from telemetry.demand_families import FAMILIES
from telemetry.public_traces import TraceError, demands_in, is_recording, load_demand, load_series
from telemetry.query import Query, QueryError, Range, instant, query_trace
from telemetry.store_files import is_store
from telemetry.store_reader import StoreReader, Tier
from telemetry.trace import EVENTS_METRIC, REQUESTS_METRIC, Trace
from telemetry.workload import Demand, generate_demand


def describe(path: Path) -> dict[str, Any]:
    """Length and, for each series of a trace, mean, peak and share of missing values.

    Of a folder of traces: the same for the demand of each, and under `refused` why other files hold none. Of a store:
    its tiers and the names of its series.

    Raises:
        TraceError: not a trace that we can read.
        StoreError: a store of another version.
    """
    if is_store(path):
        reader = StoreReader(path)
        return {"path": str(path), "tiers": [_tier_row(tier) for tier in reader.tiers], "names": list(reader.names())}
    refused: dict[str, str] = {}
    if path.is_dir() and not is_recording(path):
        series = [_demand_row(demand, path) for demand in demands_in(path, refused)]
    else:
        series = [_row(one.name, one.step_seconds, one.values) for one in load_series(path)]
    return {"path": str(path), "series": series, "refused": refused}


def _tier_row(tier: Tier) -> dict[str, Any]:
    return {
        "name": tier.name,
        "step_seconds": tier.step_seconds,
        "files": len(tier.files),
        "bytes": sum(file.size for file in tier.files),
        "begin": tier.files[0].first,
        "end": tier.files[-1].last,
    }


def _demand_row(demand: Demand, folder: Path) -> dict[str, Any]:
    row = _row(demand.name, demand.step_seconds, demand.requests_per_second)
    missing = (demand.interpolated_steps + demand.held_steps) / len(demand)
    return {**row, "missing_ratio": missing, "file": str(Path(demand.source).relative_to(folder))}


def _row(name: str, step_seconds: float, values: np.ndarray) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    return {
        "name": name,
        "steps": len(values),
        "step_seconds": step_seconds,
        "mean": float(known.mean()) if len(known) else float("nan"),
        "peak": float(known.max()) if len(known) else float("nan"),
        "missing_ratio": 1.0 - len(known) / len(values),
    }


def table_of(description: dict[str, Any]) -> Table:
    """The description as a table."""
    table = Table(title=description["path"])
    if "tiers" in description:
        return _tier_table(table, description)
    for name in ("series", "steps", "step, s", "mean", "peak", "missing"):
        table.add_column(name, justify="left" if name == "series" else "right")
    for one in description["series"]:
        figures = f"{one['step_seconds']:g}", f"{one['mean']:.4g}", f"{one['peak']:.4g}", f"{one['missing_ratio']:.1%}"
        table.add_row(one["name"], str(one["steps"]), *figures)
    if description["refused"]:
        table.caption = f"{len(description['refused'])} files hold no demand; --json tells why"
    return table


def _tier_table(table: Table, description: dict[str, Any]) -> Table:
    for name in ("tier", "files", "MiB", "from (UTC)", "to"):
        table.add_column(name, justify="right" if name in ("files", "MiB") else "left")
    for tier in description["tiers"]:
        span = instant(tier["begin"]), instant(tier["end"])
        table.add_row(tier["name"], str(tier["files"]), f"{tier['bytes'] / (1 << 20):.2f}", *span)
    table.caption = f"{len(description['names'])} series; --json names them, `trimtab trace query` shows them"
    return table


def read_range(path: Path, query: Query) -> Range:
    """What is asked for, of a store or of a trace in any format that is a demand.

    Raises:
        TraceError: not a trace that we can read.
        QueryError: nothing matches, or too much.
        StoreError: a store of another version.
    """
    if is_store(path):
        return StoreReader(path).read(query)
    found = query_trace(_trace_of(path), query)
    if not len(found.times):
        raise QueryError(f"{path}: nothing matches {' '.join(query.series)} in that range; see `trimtab trace show`")
    return replace(found, source=str(path))


def newest_time(path: Path) -> float:
    """Wall clock of the last row, or a trace's own seconds where it does not know the date.

    Raises:
        TraceError: not a trace that we can read.
        StoreError: a store that is empty or of another version.
    """
    if is_store(path):
        return StoreReader(path).newest()
    trace = _trace_of(path)
    if not len(trace):
        raise TraceError(f"{path}: a trace without rows")
    return float(trace.times[-1] + trace.metadata.get("wall_start", trace.times[0]) - trace.times[0])


def _trace_of(path: Path) -> Trace:
    return Trace.load(path) if is_recording(path) else _demand_trace(load_demand(path))


def export(found: Range, target: Path) -> None:
    """Write a range as a trace (.parquet), or as CSV with the wall clock (UTC) and a column a series (.csv).

    Raises:
        TraceError: another ending.
    """
    if target.suffix == ".parquet":
        found.trace().save(target)
    elif target.suffix == ".csv":
        with open(target, "w", newline="") as file:
            write_csv(found, file)
    else:
        raise TraceError(f"{target}: the ending {target.suffix!r} is unknown; use .parquet or .csv")


def write_csv(found: Range, file: IO[str]) -> None:
    """Wall clock (UTC) and a column a series; empty where nothing is known."""
    writer = csv.writer(file)
    writer.writerow(["time", *found.names])
    for wall, row in zip(found.wall.tolist(), found.values.tolist(), strict=True):
        writer.writerow([instant(wall), *("" if value != value else value for value in row)])


def range_as_json(found: Range) -> dict[str, Any]:
    """Wall clock in seconds since 1970, and the values of each series."""
    series = dict(zip(found.names, found.values.T.tolist(), strict=True))
    return {"source": found.source, "times": found.wall.tolist(), "series": series}


def range_table(found: Range) -> Table:
    """One row a series: range, mean and last value, and how it went."""
    begin, end = instant(found.wall[0]), instant(found.wall[-1])
    table = Table(title=f"{begin} to {end}, {len(found.times)} rows", caption=found.source)
    table.add_column("series", overflow="fold")
    for name in ("min", "mean", "max", "last"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("course", no_wrap=True)
    for name, values in zip(found.names, found.values.T, strict=True):
        known = values[np.isfinite(values)]
        if len(known):
            figures = known.min(), known.mean(), known.max(), known[-1]
            table.add_row(name, *(f"{figure:.3g}" for figure in figures), sparkline(values))
    return table


def sparkline(values: np.ndarray, width: int = 12) -> str:
    """Means of equal pieces of (T,) values as blocks of eight heights; a blank where nothing is known."""
    pieces = [piece[np.isfinite(piece)] for piece in np.array_split(values, min(width, len(values)))]
    means = np.array([piece.mean() if len(piece) else np.nan for piece in pieces])
    low, high = np.nanmin(means), np.nanmax(means)
    heights = np.nan_to_num((means - low) / (high - low) * 7.0) if high > low else np.zeros(len(means))
    return "".join(
        " " if np.isnan(mean) else "▁▂▃▄▅▆▇█"[round(h)] for mean, h in zip(means, heights.tolist(), strict=True)
    )


def convert(source: Path, target: Path, *, column: str | None = None, compression: float = 1.0) -> None:
    """Write a trace's demand to another format, told by the target's ending.

    Args:
        source: any trace that `load_demand` reads.
        target: see `write_demand`.
        column: name of the series that is the demand; None: the format's default.
        compression: time runs that many times faster.

    Raises:
        TraceError: the source cannot be read, or the target's ending is unknown.
    """
    write_demand(load_demand(source, column, compression=compression), target)


def generate(target: Path, *, family: str, seed: int, duration_seconds: float, step_seconds: float) -> None:
    """Write a generated demand.

    Raises:
        TraceError: unknown family, or unknown ending of the target.
    """
    if family != "mixed" and family not in FAMILIES:
        raise TraceError(f"unknown family {family!r}; known are: mixed, {', '.join(FAMILIES)}")
    demand = generate_demand(seed, duration_seconds=duration_seconds, step_seconds=step_seconds, family=family)
    write_demand(demand, target)


def write_demand(demand: Demand, target: Path) -> None:
    """Write a demand as our Parquet (.parquet), or as CSV with columns t, rate and events (.csv).

    Both come back through `load_demand`. CSV has no place for the length of a day: of a compressed demand it keeps the
    rates, not the time of day.

    Raises:
        TraceError: another ending.
    """
    if target.suffix == ".csv":
        rows = zip(
            (demand.start_seconds + demand.times).tolist(),
            demand.requests_per_second.tolist(),
            demand.events_per_second.tolist(),
            strict=True,
        )
        with open(target, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["t", "rate", "events"])
            writer.writerows(rows)
    elif target.suffix == ".parquet":
        _demand_trace(demand).save(target)
    else:
        raise TraceError(f"{target}: the ending {target.suffix!r} is unknown; use .parquet or .csv")


def _demand_trace(demand: Demand) -> Trace:
    values = np.stack([demand.requests_per_second, demand.events_per_second], axis=1)  # (T, 2)
    metadata = {
        "source": demand.source,
        "name": demand.name,
        "day_seconds": demand.day_seconds,
        "start_seconds": demand.start_seconds,
    }
    return Trace(demand.times, values, (REQUESTS_METRIC, EVENTS_METRIC), np.empty((len(values), 0)), (), metadata)
