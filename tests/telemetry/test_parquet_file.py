from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.parquet_file import Coded, RowGroup, body_of, encode, write


def group(rows: int = 5, distinct: int = 3) -> RowGroup:
    codes = np.arange(rows) % distinct
    columns = {"time": Coded(np.arange(float(distinct)), codes), "value": np.arange(float(rows))}
    return encode({**columns, "series": Coded([f"s{i}" for i in range(distinct)], codes)})


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(width=64), max_size=40),
    st.lists(st.text(max_size=5), min_size=1, max_size=5),
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_any_parquet_reader_sees_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], words: list[str], numbers: list[float], random
) -> None:
    path = tmp_path_factory.mktemp("p") / "a.parquet"
    word_codes = np.array([random.randrange(len(words)) for _ in values], dtype=int)
    number_codes = np.array([random.randrange(len(numbers)) for _ in values], dtype=int)
    rows = encode(
        {
            "value": np.array(values, dtype=float),
            "word": Coded(words, word_codes),
            "number": Coded(np.array(numbers), number_codes),
        }
    )
    write(path, [rows], {"key": "ü"})
    table = pq.read_table(path)
    np.testing.assert_array_equal(table["value"].to_numpy(), values)
    assert table["word"].to_pylist() == [words[code] for code in word_codes]
    assert table["number"].to_pylist() == [numbers[code] for code in number_codes]
    assert table.schema.metadata == {b"key": "ü".encode()}


@pytest.mark.parametrize("distinct", [1, 256, 257, 65_537])
def test_codes_of_every_width_come_back(tmp_path: Path, distinct: int) -> None:
    codes = np.arange(distinct + 3)[::-1] % distinct
    write(tmp_path / "a.parquet", [encode({"x": Coded(np.arange(float(distinct)), codes)})], {})
    assert pq.read_table(tmp_path / "a.parquet")["x"].to_numpy().tolist() == codes.tolist()


def test_files_are_joined_by_copying_their_row_groups(tmp_path: Path) -> None:
    groups = [group(5), group(11)]
    for i, one in enumerate(groups):
        write(tmp_path / f"{i}.parquet", [one], {})
    write(tmp_path / "all.parquet", (body_of(tmp_path / f"{i}.parquet", one) for i, one in enumerate(groups)), {})
    joined = pq.ParquetFile(tmp_path / "all.parquet")
    assert joined.num_row_groups == 2
    assert joined.read()["value"].to_pylist() == [*range(5), *range(11)]


def test_readers_may_skip_row_groups_by_their_bounds(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [group(5, 3)], {})
    bounds = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(0).statistics
    assert (bounds.min, bounds.max) == (0.0, 2.0)
    assert pq.read_table(tmp_path / "a.parquet", filters=[("time", ">", 5.0)]).num_rows == 0


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def fails() -> Iterator[RowGroup]:
        yield group()
        raise OSError("disk full")

    write(tmp_path / "a.parquet", [group(5)], {})
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "a.parquet", fails(), {})
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 5
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
