"""One tier on disk: small files as it goes, joined to segments, limited in age and size."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from telemetry.parquet_file import Coded, RowGroup, body_of, encode, write
from telemetry.ring import Block
from telemetry.store_files import clear_partials, expire, file_name, files_in
from telemetry.tiers import FIELDS, Summary, stack, union

logger = logging.getLogger(__name__)

PERIODS = 15
"""Of a row group of minutes or hours: encoding 60 at once takes 14 MiB for 1,000 series, which the process keeps."""


@dataclass(frozen=True)
class TierConfig:
    """What is kept, and for how long."""

    name: str
    """Of its folder."""
    step_seconds: float
    """Length of a period; 0 keeps every sweep."""
    keep_seconds: float
    """Age at which a file is deleted."""
    max_bytes: int
    """Of all files together; above it the oldest go first."""


@dataclass(frozen=True)
class _Small:
    """A small file of this session: where it is, and its row group without the bytes."""

    path: Path
    first: float
    last: float
    group: RowGroup


class SegmentWriter:
    """Writes a tier. Each call of `append` or `summarize` makes a file that is whole and readable at once.

    Args:
        folder: of the tier, made where missing.
        config: limits.
        files_per_segment: small files that are joined to one.
        pool: where files are joined, since that waits for the disk and a sweep does not.
    """

    def __init__(self, folder: Path, config: TierConfig, files_per_segment: int, pool: Executor) -> None:
        self.folder, self.config, self.files_per_segment, self._pool = folder, config, files_per_segment, pool
        folder.mkdir(parents=True, exist_ok=True)
        clear_partials(folder)
        self._small: list[_Small] = []
        self._summaries: list[Summary] = []  # of small files with one period
        self._joining: Future[None] | None = None
        self._metadata = {"trimtab_store": json.dumps({"tier": config.name, "step_seconds": config.step_seconds})}

    @property
    def last(self) -> float:
        """Time of the last row on disk, seconds on the axis; -inf without any."""
        return max((file.last for file in files_in(self.folder)), default=float("-inf"))

    def append(self, block: Block) -> None:
        """Write sweeps as one row group; joining copies the groups as they are.

        Raises:
            OSError: the disk refuses.
        """
        encoded = encode_block(block)
        if encoded.rows:
            self._write(encoded, float(block.times[0]), float(block.times[-1]))

    def summarize(self, summaries: Sequence[Summary]) -> None:
        """Write periods. Those that come alone say every name for a single row, so joining encodes them again.

        Raises:
            OSError: the disk refuses.
        """
        if summaries:
            self._summaries += summaries if len(summaries) == 1 else []
            self._write(encode_summaries(summaries), summaries[0].first, summaries[-1].last)

    def join(self) -> None:
        """Begin to join the small files of this session to a segment, and to delete what is beyond the limits.

        Where the disk refuses, the files stay as they are, with a line in the log.
        """
        self.wait()
        small, self._small = self._small, []
        summaries, self._summaries = self._summaries, []
        if small:
            self._joining = self._pool.submit(self._join, small, summaries)

    def wait(self) -> None:
        """Wait until joining is done."""
        joining, self._joining = self._joining, None
        if joining is not None:
            joining.result()

    def _write(self, group: RowGroup, first: float, last: float) -> None:
        path = self.folder / file_name(first, last)
        write(path, [group], self._metadata)
        self._small.append(_Small(path, first, last, replace(group, body=b"")))
        if len(self._small) >= self.files_per_segment:
            self.join()

    def _join(self, small: Sequence[_Small], summaries: Sequence[Summary]) -> None:
        try:
            if len(small) > 1:
                self._replace(small, summaries)
            expire(files_in(self.folder), small[-1].last, self.config.keep_seconds, self.config.max_bytes)
        except OSError as error:
            logger.warning("%s: %d files cannot be joined (%s); they stay", self.folder, len(small), error.strerror)

    def _replace(self, small: Sequence[_Small], summaries: Sequence[Summary]) -> None:
        groups = (body_of(one.path, one.group) for one in small)
        if len(summaries) == len(small):
            groups = (encode_summaries(summaries[i : i + PERIODS]) for i in range(0, len(summaries), PERIODS))
        # Durable, since the files that it replaces are deleted next.
        write(self.folder / file_name(small[0].first, small[-1].last), groups, self._metadata, durable=True)
        for one in small:
            one.path.unlink(missing_ok=True)


def encode_block(block: Block) -> RowGroup:
    """Sweeps as rows (time, wall_offset, series, value), by series and then time; what is missing has no row."""
    by_series = block.values.T  # (C, R)
    there = ~np.isnan(by_series)
    series, sweeps = np.nonzero(there)
    return encode({**_labels(block.times, block.wall_offsets, block.names, sweeps, series), "value": by_series[there]})


def encode_summaries(summaries: Sequence[Summary]) -> RowGroup:
    """Periods as rows (time, wall_offset, series, and what `FIELDS` says), by series and then time."""
    names = union(summaries)
    stacked = stack(summaries, names)  # (K, len(FIELDS), C)
    there = stacked[:, FIELDS.index("count")].T > 0  # (C, K)
    series, periods = np.nonzero(there)
    times, offsets = np.array([[summary.time, summary.wall_offset] for summary in summaries]).T
    fields = {name: stacked[:, i].T[there] for i, name in enumerate(FIELDS)}
    return encode({**_labels(times, offsets, names, periods, series), **fields})


def _labels(
    times: np.ndarray, offsets: np.ndarray, names: tuple[str, ...], row: np.ndarray, series: np.ndarray
) -> dict[str, Coded]:
    distinct, codes = np.unique(offsets, return_inverse=True)
    return {"time": Coded(times, row), "wall_offset": Coded(distinct, codes[row]), "series": Coded(names, series)}
