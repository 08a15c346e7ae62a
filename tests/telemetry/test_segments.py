from __future__ import annotations

import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from telemetry.segments import ROWS, SegmentWriter, TierConfig
from telemetry.store_files import file_name, files_in
from telemetry.tiers import FIELDS, Summary

SERIES = ROWS // 4 + 1
"""In each minute, so that four of them are packed."""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SegmentWriter]:
    with ThreadPoolExecutor(1) as pool:
        yield SegmentWriter(tmp_path, TierConfig("1min", 60.0, 1e9, 10**9), 60, pool)


def minute(number: int) -> Summary:
    """All of its series are its own, but one."""
    names = ("level", *(f"s{number}_{i}" for i in range(SERIES - 1)))
    end = 60.0 * (number + 1)
    return Summary(end, end - 60.0, end - 1.0, 0.0, names, np.full((len(FIELDS), SERIES), float(number + 1)))


def rows(folder: Path) -> dict[float, int]:
    """End of a minute -> rows of it that a reader finds."""
    tables = [pq.read_table(file.path, columns=["time"])["time"].to_numpy() for file in files_in(folder)]
    times, counts = np.unique(np.concatenate(tables), return_counts=True)
    return dict(zip(times.tolist(), counts.tolist(), strict=True))


def test_minutes_that_wait_for_their_segment_are_not_held_for_an_hour(tmp_path: Path, writer: SegmentWriter) -> None:
    held: list[weakref.ref[Summary]] = []
    for number in range(20):
        one = minute(number)
        held.append(weakref.ref(one))
        writer.summarize([one])
    del one
    writer.wait()
    assert sum(ref() is not None for ref in held) <= 4
    assert len(files_in(tmp_path)) == 5
    assert rows(tmp_path) == {60.0 * (number + 1): SERIES for number in range(20)}


def test_a_segment_takes_packed_minutes_as_they_are(tmp_path: Path, writer: SegmentWriter) -> None:
    for number in range(10):
        writer.summarize([minute(number)])
    writer.join()
    writer.wait()
    (file,) = files_in(tmp_path)
    assert pq.ParquetFile(file.path).metadata.num_row_groups == 3
    level = pq.read_table(file.path, filters=[("series", "==", "level")])
    assert level["time"].to_pylist() == [60.0 * (number + 1) for number in range(10)]
    assert level["mean"].to_pylist() == [number + 1.0 for number in range(10)]


def test_minutes_that_cannot_be_packed_stay_beside_later_segments(
    tmp_path: Path, writer: SegmentWriter, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / f"{file_name(240.0, 479.0)}.partial"  # of minutes 4 to 7
    blocked.mkdir()
    for number in range(14):
        writer.summarize([minute(number)])
    writer.join()
    writer.wait()
    blocked.rmdir()
    assert "cannot be joined" in caplog.text
    assert rows(tmp_path) == {60.0 * (number + 1): SERIES for number in range(14)}
