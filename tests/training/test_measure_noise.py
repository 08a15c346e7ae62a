from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from telemetry.trace import Trace
from training.measure_noise import (
    WORK,
    benchmarks,
    constant_pieces,
    missing_by_grant,
    missing_by_metric,
    other_readings,
    readings_at_ceiling,
    readings_below_ceiling,
    run_lengths,
    runs,
    spread,
    strays,
)

CPU, MEMORY = (tuple(f"{name}_{what}" for name in WORK) for what in ("cpu_used_cores", "memory_bytes"))
ARRIVALS = (*WORK.values(), "ingest_arrivals_per_second")


def recording() -> Trace:
    """Ten settings of 14 periods; serving is held at its ceiling, whose reading errs by 0.01 cores."""
    rng = np.random.default_rng(0)
    granted = np.repeat(np.linspace(0.45, 0.75, 10), 14)
    values = {name: 100.0 + rng.normal(0.0, 10.0, 140) for name in ARRIVALS}
    values |= {"serving_cpu_used_cores": granted + rng.normal(0.0, 0.01, 140)}
    values |= {name: values[WORK[name.split("_")[0]]] / 500.0 for name in CPU[1:]}
    values |= {name: np.full(140, 2e8) for name in MEMORY}
    values["serving_memory_bytes"][[20, 21, 50]] = np.nan
    settings = np.stack([granted, np.full(140, 2.0), np.full(140, 2.0)], axis=1)
    names = tuple(values)
    knobs = tuple(f"{name}_cpu_cores" for name in WORK)
    return Trace(np.arange(140.0), np.stack([values[name] for name in names], axis=1), names, settings, knobs)


def test_pieces_leave_out_the_periods_after_a_change() -> None:
    pieces = constant_pieces(recording())
    assert [len(piece.readings["serving_memory_bytes"]) for piece in pieces] == [11] * 10
    assert pieces[3].granted["serving"] == pytest.approx(0.55)


def test_at_the_ceiling_the_error_of_the_reading_is_left() -> None:
    (row,) = readings_at_ceiling(constant_pieces(recording()))
    assert row["CPU used, cores"] == "0.4 to 0.8"
    assert float(row["sd, cores"]) == pytest.approx(0.01, rel=0.3)


def test_below_the_ceiling_the_work_explains_what_it_causes() -> None:
    rows = {row["component"]: row for row in readings_below_ceiling(constant_pieces(recording()))}
    assert set(rows) == {"training", "ingest"}
    assert float(rows["ingest"]["relative"].rstrip("%")) == pytest.approx(10.0, rel=0.3)
    assert rows["ingest"]["not explained by the work"] == "0.0%"


def test_arrivals_are_compared_with_poisson() -> None:
    rows = {row["reading"]: row for row in other_readings(constant_pieces(recording()))}
    assert float(rows["`ingest_arrivals_per_second`"]["variance / mean"]) == pytest.approx(1.0, abs=0.3)
    assert rows["`training_memory_bytes`"]["relative sd: median"] == "0.00%"


def test_missing_readings_are_counted_by_run_and_by_grant() -> None:
    (row,) = missing_by_metric([recording()])
    assert row == {
        "reading": "`serving_memory_bytes`", "missing": "2.14%", "times": "2",
        "periods in a row: mean": "1.5", "longest": "2",
    }  # fmt: skip
    serving = next(iter(missing_by_grant([recording()])))
    assert serving["0.4 to 2 cores"] == "2.1% of 140"


def test_a_line_and_what_explains_values_leave_no_spread() -> None:
    cause = np.array([1.0, 5.0, 2.0, 8.0, 1.0])
    assert spread(3.0 * cause + np.arange(5.0), cause) == pytest.approx(0.0, abs=1e-9)


def test_runs_of_missing_values_are_measured() -> None:
    assert run_lengths(np.array([True, False, True, True, False, True])).tolist() == [1, 2, 1]


def test_a_slow_wander_shows_only_after_a_long_time(tmp_path: Path) -> None:
    hours = np.arange(2000.0) * 2.0
    wander = 0.05 * np.sin(2 * np.pi * hours / 3000.0)
    values = 100.0 * np.exp(wander + np.random.default_rng(0).normal(0.0, 0.01, 2000))
    rows = "".join(f"Redis:GET,TPS,r,B8ms,{v},1,0,{h}\n" for h, v in zip(hours, values, strict=True))
    path = tmp_path / "noise.csv.gz"
    path.write_bytes(gzip.compress(b"bench,unit,region,sku,value,runtime,VM_id,t_h\n" + rows.encode()))
    found = runs(path)
    (row,) = benchmarks(found)
    (stray,) = strays(found)
    assert float(row["run to run"].rstrip("%")) == pytest.approx(1.0, rel=0.1)
    assert float(row["within"].rstrip("%")) > 3.0
    assert float(stray["1-3 h"].rstrip("%")) == pytest.approx(1.0, rel=0.1)
    assert float(stray["960-1920 h"].rstrip("%")) > 3.0
