"""The journal: what was decided, why, and what came of it. Append-only lines of JSON.

Each line has a checksum, and the hash of the line before it: nothing can be changed, left out or put in between without
breaking the chain, which `controller.chain` checks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from controller import chain

logger = logging.getLogger(__name__)

RESERVE_BYTES = 64 << 10
"""Some thirty records: more than there can be rollbacks before somebody looks at the disk."""


_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


class JournalError(RuntimeError):
    """A record that could not be written; one line. Nothing may be changed that is not in the journal."""


class Journal:
    """Appends records to a file.

    Args:
        path: of the file; made with its directory if missing. A torn last line is closed first. While it is open, a
            file beside it (`.reserve`) keeps room on the disk for records of what is taken back.
        sync: whether records of changes reach the disk before the change is made. Default True: a crash must not leave
            a setting in force that the journal does not know. Costs a few milliseconds per change, none per hold.
        max_bytes: size at which the file becomes `<name>.1` and a new one begins. Default 64 MiB: eight hours of
            one-second periods.

    Raises:
        JournalError: the file cannot be opened.
    """

    def __init__(self, path: str | Path, *, sync: bool = True, max_bytes: int = 64 << 20) -> None:
        self.path, self._sync, self._max_bytes = Path(path), sync, max_bytes
        self._reserve = Path(f"{path}.reserve")
        self._descriptor: int | None = None
        self._size = 0
        self._newest = chain.NOTHING_BEFORE  # hash of the line written last
        self._open()
        self._keep_reserve()

    def append(self, record: Mapping[str, Any], *, durable: bool = False, urgent: bool = False) -> bool:
        """Write one record.

        Args:
            record: strings, numbers, lists, mappings, arrays; a NaN is written as null.
            durable: whether to wait for the disk (see `sync`).
            urgent: whether the reserve is used up for it on a full disk: for what takes a setting back.

        Returns:
            Whether it is the first one of a new file.

        Raises:
            JournalError: the disk is full, the file too large or gone. The journal can be tried again.
        """
        body = json.dumps(plain(record), separators=(",", ":"), allow_nan=False)
        try:
            return self._write(body, durable)
        except JournalError:
            if not urgent or not self._free_reserve():
                raise
            return self._write(body, durable)

    def _write(self, body: str, durable: bool) -> bool:
        try:
            descriptor = self._ready(len(body) + 64)
            line, first = chain.line_of(body, self._newest), self._size == 0
            written = os.write(descriptor, line)
            self._size += written
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes were written")
            if durable and self._sync:
                os.fsync(descriptor)
            self._newest = chain.line_hash(line[:-1])
            return first
        except OSError as error:
            self._shut()  # what the failure left is not known: the next append looks at the file anew
            raise JournalError(f"cannot write {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close the file and give the reserve up; may be called twice."""
        self._free_reserve()
        self._shut()

    def _shut(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def read(path: str | Path) -> list[dict[str, Any]]:
        """All records of a journal, the rotated part first; damaged lines are left out with a warning."""
        return list(Journal.records(path))

    @staticmethod
    def records(path: str | Path) -> Iterator[dict[str, Any]]:
        """What `read` gives, one after the other."""
        for line in chain.lines(path):
            record = chain.parse(line.text)
            if record is None:
                torn = "" if line.whole else " (torn by a crash)"
                logger.warning("%s is damaged and left out%s", line.where, torn)
            else:
                record.pop(chain.FORMER, None)
                yield record

    def _keep_reserve(self) -> None:
        """Room on the disk for what takes settings back; made again when there is room."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)

    def _free_reserve(self) -> bool:
        try:
            os.unlink(self._reserve)
        except OSError:
            return False
        return True

    def _ready(self, needed: int) -> int:
        """The open file's descriptor, with room for `needed` bytes."""
        if self._descriptor is not None and self._size + needed <= self._max_bytes:
            return self._descriptor
        if self._descriptor is not None:
            self._shut()
            os.replace(self.path, f"{self.path}.1")
        return self._open()

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._size = os.fstat(self._descriptor).st_size
            if self._size and os.pread(self._descriptor, 1, self._size - 1) != b"\n":
                self._size += os.write(self._descriptor, b"\n")  # or the next record would be lost with the torn one
            self._newest = chain.newest_hash(self.path)
        except OSError as error:
            self._shut()
            raise JournalError(f"cannot open {self.path}: {error.strerror or error}") from None
        return self._descriptor


@dataclass(frozen=True)
class Optimizations:
    """What the journal says about the changes that were made.

    Attributes:
        count: changes applied.
        kept: with the verdict keep.
        rolled_back: found harmful and taken back.
        inconclusive: left in force without proof.
        superseded: ended by adding more capacity.
        undone: taken back for want of proof.
        running: without a verdict yet.
        opportunity_to_applied_p99_seconds: from the first proposal to being in force, 99th percentile; NaN without any.
    """

    count: int
    kept: int
    rolled_back: int
    inconclusive: int
    superseded: int
    undone: int
    running: int
    opportunity_to_applied_p99_seconds: float


def optimizations(records: Iterable[Mapping[str, Any]]) -> Optimizations:
    """Count the changes in the records of a journal."""
    opened: dict[str, float] = {}
    ended: dict[str, str] = {}
    for record in records:
        for change in record.get("opened", []):
            opened[change["id"]] = change["applied_at"] - change["seen_at"]
        for verdict in record.get("verdicts", []):
            ended[verdict["id"]] = verdict["outcome"]
    outcomes = [ended.get(id) for id in opened]
    delays = list(opened.values())
    return Optimizations(
        len(opened),
        outcomes.count("keep"),
        outcomes.count("rolled_back"),
        outcomes.count("inconclusive"),
        outcomes.count("superseded"),
        outcomes.count("undone"),
        outcomes.count(None),
        float(np.quantile(delays, 0.99, method="higher")) if delays else math.nan,
    )


def plain(value: Any) -> Any:
    """What JSON can hold of a record; a NaN is null."""
    kind = type(value)
    if kind in _AS_THEY_ARE or (kind is float and math.isfinite(value)):  # most are, and this runs each period
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple | set | frozenset):
        return [plain(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int | np.integer):
        return int(value)
    return None if value is None else str(value)
