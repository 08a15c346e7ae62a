"""Summarizes what was swept but not summarized when a program was killed.

`Store` runs this as `python -m telemetry.catch_up FOLDER TIER...` when it opens such a folder, before it writes:
reading takes pyarrow, which shall not stay in a process that watches for months.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from telemetry.segments import SegmentWriter, TierConfig
from telemetry.store_files import read_header
from telemetry.store_reader import StoreReader
from telemetry.tiers import Summarizer

MINUTE = 60.0


def catch_up(folder: Path, tier: str) -> None:
    """Write the periods of a tier that follow its last one, from the sweeps on disk.

    Args:
        folder: of a store that nobody writes.
        tier: name of the tier.

    Raises:
        StoreError: it is no store.
        OSError: the disk refuses.
    """
    config = next(TierConfig(**one) for one in read_header(folder)["tiers"] if one["name"] == tier)
    reader, summarizer = StoreReader(folder), Summarizer(config.step_seconds)
    # A killed program had not finished a period and a row group; further back, the tier was not wanted.
    open_since = reader.tiers[0].files[-1].last - 2.0 * max(config.step_seconds, MINUTE)
    with ThreadPoolExecutor(1) as pool:
        writer = SegmentWriter(folder / tier, config, sys.maxsize, pool)
        for block in reader.sweeps(max(writer.last, open_since)):
            writer.summarize(summarizer.add(block))
        writer.summarize(summarizer.flush())
        writer.join()


if __name__ == "__main__":
    for name in sys.argv[2:]:
        catch_up(Path(sys.argv[1]), name)
