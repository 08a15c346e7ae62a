"""What `trimtab trace` does: describe, convert and generate traces."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from telemetry.demand_families import FAMILIES
from telemetry.public_traces import TraceError, demands_in, is_recording, load_demand, load_series
from telemetry.trace import EVENTS_METRIC, REQUESTS_METRIC, Trace
from telemetry.workload import Demand, generate_demand


def describe(path: Path) -> dict[str, Any]:
    """Length and, for each series of a trace, mean, peak and share of missing values.

    Of a folder of traces: the same for the demand of each, and under `refused` why other files hold none.

    Raises:
        TraceError: not a trace that we can read.
    """
    refused: dict[str, str] = {}
    if path.is_dir() and not is_recording(path):
        series = [_demand_row(demand, path) for demand in demands_in(path, refused)]
    else:
        series = [_row(one.name, one.step_seconds, one.values) for one in load_series(path)]
    return {"path": str(path), "series": series, "refused": refused}


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
    for name in ("series", "steps", "step, s", "mean", "peak", "missing"):
        table.add_column(name, justify="left" if name == "series" else "right")
    for one in description["series"]:
        figures = f"{one['step_seconds']:g}", f"{one['mean']:.4g}", f"{one['peak']:.4g}", f"{one['missing_ratio']:.1%}"
        table.add_row(one["name"], str(one["steps"]), *figures)
    if description["refused"]:
        table.caption = f"{len(description['refused'])} files hold no demand; --json tells why"
    return table


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
