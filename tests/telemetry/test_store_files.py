from __future__ import annotations

from pathlib import Path

import pytest

from telemetry.store_files import StoreError, clear_partials, expire, file_name, files_in, read_header


def make(folder: Path, *ranges: tuple[float, float], size: int = 10) -> None:
    for first, last in ranges:
        (folder / file_name(first, last)).write_bytes(bytes(size))


def spans(folder: Path) -> list[tuple[float, float]]:
    return [(file.first, file.last) for file in files_in(folder)]


def test_names_tell_from_when_to_when_and_hold_every_row(tmp_path: Path) -> None:
    make(tmp_path, (1.79e9 + 0.12345, 1.79e9 + 59.98765))
    assert spans(tmp_path) == [(1.79e9 + 0.123, 1.79e9 + 59.988)]
    assert next(tmp_path.iterdir()).name == "20260921T141320123-20260921T141419988.parquet"


def test_a_file_that_covers_others_replaces_them(tmp_path: Path) -> None:
    make(tmp_path, (0, 1), (2, 3), (0, 3), (4, 5))
    assert spans(tmp_path) == [(0, 3), (4, 5)]


def test_foreign_files_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, (0, 1))
    (tmp_path / "notes.parquet").touch()
    assert len(files_in(tmp_path)) == 1


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    make(tmp_path, (0, 1), (2, 3), (4, 5))
    expire(files_in(tmp_path), now=10.0, keep_seconds=7.0, max_bytes=10**6)
    assert spans(tmp_path) == [(2, 3), (4, 5)]


def test_the_oldest_goes_where_there_is_too_much_and_the_newest_stays(tmp_path: Path) -> None:
    make(tmp_path, (0, 1), (2, 3), (4, 5))
    expire(files_in(tmp_path), now=5.0, keep_seconds=100.0, max_bytes=25)
    assert spans(tmp_path) == [(2, 3), (4, 5)]
    expire(files_in(tmp_path), now=5.0, keep_seconds=100.0, max_bytes=5)
    assert spans(tmp_path) == [(4, 5)]


def test_a_half_written_file_is_left_out_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.parquet.partial").touch()
    clear_partials(tmp_path)
    assert "left out" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read"), ("[]", "cannot be read"), ('{"format": 9}', "format 9; .* format 1")]
)
def test_a_header_that_is_none_or_of_another_version_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        read_header(tmp_path)
