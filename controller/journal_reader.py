"""Reads a journal that somebody else writes, from its end or from a place on, and no more of it than is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller import chain

BLOCK_BYTES = 64 << 10
Record = dict[str, Any]


class CursorError(ValueError):
    """A place that is not in this journal; one line."""


@dataclass(frozen=True)
class Page:
    """Some records.

    Attributes:
        records: oldest first.
        cursor: the place behind the last of them, for `following`; it survives a rotation of the file.
    """

    records: list[Record]
    cursor: str


def newest(path: str | Path, limit: int, wanted: Callable[[Record], bool]) -> Page:
    """The last records, read from the end: as much of the file as they take, and no more.

    Args:
        path: of the journal.
        limit: most records.
        wanted: which ones count.
    """
    found: list[Record] = []
    cursor = ""
    for part in reversed(_parts(path)):
        with part.open("rb") as file:
            status = os.fstat(file.fileno())
            for line, end in _lines_backwards(file.fileno(), status.st_size):
                cursor = cursor or _cursor(status.st_ino, end)
                record = chain.parse(line)
                if record is not None and wanted(record):
                    found.append(record)
                if len(found) == limit:
                    return Page(found[::-1], cursor)
    return Page(found[::-1], cursor)


def following(path: str | Path, cursor: str, limit: int, wanted: Callable[[Record], bool]) -> Page:
    """The records after a place, oldest first.

    Args:
        path: of the journal.
        cursor: of an earlier page; empty for the beginning.
        limit: most records.
        wanted: which ones count.

    Raises:
        CursorError: the place is not in the journal, or no longer.
    """
    found: list[Record] = []
    for part, begin in _from(_parts(path), cursor):
        with part.open("rb") as file:
            file.seek(begin)
            inode = os.fstat(file.fileno()).st_ino
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written just now
                begin += len(line)
                cursor = _cursor(inode, begin)
                record = chain.parse(line[:-1])
                if record is not None and wanted(record):
                    found.append(record)
                if len(found) == limit:
                    return Page(found, cursor)
    return Page(found, cursor)


def _parts(path: str | Path) -> list[Path]:
    """The files of the journal that are there, oldest first."""
    return [part for part in chain.parts(path) if part.exists()]


def _from(files: list[Path], cursor: str) -> list[tuple[Path, int]]:
    """The files from the place on, with where to begin in each."""
    if not cursor:
        return [(part, 0) for part in files]
    inode, _, offset = cursor.partition("-")
    inodes = [f"{part.stat().st_ino:x}" for part in files]
    try:
        number, begin = inodes.index(inode), int(offset, 16)
    except ValueError:
        raise CursorError(f"no place {cursor[:80]!r} in the journal, or no longer; ask without it") from None
    if not 0 <= begin <= files[number].stat().st_size:
        raise CursorError(f"no place {cursor[:80]!r} in the journal; ask without it")
    return [(files[number], begin), *((part, 0) for part in files[number + 1 :])]


def _lines_backwards(descriptor: int, size: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines from the end, each with the place behind its newline; what is behind the last newline is left out."""
    begin, rest, end = size, b"", size
    first = True
    while begin > 0:
        length = min(BLOCK_BYTES, begin)
        begin -= length
        lines = (os.pread(descriptor, length, begin) + rest).split(b"\n")
        rest = lines[0]  # its beginning may be in the block before
        for line in reversed(lines[1:]):
            if not first:
                yield line, end
            end -= len(line) + (0 if first else 1)
            first = False
    if not first:
        yield rest, end


def _cursor(inode: int, offset: int) -> str:
    return f"{inode:x}-{offset:x}"
