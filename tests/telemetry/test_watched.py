"""Hourly levels out of recordings and trace files."""

import numpy as np
import pytest

from telemetry.query import QueryError
from telemetry.trace import Trace
from telemetry.watched import watched_series

START = 1_700_006_400.0  # a whole hour
TIMES = np.arange(0, 4 * 3600, 60.0)


@pytest.fixture
def recording(tmp_path):
    values = np.stack([np.repeat([1.0, 2.0, 3.0, 4.0], 60), TIMES * 5.0], axis=1)
    names = ("load_ratio", "requests_total")
    trace = Trace(TIMES, values, names, np.zeros((len(TIMES), 0)), (), {"wall_start": START})
    trace.save(tmp_path / "run.parquet")
    return tmp_path / "run.parquet"


def test_gauges_are_read_by_the_hour_and_counters_as_growth_per_second(recording):
    found = {one.name: one for one in watched_series(recording)}
    assert found["load_ratio"].levels.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert found["requests_total"].levels == pytest.approx([5.0] * 4)
    assert found["load_ratio"].end == START + 4 * 3600


def test_patterns_choose_series(recording):
    assert [one.name for one in watched_series(recording, ("load*",))] == ["load_ratio"]
    with pytest.raises(QueryError, match="nothing matches queue"):
        watched_series(recording, ("queue*",))


def test_trace_files_of_other_formats_are_read(tmp_path):
    rows = "\n".join(f"{second},{second // 3600}" for second in range(0, 3 * 3600, 600))
    (tmp_path / "load.csv").write_text(f"timestamp,value\n{rows}\n")
    (found,) = watched_series(tmp_path / "load.csv")
    assert found.levels.tolist() == [0.0, 1.0, 2.0]


def test_a_recording_of_minutes_has_series_that_match_and_none_to_watch_yet(tmp_path):
    times = np.arange(0, 30.0)
    trace = Trace(times, np.ones((30, 1)), ("load_ratio",), np.zeros((30, 0)), (), {"wall_start": START})
    trace.save(tmp_path / "young.parquet")
    assert watched_series(tmp_path / "young.parquet") == []


def test_mirrored_series_are_held_against_their_low_readings(tmp_path):
    values = np.repeat([1.0, 0.5, 1.0, 1.0], 15)[:, None]  # low for a quarter of an hour
    Trace(TIMES[:60], values, ("share_ratio",), np.zeros((60, 0)), (), {"wall_start": START}).save(
        tmp_path / "run.parquet"
    )
    (found,) = watched_series(tmp_path / "run.parquet", mirrored={"share_ratio"})
    assert found.levels.tolist() == [-0.5]
    assert found.mirrored


def test_sliding_hours_end_with_the_newest_readings(tmp_path):
    values = np.arange(100.0)[:, None]  # minutes; 20 whole steps of five
    Trace(TIMES[:100], values, ("load",), np.zeros((100, 0)), (), {"wall_start": START}).save(tmp_path / "run.parquet")
    (clock,) = watched_series(tmp_path / "run.parquet")
    (sliding,) = watched_series(tmp_path / "run.parquet", sliding=True)
    assert clock.end == START + 3600
    assert START + 90 * 60 <= sliding.end <= START + 100 * 60
    assert sliding.levels[-1] > clock.levels[-1]
