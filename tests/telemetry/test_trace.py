from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from telemetry.demand_families import DAY
from telemetry.trace import EVENTS_METRIC, REQUESTS_METRIC, Trace, TraceError, TraceRecorder

ROOT = Path(__file__).parents[2]


def trace(rows: int = 6) -> Trace:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, 2)).round(3)
    values[1, 0] = np.nan
    return Trace(
        times=np.arange(rows) * 5.0 + 100.0,
        values=values,
        metric_names=("a_seconds", "b_total"),
        settings=np.arange(rows, dtype=float)[:, None],
        knob_names=("threads",),
        metadata={"spec_fingerprint": "f00", "wall_start": 1.5, "source": "test", "units": {"a_seconds": "s"}},
    )


def record(folder: Path, rows: range, per_segment: int = 2) -> None:
    with TraceRecorder(folder, ["a"], ["k"], rows_per_segment=per_segment, metadata={"source": "r"}) as recorder:
        for i in rows:
            recorder.append(float(i), np.array([i * 2.0]), [i * 3.0])


def test_a_saved_trace_comes_back_as_it_was(tmp_path: Path) -> None:
    trace().save(tmp_path / "t.parquet")
    back = Trace.load(tmp_path / "t.parquet")
    np.testing.assert_array_equal(back.times, trace().times)
    np.testing.assert_array_equal(back.values, trace().values)
    np.testing.assert_array_equal(back.settings, trace().settings)
    assert (back.metric_names, back.knob_names, back.metadata) == (
        trace().metric_names,
        trace().knob_names,
        trace().metadata,
    )


def test_any_parquet_reader_sees_names_and_header(tmp_path: Path) -> None:
    trace().save(tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.column_names == ["time", "a_seconds", "b_total", "setting:threads"]
    assert json.loads(table.schema.metadata[b"trimtab"])["metadata"]["spec_fingerprint"] == "f00"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [1.0, 1.0]}, "strictly increasing"),
        ({"times": [1.0, np.nan]}, "finite"),
        ({"values": np.zeros((2, 3))}, r"values has shape \(2, 3\), must be \(2, 2\)"),
        ({"metric_names": ("a", "a")}, "names columns twice: a"),
    ],
)
def test_a_trace_refuses_what_does_not_fit_together(change: dict, message: str) -> None:
    good = {"times": [1.0, 2.0], "values": np.zeros((2, 2)), "metric_names": ("a", "b"), "settings": np.zeros((2, 0))}
    with pytest.raises(TraceError, match=message):
        Trace(**{**good, **change})


def test_slice_and_select_take_rows_and_columns() -> None:
    part = trace().slice(105.0, 115.0).select(["b_total"])
    assert part.times.tolist() == [105.0, 110.0]
    assert part.values[:, 0].tolist() == trace().values[1:3, 1].tolist()
    with pytest.raises(TraceError, match="no metric 'c'; it has: a_seconds, b_total"):
        trace().select(["c"])


def test_a_counter_becomes_a_rate_and_its_reset_a_gap() -> None:
    counted = np.array([0.0, 10.0, 20.0, 5.0, 15.0])[:, None]
    made = Trace(np.arange(5) * 2.0, counted, ("requests_total",), np.zeros((5, 0))).to_demand("requests_total")
    assert made.step_seconds == 2.0
    assert made.requests_per_second.tolist() == [5.0, 5.0, 5.0, 5.0]
    assert made.interpolated_steps == 1


def test_a_counter_with_labels_is_a_counter() -> None:
    name = 'requests_total{component="serving"}'
    made = Trace(np.arange(3) * 1.0, np.array([[0.0], [4.0], [8.0]]), (name,), np.zeros((3, 0))).to_demand(name)
    assert made.requests_per_second.tolist() == [4.0, 4.0]


def test_a_trace_without_rows_is_saved_and_loaded(tmp_path: Path) -> None:
    Trace(np.empty(0), np.empty((0, 1)), ("a",), np.empty((0, 0))).save(tmp_path / "t.parquet")
    assert Trace.load(tmp_path / "t.parquet").values.shape == (0, 1)


def test_a_gauge_is_taken_as_the_rate_and_events_likewise() -> None:
    values = np.array([[1.0, 7.0], [2.0, 8.0], [3.0, 9.0]])
    made = Trace(np.arange(3) * 1.0, values, ("r", "e"), np.zeros((3, 0))).to_demand("r", "e")
    assert made.requests_per_second.tolist() == [1.0, 2.0, 3.0]
    assert made.events_per_second.tolist() == [7.0, 8.0, 9.0]


def recorded(**metadata: object) -> Trace:
    values = np.array([[1.0, 7.0], [2.0, 8.0], [3.0, 9.0], [4.0, np.nan]])
    return Trace(np.arange(4) * 1.0, values, (REQUESTS_METRIC, EVENTS_METRIC), np.zeros((4, 0)), (), metadata)


def test_a_recording_names_its_demand_and_takes_what_arrived() -> None:
    made = recorded(wall_start=DAY + 30.0).to_demand(name="tuesday")
    assert (made.name, made.start_seconds, made.day_seconds) == ("tuesday", 30.0, DAY)
    assert made.requests_per_second.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert made.events_per_second.tolist() == [7.0, 8.0, 9.0, 9.0]


def test_readings_that_come_a_little_early_or_late_are_of_the_period_meant() -> None:
    late = replace(recorded(), times=np.array([0.0, 1.000004, 1.999998, 3.000001]))
    assert late.to_demand().step_seconds == 1.0


def test_events_that_were_never_read_are_derived() -> None:
    trace = recorded()
    blind = replace(trace, values=np.where([True, False], trace.values, np.nan))
    assert len(blind.to_demand().events_per_second) == 4


def test_counted_requests_and_measured_events_are_of_the_same_periods() -> None:
    values = np.array([[0.0, 7.0], [10.0, 8.0], [30.0, 9.0]])
    made = Trace(np.arange(3) * 1.0, values, ("x_total", EVENTS_METRIC), np.zeros((3, 0))).to_demand("x_total")
    assert made.requests_per_second.tolist() == [10.0, 20.0]
    assert made.events_per_second.tolist() == [8.0, 9.0]


def test_a_slice_starts_later_in_the_day() -> None:
    assert recorded(wall_start=30.0).slice(1.0, 9.0).to_demand().start_seconds == 31.0


@pytest.mark.parametrize("metadata", [{"day_seconds": "long"}, {"start_seconds": -1.0}])
def test_metadata_that_are_no_time_of_day_are_told(metadata: dict) -> None:
    with pytest.raises(TraceError, match="trace: "):
        recorded(**metadata).to_demand()


def test_a_metric_that_was_never_read_is_no_demand() -> None:
    empty = Trace(np.arange(3) * 1.0, np.full((3, 1), np.nan), ("r",), np.zeros((3, 0)))
    with pytest.raises(TraceError, match="'r': all 3 values are NaN"):
        empty.to_demand("r")


def test_segments_join_to_one_trace(tmp_path: Path) -> None:
    record(tmp_path, range(5))
    assert len(list(tmp_path.glob("segment-*.parquet"))) == 3
    whole = Trace.load(tmp_path)
    assert whole.values[:, 0].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert whole.settings[:, 0].tolist() == [0.0, 3.0, 6.0, 9.0, 12.0]
    assert whole.metadata == {"source": "r", "damaged_segments": 0}


def test_a_recorder_keeps_copies_of_reused_buffers(tmp_path: Path) -> None:
    row = np.zeros(1)
    with TraceRecorder(tmp_path, ["a"]) as recorder:
        for i in range(3):
            row[0] = i
            recorder.append(float(i), row)
    assert Trace.load(tmp_path).values[:, 0].tolist() == [0.0, 1.0, 2.0]


def test_a_recording_is_continued_in_its_folder(tmp_path: Path) -> None:
    record(tmp_path, range(3))
    record(tmp_path, range(3, 6))
    assert Trace.load(tmp_path).times.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.raises(TraceError, match="other metrics or knobs"):
        TraceRecorder(tmp_path, ["other"], ["k"])


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    recorder = TraceRecorder(tmp_path, ["a"], ["k"])
    recorder.append(1.0, np.zeros(1), [0.0])
    with pytest.raises(TraceError, match="times must grow"):
        recorder.append(1.0, np.zeros(1), [0.0])
    with pytest.raises(TraceError, match=r"values \(2,\)"):
        recorder.append(2.0, np.zeros(2), [0.0])


def test_a_damaged_last_segment_is_left_out_and_counted(tmp_path: Path) -> None:
    record(tmp_path, range(6))
    last = sorted(tmp_path.glob("segment-*"))[-1]
    last.write_bytes(last.read_bytes()[:100])
    left = Trace.load(tmp_path)
    assert left.times.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert left.metadata["damaged_segments"] == 1


def test_a_damaged_middle_segment_is_an_error_of_one_line(tmp_path: Path) -> None:
    record(tmp_path, range(6))
    middle = sorted(tmp_path.glob("segment-*"))[1]
    middle.write_bytes(b"nothing")
    with pytest.raises(TraceError, match="segment-000002") as raised:
        Trace.load(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_recording_goes_on_after_a_damaged_last_segment(tmp_path: Path, keep: int) -> None:
    record(tmp_path, range(2 * keep))
    last = sorted(tmp_path.glob("segment-*"))[-1]
    last.write_bytes(b"PAR1")
    record(tmp_path, range(10, 12))
    assert Trace.load(tmp_path).times.tolist() == [*np.arange(2 * keep - 2), 10.0, 11.0]


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1garbagePAR1"])
def test_a_broken_file_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"t\.parquet") as raised:
        Trace.load(path)
    assert "\n" not in str(raised.value)


def test_an_empty_folder_and_a_foreign_parquet_are_told(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no trace segments"):
        Trace.load(tmp_path)
    import pyarrow as pa

    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(TraceError, match="without a 'trimtab' header; found columns x"):
        Trace.load(tmp_path / "x.parquet")


def test_kill_minus_nine_loses_the_open_segment_only(tmp_path: Path) -> None:
    program = f"""
import numpy as np, sys
from telemetry.trace import TraceRecorder
recorder = TraceRecorder({str(tmp_path)!r}, ["a"], rows_per_segment=4)
for i in range(10):
    recorder.append(float(i), np.array([1.0 * i]))
print("written", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert Trace.load(tmp_path).times.tolist() == [float(i) for i in range(8)]
