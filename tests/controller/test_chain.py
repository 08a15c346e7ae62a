"""The journal's chain: what was written is all there, in order, and unchanged."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import chain
from controller.journal import Journal

EDITS = ("change", "remove", "double", "swap")


def written(path: Path, count: int, **options: int) -> Path:
    journal = Journal(path, sync=False, **options)
    for number in range(count):
        journal.append({"number": number})
    journal.close()
    return path


def edited(lines: list[bytes], at: int, edit: str) -> list[bytes]:
    """The lines with one edit by somebody who knows how to make a checksum."""
    if edit == "remove":
        return lines[:at] + lines[at + 1 :]
    if edit == "double":
        return lines[: at + 1] + lines[at:]
    if edit == "swap":
        return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
    record = chain.parse(lines[at])
    assert record is not None
    former = record.pop(chain.FORMER)
    changed = chain.line_of(json.dumps({**record, "number": 99}), former)
    return [*lines[:at], changed[:-1], *lines[at + 1 :]]


@pytest.mark.clause("L10")
def test_a_journal_is_one_chain_over_restarts_and_both_files(tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl", 10)
    first = chain.check(path)
    assert (first.lines, first.first, first.problem) == (10, True, "")
    for _ in range(3):
        written(path, 10, max_bytes=700)
    found = chain.check(path)
    assert found.problem == ""
    assert Path(f"{path}.1").exists()
    assert not found.first, "the oldest lines were rotated away"
    assert found.newest == chain.line_hash(path.read_bytes().splitlines()[-1])


@pytest.mark.clause("L10")
@settings(max_examples=40, deadline=None)
@given(at=st.integers(0, 7), edit=st.sampled_from(EDITS))
def test_no_line_can_be_changed_removed_doubled_or_moved(tmp_path_factory, at: int, edit: str) -> None:
    path = written(tmp_path_factory.mktemp("chain") / "j.jsonl", 10)
    newest = chain.check(path).newest
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(edited(lines, at, edit)) + b"\n")
    found = chain.check(path)
    # The oldest lines may be missing, since files are rotated; but that the chain has lost its first line shows.
    assert found.problem or (edit == "remove" and at == 0 and not found.first)
    assert found.problem or found.newest == newest


@pytest.mark.clause("L10")
def test_a_changed_end_shows_by_its_hash(tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl", 5)
    newest = chain.check(path).newest
    path.write_bytes(b"\n".join(edited(path.read_bytes().splitlines(), 4, "change")) + b"\n")
    assert chain.check(path).newest != newest


@pytest.mark.clause("L10")
def test_the_first_broken_line_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl", 5)
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number":7'))
    assert chain.check(path).problem == f"{path}: line 3 is damaged"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(lines[:2] + lines[3:]) + b"\n")
    assert chain.check(path).problem.startswith(f"{path}: line 3 does not follow the line before it")


@pytest.mark.clause("L10")
@pytest.mark.parametrize("cut", [1, 2, 5, 40])
def test_a_line_torn_by_a_crash_is_no_break(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path / "j.jsonl", 5)
    os.truncate(path, path.stat().st_size - cut)
    assert chain.check(path).problem == ""
    written(path, 5)
    found = chain.check(path)
    assert found.problem == ""
    assert (found.lines, found.torn) == ((10, 0) if cut == 1 else (9, 1))


def test_a_chain_goes_on_behind_a_long_torn_line(tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl", 5)
    with open(path, "ab") as file:
        file.write(b'{"crc":"' + b"x" * 200_000)
    written(path, 1)
    found = chain.check(path)
    assert (found.lines, found.torn, found.problem) == (6, 1, "")


def test_lines_of_a_version_without_a_chain_may_stand_before_it_and_not_in_it(tmp_path: Path) -> None:
    path, body = tmp_path / "j.jsonl", '{"number":0}'
    old = f'{{"crc":"{zlib.crc32(body.encode()):08x}",{body[1:]}\n'.encode()
    path.write_bytes(old * 3)
    written(path, 2)
    found = chain.check(path)
    assert (found.unchained, found.lines, found.problem) == (3, 2, "")
    assert [record["number"] for record in Journal.read(path)] == [0, 0, 0, 0, 1]
    path.write_bytes(path.read_bytes() + old)
    assert "line 6 does not follow" in chain.check(path).problem
