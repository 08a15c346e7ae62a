"""One tier on disk: small files as it goes, joined to segments, limited in age and size."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from telemetry.parquet_file import Coded, RowGroup, body_of, encode, write
from telemetry.ring import Block
from telemetry.store_files import clear_partials, expire, file_name, files_in
from telemetry.tiers import COUNT, FIELDS, Summary, columns_in, union

logger = logging.getLogger(__name__)

ROWS = 15_000
"""Of minutes or hours that are held until they become one row group: a quarter of an hour of 1,000 series, 1 MiB. With
60,000, encoding takes 14 MiB, which the process keeps."""


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
    """A file of this session: where it is, its row group without the bytes, and the period that is alone in it."""

    path: Path
    first: float
    last: float
    group: RowGroup
    summary: Summary | None = None


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
        self._files = 0  # written since the last segment
        self._packed: list[_Small] = []  # what the next segment is made of; only the pool's thread looks at it
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
            alone = summaries[0] if len(summaries) == 1 else None
            self._write(encode_summaries(summaries), summaries[0].first, summaries[-1].last, alone)

    def join(self) -> None:
        """Begin to join the small files of this session to a segment, and to delete what is beyond the limits.

        Where the disk refuses, the files stay as they are, with a line in the log.
        """
        if self._files:
            self._hand_over(segment=True)

    def wait(self) -> None:
        """Wait until joining is done."""
        joining, self._joining = self._joining, None
        if joining is not None:
            joining.result()

    def _write(self, group: RowGroup, first: float, last: float, alone: Summary | None = None) -> None:
        path = self.folder / file_name(first, last)
        write(path, [group], self._metadata)
        self._small.append(_Small(path, first, last, replace(group, body=b""), alone))
        self._files += 1
        if self._files >= self.files_per_segment:
            self.join()
        elif sum(one.group.rows for one in self._small if one.summary is not None) >= ROWS:
            self._hand_over(segment=False)

    def _hand_over(self, *, segment: bool) -> None:
        self.wait()
        small, self._small = self._small, []
        self._files = 0 if segment else self._files
        self._joining = self._pool.submit(self._join, small, segment)

    def _join(self, small: list[_Small], segment: bool) -> None:
        packed, self._packed = self._packed, []
        try:
            packed += self._pack(small)
            if not segment:
                self._packed = packed
            elif packed:
                self._replace(packed, (body_of(one.path, one.group) for one in packed))
                expire(files_in(self.folder), packed[-1].last, self.config.keep_seconds, self.config.max_bytes)
        except OSError as error:
            logger.warning("%s: files cannot be joined (%s); they stay as they are", self.folder, error.strerror)

    def _pack(self, small: list[_Small]) -> list[_Small]:
        """One file with one row group where each had one period; else the same files. Holds no summary any more."""
        summaries = [one.summary for one in small if one.summary is not None]
        if len(summaries) < len(small) or len(small) < 2:
            return [replace(one, summary=None) for one in small]
        group = encode_summaries(summaries)
        path = self._replace(small, [group])
        return [_Small(path, small[0].first, small[-1].last, replace(group, body=b""))]

    def _replace(self, files: Sequence[_Small], groups: Iterable[RowGroup]) -> Path:
        """One file with these groups instead of several."""
        path = self.folder / file_name(files[0].first, files[-1].last)
        if len(files) > 1:
            # Durable, since the files that it replaces are deleted next.
            write(path, groups, self._metadata, durable=True)
            for one in files:
                one.path.unlink(missing_ok=True)
        return path


def encode_block(block: Block) -> RowGroup:
    """Sweeps as rows (time, wall_offset, series, value), by series and then time; what is missing has no row."""
    by_series = block.values.T  # (C, R)
    there = ~np.isnan(by_series)
    series, sweeps = np.nonzero(there)
    return encode({**_labels(block.times, block.wall_offsets, block.names, sweeps, series), "value": by_series[there]})


def encode_summaries(summaries: Sequence[Summary]) -> RowGroup:
    """Periods as rows (time, wall_offset, series, and what `FIELDS` says), by series and then time."""
    names = union(summaries)
    there = [summary.values[COUNT] > 0 for summary in summaries]
    series = np.concatenate([columns_in(names, one.names)[has] for one, has in zip(summaries, there, strict=True)])
    periods = np.repeat(np.arange(len(summaries)), [has.sum() for has in there])
    order = np.argsort(series, kind="stable")
    values = np.concatenate([one.values[:, has] for one, has in zip(summaries, there, strict=True)], axis=1)[:, order]
    times, offsets = np.array([[summary.time, summary.wall_offset] for summary in summaries]).T
    fields = dict(zip(FIELDS, values, strict=True))
    return encode({**_labels(times, offsets, names, periods[order], series[order]), **fields})


def _labels(
    times: np.ndarray, offsets: np.ndarray, names: tuple[str, ...], row: np.ndarray, series: np.ndarray
) -> dict[str, Coded]:
    distinct, codes = np.unique(offsets, return_inverse=True)
    return {"time": Coded(times, row), "wall_offset": Coded(distinct, codes[row]), "series": Coded(names, series)}
