"""Parquet shards of labelled samples: ingest publishes them, the trainer uses and deletes them."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from testbed.drift import PIXELS
from testbed.files import write_atomically

SUFFIX = ".parquet"


class ShardError(ValueError):
    """A shard that cannot be read, or whose content makes no sense."""


@dataclass(frozen=True)
class Samples:
    """Labelled samples in the order of their events.

    Attributes:
        images: (n, 8, 8) float32.
        labels: (n,) int64.
        stream_time: (n,) seconds.
        sent_time: (n,) unix seconds.
    """

    images: np.ndarray
    labels: np.ndarray
    stream_time: np.ndarray
    sent_time: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def write(path: Path, samples: Samples) -> int:
    """Publish a shard atomically; returns its size in bytes."""
    flat = pa.array(samples.images.reshape(-1))
    columns = {
        "image": pa.FixedSizeListArray.from_arrays(flat, PIXELS),
        "label": pa.array(samples.labels.astype(np.uint8)),
        "stream_time": pa.array(samples.stream_time),
        "sent_time": pa.array(samples.sent_time),
    }
    return write_atomically(path, lambda file: pq.write_table(pa.table(columns), file, compression="zstd"))


def read(path: Path) -> Samples:
    """The samples of a shard.

    Raises:
        ShardError: the file is damaged or is no shard.
        FileNotFoundError: it has been deleted meanwhile.
    """
    try:
        table = pq.read_table(path, use_threads=False, memory_map=False)
        images = table["image"].combine_chunks().flatten().to_numpy().reshape(-1, 8, 8)
        columns = [table[name].to_numpy() for name in ("stream_time", "sent_time")]
        samples = Samples(images, table["label"].to_numpy().astype(np.int64), *columns)
    except (pa.ArrowException, KeyError, ValueError, AttributeError) as error:
        raise ShardError(f"shard {path.name} cannot be read: {error}") from error
    if not np.isfinite(samples.images).all() or (samples.labels > 9).any():
        raise ShardError(f"shard {path.name} holds values that are not finite or labels above 9")
    return samples


def published(directory: Path) -> list[Path]:
    """Shards that are there, oldest first."""
    # The names start with a number of fixed width, and a half-written file starts with a dot.
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def delete_all_but(directory: Path, kept: int) -> int:
    """Delete the oldest shards beyond the newest `kept`; returns how many."""
    surplus = published(directory)[: -kept or None]
    for path in surplus:
        path.unlink(missing_ok=True)
    return len(surplus)


class ShardQueue:
    """Gives each shard of a directory to one of several loader threads, oldest first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._waiting: list[Path] = []
        self._taken: set[Path] = set()

    def take(self) -> Path | None:
        """The next shard for the caller alone, or None where none is waiting."""
        with self._lock:
            if not self._waiting:
                self._waiting = self._fresh(published(self._directory))
            if not self._waiting:
                return None
            path = self._waiting.pop(0)
            self._taken.add(path)
            return path

    def done(self, path: Path) -> None:
        """Delete a shard that has been read, or that cannot be."""
        path.unlink(missing_ok=True)

    def _fresh(self, listed: Iterable[Path]) -> list[Path]:
        listed = list(listed)
        self._taken.intersection_update(listed)  # a shard that is gone need not be remembered
        return [path for path in listed if path not in self._taken]
