from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from telemetry.query import Query
from telemetry.segments import TierConfig
from telemetry.store import Store, StoreConfig
from telemetry.store_files import StoreError, files_in
from telemetry.store_reader import StoreReader
from telemetry.sweep import RowValues, Sweep
from telemetry.tiers import ENDED

ROOT = Path(__file__).parents[2]
START = 1_790_000_040.0  # a full minute
NAMES = ("level", "seen_total")


class Recorder:
    """Sweeps of a level k and a counter 10 k, every `period` seconds from `START` on."""

    def __init__(self, folder: Path, config: StoreConfig | None = None, period: float = 1.0) -> None:
        self.wall, self.period, self.done = START, period, 0
        self.store = Store(folder, config, period_seconds=period, wall=lambda: self.wall)

    def sweep(self, times: int, names: tuple[str, ...] = NAMES) -> Recorder:
        for _ in range(times):
            row = np.array([float(self.done), 10.0 * self.done, *([7.0] * len(names))])[: len(names)]
            self.store.append(Sweep(500.0 + self.done * self.period, RowValues(names, row)))
            self.done += 1
            self.wall += self.period
        return self


def levels(folder: Path, step: float | None = None) -> list[float]:
    return StoreReader(folder).read(Query(("level",), step_seconds=step)).values[:, 0].tolist()


def test_every_sweep_comes_back(tmp_path: Path) -> None:
    Recorder(tmp_path).sweep(150).store.close()
    found = StoreReader(tmp_path).read(Query())
    assert found.names == NAMES
    np.testing.assert_array_equal(found.times, START + np.arange(150))
    np.testing.assert_array_equal(found.values, np.arange(150)[:, None] * [1.0, 10.0])


def test_it_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path).sweep(61)
    assert levels(tmp_path) == list(range(60))
    recorder.sweep(60)
    assert levels(tmp_path) == list(range(120))
    assert recorder.store.last(2).values[:, 0].tolist() == [119.0, 120.0]
    recorder.store.close()


def test_series_that_come_and_go_are_kept_where_they_were(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path).sweep(10)
    recorder.sweep(10, (*NAMES, 'new{pid="3"}')).sweep(50).store.close()
    found = StoreReader(tmp_path).read(Query(("new",)))
    assert (found.names, found.times.tolist()) == (('new{pid="3"}',), [START + 10.0 + i for i in range(10)])


def test_kill_minus_nine_loses_the_minute_being_filled_and_nothing_else(tmp_path: Path) -> None:
    program = f"""
import itertools, sys, numpy as np
from telemetry.store import Store
from telemetry.sweep import RowValues, Sweep
wall = itertools.count({START})
store = Store({str(tmp_path)!r}, wall=lambda: float(next(wall)))
for k in range(200):
    store.append(Sweep(500.0 + k, RowValues(("level", "seen_total"), np.array([k, 10.0 * k]))))
print("written", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert levels(tmp_path) == list(range(180))
    assert StoreReader(tmp_path).read(Query(("seen*",), step_seconds=60.0, field="increase")).values[
        1:, 0
    ].tolist() == [
        600.0,
        600.0,
    ]


def killed(folder: Path, sweeps: int) -> None:
    """A store as `kill -9` leaves it: nobody closes it, and its lock is free."""
    recorder = Recorder(folder).sweep(sweeps)
    shutil.copytree(folder, folder.with_name("copy"))
    recorder.store.close()
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)


def test_minutes_and_hours_of_a_killed_program_are_made_up_for_by_the_next(tmp_path: Path) -> None:
    killed(tmp_path / "store", 10 * 60 + 30)
    assert [tier.name for tier in StoreReader(tmp_path / "store").tiers] == ["raw", "1min"]
    Recorder(tmp_path / "store").store.close()
    (hour,) = files_in(tmp_path / "store" / "1h")
    assert (hour.first, hour.last) == (START, START + 599.0)
    found = StoreReader(tmp_path / "store").read(Query(step_seconds=3600.0))
    assert found.source.endswith("(1h)")
    assert found.values[-1].tolist() == [299.5, 5990.0]


@pytest.mark.parametrize("closed", [True, False])
def test_an_hour_of_many_short_lived_series_is_written_in_pieces_and_read_as_one(tmp_path: Path, closed: bool) -> None:
    recorder = Recorder(tmp_path, period=30.0)
    for i in range(9):
        recorder.sweep(2, (*NAMES, *(f"s{i}_{j}" for j in range(ENDED // 2))))
    recorder.sweep(1)
    assert len(files_in(tmp_path / "1h")) == 2  # the hour is not over
    if closed:
        recorder.store.close()
    found = StoreReader(tmp_path).read(Query(NAMES, step_seconds=3600.0, field="max"))
    assert found.values[-1, 0] == (18.0 if closed else 17.0)
    recorder.store.close()


def test_a_half_written_file_is_no_trouble(tmp_path: Path) -> None:
    Recorder(tmp_path).sweep(5).store.close()
    (tmp_path / "raw" / "torn.parquet.partial").write_bytes(b"PAR1")  # as a kill during a write leaves it
    Recorder(tmp_path).sweep(5).store.close()
    assert levels(tmp_path) == [*range(5), *range(5)]
    assert not list(tmp_path.rglob("*.partial"))


def test_small_files_are_joined_to_segments_of_a_row_group_a_minute(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, StoreConfig(files_per_segment=3)).sweep(6 * 60 + 1)
    recorder.store.close()
    segments = [pq.ParquetFile(file.path).metadata for file in files_in(tmp_path / "raw")]
    assert [(one.num_row_groups, one.num_rows) for one in segments] == [(3, 360), (3, 360), (1, 2)]
    minutes = [pq.ParquetFile(file.path).metadata for file in files_in(tmp_path / "1min")]
    assert [(one.num_row_groups, one.num_rows) for one in minutes] == [(1, 6), (1, 6), (1, 2)]
    assert levels(tmp_path) == list(range(361))
    assert len(list((tmp_path / "raw").iterdir())) == 3


def test_a_reader_sees_whole_minutes_while_files_are_joined_and_deleted(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, StoreConfig(files_per_segment=2)).sweep(61)
    seen = [levels(tmp_path)]  # the first reading loads pyarrow, which takes as long as all the writing
    writer = threading.Thread(target=recorder.sweep, args=(60 * 100,))
    writer.start()
    while writer.is_alive():
        seen.append(levels(tmp_path))
    writer.join()
    recorder.store.close()
    assert len(seen) > 1
    for found in seen:
        assert found == list(range(len(found)))
        assert len(found) % 60 == 0


def test_files_that_cannot_be_joined_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path).sweep(181)
    files_in(tmp_path / "raw")[0].path.unlink()
    recorder.store.close()
    assert "cannot be joined" in caplog.text
    assert levels(tmp_path) == [29.5, *range(60, 181)]  # what is left of the first minute is its summary


def test_every_tier_keeps_its_own_age(tmp_path: Path) -> None:
    tiers = (TierConfig("raw", 0.0, 120.0, 10**9), TierConfig("1min", 60.0, 10**9, 10**9))
    recorder = Recorder(tmp_path, StoreConfig(files_per_segment=2, tiers=tiers)).sweep(10 * 60)
    recorder.store.close()
    assert files_in(tmp_path / "raw")[0].first > START + 5 * 60
    assert levels(tmp_path, 60.0) == [60.0 * i + 29.5 for i in range(10)]


def test_seconds_are_kept_only_of_sweeps_that_come_more_often(tmp_path: Path) -> None:
    Recorder(tmp_path / "slow", period=1.0).sweep(61).store.close()
    Recorder(tmp_path / "fast", period=0.25).sweep(61).store.close()
    assert [tier.name for tier in StoreReader(tmp_path / "slow").tiers] == ["raw", "1min", "1h"]
    assert levels(tmp_path / "fast", 1.0)[:2] == [1.5, 5.5]
    assert len(files_in(tmp_path / "fast" / "1s")) == 1


def test_a_store_is_continued_even_where_the_clock_was_set_back(tmp_path: Path) -> None:
    Recorder(tmp_path).sweep(70).store.close()
    Recorder(tmp_path).sweep(70).store.close()  # begins again at the same wall clock
    found = StoreReader(tmp_path).read(Query(("level",)))
    assert found.values[:, 0].tolist() == [*range(70), *range(70)]
    assert (np.diff(found.times) > 0).all()
    np.testing.assert_allclose(found.wall[70:], START + np.arange(70), atol=0.01)


def test_a_minute_that_two_sessions_share_is_one_minute(tmp_path: Path) -> None:
    first = Recorder(tmp_path).sweep(20)
    first.store.close()
    second = Recorder(tmp_path)
    second.wall = START + 30.0
    second.sweep(20).store.close()
    found = StoreReader(tmp_path).read(Query(("level",), step_seconds=60.0))
    assert (found.times.tolist(), found.values.tolist()) == ([START + 60.0], [[9.5]])


def test_two_programs_cannot_write_one_store(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with pytest.raises(StoreError, match="another program writes this store"):
        Store(tmp_path)
    recorder.store.close()
    Store(tmp_path).close()


def test_a_disk_that_refuses_costs_the_minute_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recorder = Recorder(tmp_path)
    shutil.rmtree(tmp_path / "raw")
    recorder.sweep(181)
    assert recorder.store.lost_groups == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (tmp_path / "raw").mkdir()
    recorder.sweep(60)
    assert caplog.messages[-1].endswith("is written again")
    recorder.store.close()
    assert levels(tmp_path) == list(range(180, 241))


def test_closing_twice_does_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path).sweep(3)
    recorder.store.close()
    recorder.store.close()
    assert levels(tmp_path) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("sweeps", [0, 301])
def test_a_row_group_must_fit_into_the_ring(tmp_path: Path, sweeps: int) -> None:
    with pytest.raises(StoreError, match="allowed is 1 to 300"):
        Store(tmp_path, StoreConfig(group_sweeps=sweeps))


def test_what_the_control_daemon_imports_stays_light() -> None:
    program = (
        "import sys, telemetry.sampler, telemetry.exposition, telemetry.trace, telemetry.store\n"
        "import telemetry.collectors.host, telemetry.collectors.process, telemetry.collectors.scrape\n"
        "print({'pyarrow', 'prometheus_client', 'torch'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
