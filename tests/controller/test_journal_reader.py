from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.journal import Journal
from controller.journal_reader import BLOCK_BYTES, CursorError, Record, following, newest


def numbers(records: list[Record]) -> list[int]:
    return [record["number"] for record in records]


def even(record: Record) -> bool:
    return bool(record["number"] % 2 == 0)


def anything(_: Record) -> bool:
    return True


def written(path: Path, lengths: list[int], max_bytes: int = 1 << 30) -> list[int]:
    """A journal of records with texts of these lengths; their numbers that are still in its files."""
    journal = Journal(path, max_bytes=max_bytes)
    for number, length in enumerate(lengths):
        journal.append({"number": number, "text": "x" * length})
    journal.close()
    return numbers(Journal.read(path))


LENGTHS = st.lists(st.sampled_from([0, 10, 1000, BLOCK_BYTES - 60, BLOCK_BYTES, 2 * BLOCK_BYTES]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(1, 8), st.sampled_from([1 << 30, 3 * BLOCK_BYTES]))
def test_the_end_of_a_journal_is_what_reading_all_of_it_ends_with(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], limit: int, max_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    there = written(path, lengths, max_bytes)
    assert numbers(newest(path, limit, anything).records) == there[-limit:]


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(1, 8), st.sampled_from([1 << 30, 3 * BLOCK_BYTES]))
def test_page_after_page_every_record_comes_once(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], limit: int, max_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    there = written(path, lengths, max_bytes)
    found, cursor = [], ""
    for _ in itertools.count():
        page = following(path, cursor, limit, anything)
        found += numbers(page.records)
        if len(page.records) < limit:
            break
        cursor = page.cursor
    assert found == there


def test_a_follower_gets_what_is_written_later_and_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, max_bytes=400)
    journal.append({"number": 0})
    page = newest(path, 10, anything)
    found = numbers(page.records)
    for number in range(1, 6):  # the file is rotated in between
        journal.append({"number": number, "text": "x" * 100})
        page = following(path, page.cursor, 10, anything)
        found += numbers(page.records)
    journal.close()
    assert found == list(range(6))
    assert (tmp_path / "journal.jsonl.1").exists()


def test_only_what_is_wanted_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path, [5] * 9)
    assert numbers(newest(path, 2, even).records) == [6, 8]
    assert numbers(following(path, "", 2, even).records) == [0, 2]


def test_a_line_that_is_being_written_is_left_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path, [5, 5, 5])
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    page = newest(path, 9, anything)
    assert numbers(page.records) == [0, 1]
    with path.open("ab") as file:
        file.write(whole[-9:])
    assert numbers(following(path, page.cursor, 9, anything).records) == [2]


def test_a_damaged_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path, [5, 5, 5])
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1].replace(b"number", b"numbex"), *lines[2:]]))
    assert numbers(newest(path, 9, anything).records) == [0, 2]


@pytest.mark.parametrize("cursor", ["x", "1-2", "-", "ffff-zz", "\x00"])
def test_a_place_that_is_not_in_the_journal_is_told(tmp_path: Path, cursor: str) -> None:
    written(tmp_path / "journal.jsonl", [5])
    with pytest.raises(CursorError, match="ask without it"):
        following(tmp_path / "journal.jsonl", cursor, 1, anything)


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert newest(tmp_path / "journal.jsonl", 3, anything).records == []
