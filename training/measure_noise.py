"""Measures the noise of machines and of readings; prints the later tables of docs/traces.md as Markdown.

    python -m training.measure_noise ../shared/traces/azure_vm_noise_2024/longlived_westus2.csv.gz training/recordings

The file holds benchmarks repeated on virtual machines for months, the folders recordings of `trimtab record --excite`.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from telemetry.public_traces import is_recording, trace_paths
from telemetry.trace import Trace
from training.measure_arrivals import Row, print_table

SETTLE_PERIODS = 3
"""Left out after each change of setting."""
LEAST_PERIODS = 5
"""Shorter pieces of constant setting say nothing about their noise."""
AT_CEILING = 0.9
"""A component that uses this share of the CPU granted to it is held by it: what varies then is the reading."""
WORK = {
    "serving": "serving_arrivals_per_second",
    "training": "training_samples_per_second",
    "ingest": "ingest_written_per_second",
}
"""Components, and the work that their CPU goes into."""
CPU_LEVELS = (0.0, 0.1, 0.2, 0.4, 0.8, 2.0)
"""Cores."""
GRANTED_LEVELS = (0.0, 0.08, 0.12, 0.2, 0.4, 2.0)
"""Cores."""
LAGS = ((1.0, 3.0), (3.0, 8.0), (16.0, 32.0), (120.0, 240.0), (960.0, 1920.0))
"""Hours, from and to."""

Machines = list[tuple[np.ndarray, np.ndarray]]
"""(hours, logarithm of the result) of each machine, two (n_runs,) arrays."""


class Piece(NamedTuple):
    """Periods of one setting.

    Attributes:
        readings: {metric: (T,)}.
        granted: cores that each component was given.
    """

    readings: dict[str, np.ndarray]
    granted: dict[str, float]


def main(benchmark_file: Path, folders: Sequence[Path]) -> None:
    """Print all tables."""
    machines = runs(benchmark_file)
    recordings = [Trace.load(path) for folder in folders for path in trace_paths(folder) if is_recording(path)]
    pieces = [piece for trace in recordings for piece in constant_pieces(trace)]
    print_table("Benchmarks: variation within a machine and between machines", benchmarks(machines))
    print_table("Benchmarks: how far a machine strays within some time", strays(machines))
    print_table("CPU readings at the ceiling", readings_at_ceiling(pieces))
    print_table("CPU readings below the ceiling", readings_below_ceiling(pieces))
    print_table("Memory readings and arrivals at one setting", other_readings(pieces))
    print_table("Missing readings by the CPU granted", missing_by_grant(recordings))
    print_table("Missing readings by metric", missing_by_metric(recordings))


def runs(path: Path) -> dict[tuple[str, str], Machines]:
    """{(benchmark, kind of machine): its machines with at least 100 runs}."""
    rows: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if float(row["value"] or 0) > 0:
                name = f"{row['bench'].split(':')[0].replace('_', ' ')} ({row['unit']})"
                rows[name, row["sku"], row["VM_id"]].append((float(row["t_h"]), float(row["value"])))
    found: dict[tuple[str, str], Machines] = defaultdict(list)
    for (bench, sku, _), pairs in sorted(rows.items()):
        hours, values = np.array(sorted(pairs)).T
        if len(hours) >= 100:
            found[bench, sku].append((hours, np.log(values)))
    return found


def benchmarks(machines_of: dict[tuple[str, str], Machines]) -> Iterable[Row]:
    """Variation within a machine (all of it, run to run, without outliers, day to day) and between machines."""
    for (bench, sku), machines in machines_of.items():
        steps = [np.diff(log) / np.sqrt(2) for _, log in machines]
        middles = np.array([np.median(log) for _, log in machines])
        yield {
            "benchmark": bench,
            "machines": f"{len(machines)} {sku}",
            "runs": f"{sum(len(log) for _, log in machines)}",
            "within": f"{np.median([log.std(ddof=1) for _, log in machines]):.2%}",
            "run to run": f"{np.median([np.sqrt(np.mean(step**2)) for step in steps]):.2%}",
            "without outliers": f"{np.median([np.median(np.abs(step)) / 0.6745 for step in steps]):.2%}",
            "day to day": f"{np.median([day_medians(*machine).std(ddof=1) for machine in machines]):.2%}",
            "between": f"{middles.std(ddof=1):.2%}" if len(middles) > 1 else "",
        }


def strays(machines_of: dict[tuple[str, str], Machines]) -> Iterable[Row]:
    """Root of half the mean square change within some hours: noise of a run shows at once, a slow wander with time."""
    for (bench, sku), machines in machines_of.items():
        row = {"benchmark": bench, "machines": sku}
        for low, high in LAGS:
            squares = np.concatenate([changes(hours, log, low, high) ** 2 for hours, log in machines])
            row[f"{low:g}-{high:g} h"] = f"{np.sqrt(squares.mean() / 2):.2%}" if len(squares) > 50 else ""
        yield row


def changes(hours: np.ndarray, log: np.ndarray, low: float, high: float) -> np.ndarray:
    """Change of `log` from each run to the first one `low` to `high` hours later, without gross errors."""
    later = np.searchsorted(hours, hours + low)
    known = later < len(hours)
    known[known] = hours[later[known]] - hours[known] <= high
    change = log[later[known]] - log[known]
    return change[np.abs(change) < 6 * np.std(log)]


def day_medians(hours: np.ndarray, log: np.ndarray) -> np.ndarray:
    """(days,) median of the runs of each day."""
    days = (hours // 24).astype(int)
    return np.array([np.median(log[days == day]) for day in np.unique(days)])


def constant_pieces(trace: Trace) -> list[Piece]:
    """The pieces of constant setting, without their first periods."""
    granted = {name: trace.settings[:, trace.knob_names.index(f"{name}_cpu_cores")] for name in WORK}
    changed = np.flatnonzero((trace.settings[1:] != trace.settings[:-1]).any(axis=1)) + 1
    rows = [part[SETTLE_PERIODS:] for part in np.split(np.arange(len(trace)), changed)]
    return [
        Piece(
            dict(zip(trace.metric_names, trace.values[part].T, strict=True)),
            {name: float(cores[part[0]]) for name, cores in granted.items()},
        )
        for part in rows
        if len(part) >= LEAST_PERIODS
    ]


def readings_at_ceiling(pieces: list[Piece]) -> Iterable[Row]:
    """Spread of CPU readings of components that use all they may: the error of the reading, by its size."""
    known = [
        (cores.mean(), spread(cores))
        for piece in pieces
        for name in WORK
        if np.isfinite(cores := piece.readings[f"{name}_cpu_used_cores"]).all()
        and cores.mean() > AT_CEILING * piece.granted[name]
    ]
    means, spreads = np.array(known).T
    for low, high in itertools.pairwise(CPU_LEVELS):
        chosen = (means >= low) & (means < high)
        if chosen.sum() >= 3:
            yield {
                "CPU used, cores": f"{low:g} to {high:g}",
                "pieces": f"{chosen.sum()}",
                "sd, cores": f"{np.median(spreads[chosen]):.4f}",
                "relative": f"{np.median(spreads[chosen] / means[chosen]):.1%}",
            }


def readings_below_ceiling(pieces: list[Piece]) -> Iterable[Row]:
    """Spread of the CPU readings of components that could use more: load, speed and reading together."""
    for name, work in WORK.items():
        figures = []
        for piece in pieces:
            cores, done = piece.readings[f"{name}_cpu_used_cores"], piece.readings[work]
            if np.isfinite(cores + done).all() and cores.mean() <= AT_CEILING * piece.granted[name]:
                figures.append((cores.mean(), spread(cores), spread(cores, done)))
        if figures:
            mean, alone, beyond = np.array(figures).T
            yield {
                "component": name,
                "pieces": f"{len(figures)}",
                "CPU used, cores": f"{np.median(mean):.3f}",
                "sd, cores": f"{np.median(alone):.4f}",
                "relative": f"{np.median(alone / mean):.1%}",
                "not explained by the work": f"{np.median(beyond / mean):.1%}",
            }


def other_readings(pieces: list[Piece]) -> Iterable[Row]:
    """Spread of readings of memory, and of arrivals beside what Poisson would give."""
    for name in (*(f"{one}_memory_bytes" for one in WORK), WORK["serving"], "ingest_arrivals_per_second"):
        known = [v for piece in pieces if np.isfinite(v := piece.readings[name]).all() and v.mean() > 0]
        spreads, means = np.array([spread(v) for v in known]), np.array([v.mean() for v in known])
        yield {
            "reading": f"`{name}`",
            "pieces": f"{len(known)}",
            "relative sd: median": f"{np.median(spreads / means):.2%}",
            "90 %": f"{np.quantile(spreads / means, 0.9):.2%}",
            "variance / mean": f"{np.median(spreads**2 / means):.2f}" if name.endswith("arrivals_per_second") else "",
        }


def spread(values: np.ndarray, *explained_by: np.ndarray) -> float:
    """Standard deviation of (T,) values around a straight line, and around what else explains them, each (T,)."""
    causes = np.stack([np.ones(len(values)), np.linspace(-1.0, 1.0, len(values)), *explained_by], axis=1)
    fitted = causes @ np.linalg.lstsq(causes, values, rcond=None)[0]
    return float(np.sqrt(((values - fitted) ** 2).sum() / (len(values) - causes.shape[1])))


def missing_by_grant(recordings: list[Trace]) -> Iterable[Row]:
    """Share of periods in which a component's answer was missing, by the CPU that it was given."""
    for name in WORK:
        row = {"component": name}
        lost = np.concatenate([np.isnan(t.select([f"{name}_memory_bytes"]).values[:, 0]) for t in recordings])
        granted = np.concatenate([t.settings[:, t.knob_names.index(f"{name}_cpu_cores")] for t in recordings])
        for low, high in itertools.pairwise(GRANTED_LEVELS):
            chosen = (granted >= low) & (granted < high)
            row[f"{low:g} to {high:g} cores"] = f"{lost[chosen].mean():.1%} of {chosen.sum()}" if chosen.any() else ""
        yield row


def missing_by_metric(recordings: list[Trace]) -> Iterable[Row]:
    """Share of missing readings of each metric that lacks some, and how many are missing in a row."""
    for name in recordings[0].metric_names:
        lost = [np.isnan(trace.select([name]).values[:, 0]) for trace in recordings]
        lengths = np.concatenate([run_lengths(one) for one in lost])
        if len(lengths):
            yield {
                "reading": f"`{name}`",
                "missing": f"{np.concatenate(lost).mean():.2%}",
                "times": f"{len(lengths)}",
                "periods in a row: mean": f"{lengths.mean():.1f}",
                "longest": f"{lengths.max()}",
            }


def run_lengths(lost: np.ndarray) -> np.ndarray:
    """Lengths of the runs of True in (T,) booleans."""
    edges = np.diff(np.concatenate([[0], lost.astype(int), [0]]))
    return np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
