"""What `trimtab trace` does: describe, convert and generate traces."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from telemetry.demand_families import FAMILIES
from telemetry.public_traces import TraceError, load_demand, load_series
from telemetry.trace import Trace
from telemetry.workload import Demand, generate_demand

DEMAND_METRICS = ("serving_arrivals_per_second", "ingest_arrivals_per_second")


def describe(path: Path) -> dict[str, Any]:
    """Length and, for each series, mean, peak and share of missing values.

    Raises:
        TraceError: not a trace that we can read.
    """
    series = load_series(path)
    return {
        "path": str(path),
        "series": [
            {
                "name": one.name,
                "steps": len(one.values),
                "step_seconds": one.step_seconds,
                "mean": float(np.nanmean(one.values)) if np.isfinite(one.values).any() else float("nan"),
                "peak": float(np.nanmax(one.values)) if np.isfinite(one.values).any() else float("nan"),
                "missing_ratio": float(np.isnan(one.values).mean()),
            }
            for one in series
        ],
    }


def table_of(description: dict[str, Any]) -> Table:
    """The description as a table."""
    table = Table(title=description["path"])
    for name in ("series", "steps", "step, s", "mean", "peak", "missing"):
        table.add_column(name, justify="left" if name == "series" else "right")
    for one in description["series"]:
        figures = f"{one['step_seconds']:g}", f"{one['mean']:.4g}", f"{one['peak']:.4g}", f"{one['missing_ratio']:.1%}"
        table.add_row(one["name"], str(one["steps"]), *figures)
    return table


def convert(source: Path, target: Path) -> None:
    """Write a trace's demand to another format, told by the target's ending.

    Raises:
        TraceError: the source cannot be read, or the target's ending is unknown.
    """
    write_demand(load_demand(source), target)


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
    """Write a demand as our Parquet (.parquet) or as CSV with columns t and rate (.csv).

    Raises:
        TraceError: another ending.
    """
    if target.suffix == ".csv":
        with open(target, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["t", "rate"])
            writer.writerows(zip(demand.times.tolist(), demand.requests_per_second.tolist(), strict=True))
    elif target.suffix == ".parquet":
        values = np.stack([demand.requests_per_second, demand.events_per_second], axis=1)
        Trace(demand.times, values, DEMAND_METRICS, np.empty((len(values), 0)), (), {"source": demand.source}).save(
            target
        )
    else:
        raise TraceError(f"{target}: the ending {target.suffix!r} is unknown; use .parquet or .csv")
