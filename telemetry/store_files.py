"""Files of a store: one folder a tier, names that tell from when to when, limits on age and size.

    FOLDER/store.json                                         format and tiers
    FOLDER/raw/20261124T115900000-20261124T115959000.parquet  every sweep
    FOLDER/1min/..., FOLDER/1h/...                            what a minute and an hour were like

Times in names are the store's own (`TimeAxis`), so that names sort as sweeps were taken. A file that covers others in
its range replaces them: they are deleted next, and readers pass over them until then.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from telemetry.parquet_file import PARTIAL

logger = logging.getLogger(__name__)

HEADER = "store.json"
FORMAT = 1
SUFFIX = ".parquet"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StoreError(ValueError):
    """A store that cannot be written or read; the message is one line."""


@dataclass(frozen=True, order=True)
class StoredFile:
    """One file.

    Attributes:
        first: time of the first row, seconds on the axis, to the millisecond before it.
        last: of the last row, to the millisecond after it.
        path: where it lies.
        size: bytes.
    """

    first: float
    last: float
    path: Path
    size: int


def file_name(first: float, last: float) -> str:
    """The name of a file with rows from `first` to `last`, seconds on the axis."""
    return f"{_stamp(math.floor(first * 1000))}-{_stamp(math.ceil(last * 1000))}{SUFFIX}"


def files_in(folder: Path) -> list[StoredFile]:
    """The files of a tier in order of time, without those that another one covers."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            first, last = (_seconds(text) for text in path.stem.split("-"))
            found.append(StoredFile(first, last, path, path.stat().st_size))
        except (ValueError, FileNotFoundError):  # not ours, or replaced or expired since it was listed
            continue
    kept: list[StoredFile] = []
    for file in sorted(found, key=lambda one: (one.first, -one.last)):  # the widest first
        if not kept or file.last > kept[-1].last:
            kept.append(file)
    return kept


def settled_files(folder: Path) -> list[StoredFile]:
    """As `files_in`, for a folder that is being written.

    A listing may miss both a segment that is put in place while it is made and the files that the segment replaces: two
    that agree miss nothing.
    """
    before, now = None, files_in(folder)
    while now != before:
        before, now = now, files_in(folder)
    return now


def expire(files: Sequence[StoredFile], now: float, keep_seconds: float, max_bytes: int) -> None:
    """Delete what is too old, and the oldest while there is too much; the newest file always stays.

    Args:
        files: of one tier, in order of time.
        now: seconds on the axis.
        keep_seconds: age of a file's last row up to which it stays.
        max_bytes: of all files together.
    """
    total = sum(file.size for file in files)
    for file in files[:-1]:
        if file.last >= now - keep_seconds and total <= max_bytes:
            return
        file.path.unlink(missing_ok=True)
        total -= file.size


def clear_partials(folder: Path) -> None:
    """Delete what a crash left half written, with a note."""
    for partial in folder.glob(f"*{PARTIAL}"):
        partial.unlink(missing_ok=True)
        logger.warning("%s was being written when its program was killed; it is left out", partial)


def read_header(folder: Path) -> dict[str, Any]:
    """What `store.json` says.

    Raises:
        StoreError: it is no store, or of another version.
    """
    try:
        header = json.loads((folder / HEADER).read_text())
        version = header["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder}: no store, its {HEADER} cannot be read ({error})") from error
    if version != FORMAT:
        raise StoreError(f"{folder}: a store of format {version!r}; this version knows format {FORMAT}")
    return header


def is_store(path: Path) -> bool:
    """Whether a folder is a store."""
    return (path / HEADER).is_file()


def _stamp(milliseconds: int) -> str:
    return (EPOCH + timedelta(milliseconds=milliseconds)).strftime("%Y%m%dT%H%M%S%f")[:-3]


def _seconds(stamp: str) -> float:
    return (datetime.strptime(stamp + "000", "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC) - EPOCH).total_seconds()
