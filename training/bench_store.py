"""What keeping costs: CPU per sweep, bytes per value, beside pyarrow writing the same rows."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from telemetry.store import Store
from telemetry.store_reader import StoreReader
from telemetry.sweep import RowValues, Sweep

CHANGING = 0.4
"""Share of the series that move from one sweep to the next: 0.04 on an idle host, 0.3 to 0.5 on a busy one."""
MINUTE = 60


def bench_store(series: int = 1000, hours: float = 2.0) -> dict[str, Any]:
    """Keep sweeps of a second as fast as they can be made.

    Args:
        series: in each sweep, half of them counters.
        hours: of sweeps.

    Returns:
        `cpu_seconds_per_sweep` with all that is written, `core_share` of it at 1 Hz, `longest_append_seconds`,
        `bytes_per_value` by tier (of a value that was swept), `bytes_per_day`, and `pyarrow_ratio`, the CPU of pyarrow
        for the same row groups over ours.
    """
    names = tuple(f'bench_{"seen_total" if i % 2 else "level"}{{cpu="{i}",mode="user"}}' for i in range(series))
    rng = np.random.default_rng(0)
    moves = rng.integers(0, 50, (97, series)) * 1.25 * (rng.random(series) < CHANGING)
    rows = rng.integers(0, 10**9, series) + np.cumsum(moves[np.arange(int(hours * 3600)) % 97], axis=0)  # (T, series)
    wall, longest, begin = [1.79e9], 0.0, time.process_time()
    with TemporaryDirectory() as folder:
        with Store(folder, wall=lambda: wall[0]) as store:
            for k, row in enumerate(rows):
                wall[0] += 1.0
                append_begin = time.perf_counter()
                store.append(Sweep(float(k), RowValues(names, row)))
                longest = max(longest, time.perf_counter() - append_begin)
        cpu = (time.process_time() - begin) / len(rows)
        sizes = {tier.name: sum(file.size for file in tier.files) / rows.size for tier in StoreReader(folder).tiers}
        pyarrow_cpu = _pyarrow_seconds(names, rows, Path(folder))
    return {
        "series": series,
        "sweeps": len(rows),
        "cpu_seconds_per_sweep": cpu,
        "core_share": cpu,
        "longest_append_seconds": longest,
        "bytes_per_value": sizes,
        "bytes_per_day": sum(sizes.values()) * series * 86400.0,
        "pyarrow_ratio": pyarrow_cpu / cpu,
    }


def _pyarrow_seconds(names: tuple[str, ...], rows: np.ndarray, folder: Path) -> float:
    """CPU per sweep of pyarrow for the sweeps alone, without minutes and hours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    begin, blocks = time.process_time(), [rows[i : i + MINUTE] for i in range(0, len(rows), MINUTE)]
    dictionary = pa.array(names)
    for i, block in enumerate(blocks):
        series, sweeps = (codes.astype(np.int32) for codes in np.nonzero(~np.isnan(block.T)))
        columns = {
            "time": pa.array(i * MINUTE + sweeps.astype(float)),
            "series": pa.DictionaryArray.from_arrays(pa.array(series), dictionary),
            "value": pa.array(block.T.ravel()),
        }
        pq.write_table(pa.table(columns), folder / "pyarrow.parquet", compression="zstd")
    return (time.process_time() - begin) / len(rows)
