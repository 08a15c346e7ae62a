"""Keeps sweeps: the last ones in memory, all of them on disk for a while, their minutes and hours for longer.

    store = Store(folder)
    sampler.run(stop, store.append)
    store.close()

Nothing but the minute being filled is lost at `kill -9`. What is on disk can be read at any time, by
`telemetry.store_reader` or by whatever reads Parquet. No pyarrow is loaded.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from telemetry.parquet_file import PARTIAL
from telemetry.ring import Block, Ring
from telemetry.segments import SegmentWriter, TierConfig
from telemetry.store_files import FORMAT, HEADER, StoreError, is_store, read_header
from telemetry.sweep import Sweep
from telemetry.tiers import Summarizer, Summary
from telemetry.time_axis import TimeAxis

logger = logging.getLogger(__name__)

DAY = 86400.0
MIB = 1 << 20
RAW = "raw"


@dataclass(frozen=True)
class StoreConfig:
    """How much is kept where."""

    ring_sweeps: int = 300
    """Sweeps in memory, at least `group_sweeps`. Default: five minutes at 1 Hz, 2.4 MB for 1,000 series."""
    group_seconds: float = 60.0
    """Length of a row group, and what `kill -9` may cost."""
    group_sweeps: int = 120
    """A row group ends earlier after so many sweeps, so that writing one at 10 Hz takes a few milliseconds."""
    files_per_segment: int = 60
    """Row groups of a segment: an hour of minutes."""
    tiers: tuple[TierConfig, ...] = (
        TierConfig(RAW, 0.0, 2 * DAY, 1024 * MIB),
        TierConfig("1s", 1.0, 2 * DAY, 512 * MIB),
        TierConfig("1min", 60.0, 35 * DAY, 512 * MIB),
        TierConfig("1h", 3600.0, 800 * DAY, 256 * MIB),
    )
    """Fine to coarse. Two days of sweeps answer "what happened last night"; 35 days of minutes hold a month and its
    calibration; 800 days of hours hold two years and the same month of the year before. The seconds are written only
    where sweeps come more often than that. Limits in bytes are for a disk that is not meant for this: 1,000 series
    stay far below them."""


class Store:
    """A folder that one program writes; any number may read.

    Args:
        folder: made where missing; an existing store is continued.
        config: how much is kept.
        period_seconds: between sweeps; tiers that are no coarser are not written.
        wall: seconds since 1970.

    Attributes:
        lost_groups: row groups that the disk refused.

    Raises:
        StoreError: another program writes this folder, or it was written by another version, or sizes do not fit.
    """

    def __init__(
        self,
        folder: str | Path,
        config: StoreConfig | None = None,
        *,
        period_seconds: float = 1.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.folder, self.config = Path(folder), config or StoreConfig()
        if not 1 <= self.config.group_sweeps <= self.config.ring_sweeps:
            raise StoreError(
                f"row groups of {self.config.group_sweeps} sweeps; allowed is 1 to {self.config.ring_sweeps}, the ring"
            )
        if is_store(self.folder):
            read_header(self.folder)  # raises where it is not ours to continue
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.folder)
        _write_header(self.folder, self.config)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._raw, *self._coarser = [
            SegmentWriter(self.folder / tier.name, tier, self.config.files_per_segment, self._pool)
            for tier in self.config.tiers
        ]
        self._axis = TimeAxis(max(writer.last for writer in (self._raw, *self._coarser)), wall)
        self._ring = Ring(self.config.ring_sweeps)
        self._unwritten, self._group = 0, 0.0
        needed = [writer for writer in self._coarser if writer.config.step_seconds > period_seconds]
        self._chain = [(Summarizer(writer.config.step_seconds), writer) for writer in needed]
        _catch_up(self.folder, [writer.config.name for writer in needed if writer.last < self._raw.last])
        self.lost_groups, self._failing = 0, False

    def append(self, sweep: Sweep) -> None:
        """Add a sweep; once a minute this also writes, some milliseconds for 1,000 series.

        A disk that refuses costs the minute and not the program: that is logged once when it begins and once when it is
        over, and counted in `lost_groups`.

        Raises:
            StoreError: the sweep is not later than the one before.
        """
        now, wall_offset = self._axis.place(sweep.time)
        group = now // self.config.group_seconds
        if self._unwritten and (group != self._group or self._unwritten >= self.config.group_sweeps):
            self._try_flush(now)
        self._group = group
        self._ring.append(now, wall_offset, sweep.names, sweep.row)
        self._unwritten += 1

    def last(self, sweeps: int, names: Sequence[str] | None = None) -> Block:
        """The newest sweeps from memory, as `Ring.last` gives them."""
        return self._ring.last(sweeps, names)

    def flush(self, now: float = float("-inf")) -> None:
        """Write what is not written yet.

        Args:
            now: seconds on the axis; periods that are over by then are written too.

        Raises:
            OSError: the disk refuses.
        """
        if not self._unwritten:
            return
        block = self._ring.last(self._unwritten)
        self._unwritten = 0
        self._raw.append(block)
        if self._chain:
            self._pass_on(0, self._chain[0][0].add(block), now)

    def close(self) -> None:
        """Write everything, the minute and the hour that are not over included; a second call does nothing.

        Raises:
            OSError: the disk refuses.
        """
        if self._lock.closed:
            return
        try:
            self.flush()
            if self._chain:
                self._pass_on(0, [], float("inf"))
            for writer in (self._raw, *self._coarser):
                writer.join()
                writer.wait()
        finally:
            self._pool.shutdown()
            self._lock.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _try_flush(self, now: float) -> None:
        failing = self._failing
        try:
            self.flush(now)
            self._failing = False
        except OSError as error:  # a full disk must not end the watching
            self._failing = True
            self.lost_groups += 1
            if not failing:
                logger.warning("%s: cannot be written (%s); sweeps are lost until it can", self.folder, error.strerror)
        if failing and not self._failing:
            logger.info("%s: is written again", self.folder)

    def _pass_on(self, place: int, finished: list[Summary], now: float) -> None:
        """Write the periods of one tier that are over, and give them to the next coarser one."""
        summarizer, writer = self._chain[place]
        finished += summarizer.over(now)
        writer.summarize(finished)
        if place + 1 < len(self._chain):
            self._pass_on(place + 1, self._chain[place + 1][0].merge(finished), now)


def _lock(folder: Path) -> IO[str]:
    file = open(folder / "writer.lock", "w")  # noqa: SIM115 - held until the store is closed
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # Windows: two writers are not told apart
    except OSError:
        file.close()
        raise StoreError(f"{folder}: another program writes this store; stop it or choose another folder") from None
    return file


def _catch_up(folder: Path, tiers: Sequence[str]) -> None:
    """Make the minutes and hours that a killed program had not finished, see `telemetry.catch_up`."""
    if not tiers:
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "telemetry.catch_up", str(folder), *tiers]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        logger.warning("%s: what was not summarized when its program was killed stays so (%s)", folder, said)


def _write_header(folder: Path, config: StoreConfig) -> None:
    partial = folder / (HEADER + PARTIAL)
    partial.write_text(json.dumps({"format": FORMAT, "tiers": [asdict(tier) for tier in config.tiers]}, indent=2))
    partial.replace(folder / HEADER)
