"""Lines of the journal, chained: each holds a checksum of itself and the hash of the line before it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

FORMER = "former"
"""Key of the former line's hash."""

NOTHING_BEFORE = "0" * 16
"""Stands there in the first line of all."""

_HEAD = '{"crc":"'
_BODY_AT = len(_HEAD) + 8 + 2  # after the 8 digits and `",`


def line_of(body: str, former: str) -> bytes:
    """A line with its end.

    Args:
        body: a JSON object, ASCII.
        former: hash of the line before.
    """
    rest = f'"{FORMER}":"{former}"{"," if len(body) > 2 else ""}{body[1:]}'
    return f'{_HEAD}{zlib.crc32(f"{{{rest}".encode()):08x}",{rest}\n'.encode()


def parse(line: bytes) -> dict[str, Any] | None:
    """The record of a line, `FORMER` in it; None if the line is damaged."""
    try:
        text = line.decode()
        body = "{" + text[_BODY_AT:]
        if not text.startswith(_HEAD) or int(text[len(_HEAD) : len(_HEAD) + 8], 16) != zlib.crc32(body.encode()):
            return None
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def line_hash(line: bytes) -> str:
    """What the next line says of this one, without its end: 16 hex digits of its SHA-256.

    64 bits suffice: to change a line and keep its hash takes 2^64 tries, and whoever can write the file can as well
    write all that follows anew, since the chain has no key. What protects is the newest hash, kept somewhere else.
    """
    return hashlib.sha256(line).hexdigest()[:16]


def parts(path: str | Path) -> tuple[Path, Path]:
    """The files of a journal, the rotated one first."""
    return Path(f"{path}.1"), Path(path)


class Line(NamedTuple):
    """One line as it stands in a file.

    Attributes:
        where: file and number.
        text: without its end.
        whole: whether it has one.
    """

    where: str
    text: bytes
    whole: bool


def lines(path: str | Path) -> Iterator[Line]:
    """All lines of a journal that are not empty, oldest first."""
    for part in parts(path):
        with contextlib.suppress(FileNotFoundError), open(part, "rb") as file:
            for number, text in enumerate(file, start=1):
                if text != b"\n":
                    yield Line(f"{part}: line {number}", text.removesuffix(b"\n"), text.endswith(b"\n"))


def newest_hash(path: str | Path) -> str:
    """Hash of the last line that is not damaged, `NOTHING_BEFORE` if there is none."""
    for part in reversed(parts(path)):
        with contextlib.suppress(FileNotFoundError):
            for text in reversed(_last_lines(part)):
                if parse(text) is not None:
                    return line_hash(text)
    return NOTHING_BEFORE


@dataclass
class Chain:
    """What a check of a journal found.

    Attributes:
        lines: in the chain.
        unchained: before it, written by a version without a chain.
        torn: lines that a crash or a full disk cut off.
        first: whether the oldest line is the first of all; else older ones were rotated away.
        newest: hash of the newest line, to be kept elsewhere by who wants to be sure.
        problem: where the chain is broken first, and how; empty if it is whole.
    """

    lines: int = 0
    unchained: int = 0
    torn: int = 0
    first: bool = False
    newest: str = NOTHING_BEFORE
    problem: str = ""


def check(path: str | Path) -> Chain:
    """Whether every line follows the one before it, over both files of a journal."""
    chain, damaged = Chain(), None
    for line in lines(path):
        record = parse(line.text)
        if record is None:
            damaged = damaged or line
            continue
        former = record.get(FORMER)
        known = chain.lines + chain.unchained > 0
        if former is None and not chain.lines:
            chain.unchained += 1
        elif known and former != chain.newest:
            chain.problem = _break(damaged, line)
            return chain
        else:
            chain.first = chain.first or former == NOTHING_BEFORE
            chain.lines += 1
        chain.torn += damaged is not None  # the chain goes on behind it: it was never whole
        chain.newest, damaged = line_hash(line.text), None
    if damaged is not None:
        cut = not damaged.whole or not damaged.text.endswith(b"}")
        chain.torn, chain.problem = chain.torn + cut, "" if cut else f"{damaged.where} is damaged"
    return chain


def _break(damaged: Line | None, line: Line) -> str:
    if damaged is not None:
        return f"{damaged.where} is damaged"
    return f"{line.where} does not follow the line before it: one of them was changed, or lines are missing"


def _last_lines(path: Path) -> list[bytes]:
    """The lines at the end of a file, at least one that is not damaged if there is any."""
    with open(path, "rb") as file:
        size, wanted = file.seek(0, os.SEEK_END), 1 << 16
        while True:
            file.seek(max(0, size - wanted))
            found = file.read().split(b"\n")
            if wanted >= size:
                return found
            if any(parse(text) is not None for text in found[1:]):
                return found[1:]
            wanted *= 4
