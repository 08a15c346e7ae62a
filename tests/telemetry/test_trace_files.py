from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from telemetry.public_traces import TraceError, load_demand
from telemetry.query import Query
from telemetry.store import Store
from telemetry.sweep import Sweep
from telemetry.trace import Trace
from telemetry.trace_files import convert, describe, export, generate, read_range, sparkline, write_demand
from telemetry.workload import generate_demand


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_written_demand_comes_back_with_its_events_and_time_of_day(tmp_path: Path, ending: str) -> None:
    made = generate_demand(3, duration_seconds=1200.0, start=7200.0)
    write_demand(made, tmp_path / f"d.{ending}")
    back = load_demand(tmp_path / f"d.{ending}")
    np.testing.assert_array_equal(back.requests_per_second, made.requests_per_second)
    np.testing.assert_array_equal(back.events_per_second, made.events_per_second)
    np.testing.assert_array_equal(back.day_fractions, made.day_fractions)


def test_parquet_keeps_the_name_and_the_compressed_day(tmp_path: Path) -> None:
    made = generate_demand(3, duration_seconds=7200.0, start=7200.0).compressed(60.0)
    write_demand(made, tmp_path / "d.parquet")
    back = load_demand(tmp_path / "d.parquet")
    assert (back.name, back.day_seconds, back.start_seconds) == (made.name, 1440.0, 120.0)


def test_a_chosen_series_is_converted_at_a_compression(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("cluster,time,cpu,mem\n1,0,1,7\n1,600,1,8\n1,1200,1,9\n")
    convert(tmp_path / "a.csv", tmp_path / "b.parquet", column="pool 1 mem", compression=60.0)
    made = load_demand(tmp_path / "b.parquet")
    assert made.requests_per_second.tolist() == [7, 8, 9]
    assert (made.step_seconds, made.day_seconds) == (10.0, 1440.0)


def test_a_generated_file_is_a_demand(tmp_path: Path) -> None:
    generate(tmp_path / "g.csv", family="servegen", seed=1, duration_seconds=3600.0, step_seconds=60.0)
    assert len(load_demand(tmp_path / "g.csv")) == 60


def test_a_file_is_described_series_by_series(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,rate,active\n0,1,\n1,,\n2,3,\n3,5,\n")
    described = describe(tmp_path / "a.csv")
    rate, active = described["series"]
    assert rate == {"name": "rate", "steps": 4, "step_seconds": 1.0, "mean": 3.0, "peak": 5.0, "missing_ratio": 0.25}
    assert np.isnan(active["mean"])
    assert active["missing_ratio"] == 1.0


def test_a_folder_is_described_demand_by_demand_with_reasons_for_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,rate\n0,1\n1,\n2,3\n3,4\n")
    (tmp_path / "b.csv").write_text("bench,unit,value\nredis,s,3\n")
    described = describe(tmp_path)
    assert [(one["name"], one["file"], one["missing_ratio"]) for one in described["series"]] == [
        ("a:rate", "a.csv", 0.25)
    ]
    assert list(described["refused"]) == [str(tmp_path / "b.csv")]


def test_a_recording_is_described_metric_by_metric(tmp_path: Path) -> None:
    write_demand(generate_demand(3, duration_seconds=1200.0), tmp_path / "segment-000001.parquet")
    names = [one["name"] for one in describe(tmp_path)["series"]]
    assert names == ["serving_arrivals_per_second", "ingest_arrivals_per_second"]


def test_an_unknown_ending_or_family_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"use \.parquet or \.csv"):
        write_demand(generate_demand(3, duration_seconds=1200.0), tmp_path / "d.txt")
    with pytest.raises(TraceError, match="unknown family 'lunar'; known are: mixed, servegen"):
        generate(tmp_path / "d.csv", family="lunar", seed=1, duration_seconds=3600.0, step_seconds=60.0)


def test_a_range_is_exported_as_a_trace_or_as_csv(tmp_path: Path) -> None:
    values = np.array([[1.0], [np.nan], [3.0]])
    Trace(
        np.arange(3.0), values, ("level",), np.ones((3, 1)), ("k",), {"wall_start": 1.79e9, "spec_fingerprint": "f00"}
    ).save(tmp_path / "t.parquet")
    found = read_range(tmp_path / "t.parquet", Query())
    export(found, tmp_path / "e.parquet")
    back = Trace.load(tmp_path / "e.parquet")
    np.testing.assert_array_equal(back.values, values)
    assert (back.metric_names, back.knob_names, back.settings.tolist()) == (("level",), ("k",), [[1.0]] * 3)
    assert (back.metadata["wall_start"], back.metadata["spec_fingerprint"]) == (1.79e9, "f00")
    export(found, tmp_path / "e.csv")
    assert (tmp_path / "e.csv").read_text().splitlines()[1:3] == [
        "2026-09-21T14:13:20.000Z,1.0,1.0",
        "2026-09-21T14:13:21.000Z,,1.0",
    ]
    with pytest.raises(TraceError, match=r"use \.parquet or \.csv"):
        export(found, tmp_path / "e.txt")


def test_the_demand_of_a_store_is_converted_and_the_store_described(tmp_path: Path) -> None:
    wall = [1.79e9]
    with Store(tmp_path / "store", wall=lambda: wall[0]) as store:
        for k in range(100):
            wall[0] += 1.0
            store.append(Sweep(float(k), {"serving_requests_total": 5.0 * k, "ingest_events_received_total": 2.0 * k}))
    described = describe(tmp_path / "store")
    assert [tier["name"] for tier in described["tiers"]] == ["raw", "1min", "1h"]
    assert described["names"] == ["ingest_events_received_total", "serving_requests_total"]
    convert(tmp_path / "store", tmp_path / "d.parquet", compression=2.0)
    made = load_demand(tmp_path / "d.parquet")
    assert set(made.requests_per_second) == {5.0}
    assert (set(made.events_per_second), made.step_seconds) == ({2.0}, 0.5)


def test_a_course_is_drawn_low_to_high_with_blanks_where_nothing_is_known() -> None:
    assert sparkline(np.array([0.0, 7.0, np.nan, 3.5])) == "▁█ ▅"
    assert sparkline(np.array([2.0, 2.0])) == "▁▁"
