"""Series that the forecaster is trained and judged on: hourly, with their host and their edges in time."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from telemetry.issues import IssueError, first_hour, hourly_levels
from telemetry.public_traces import TraceError, load_series, trace_paths
from telemetry.trace_formats import Series

logger = logging.getLogger(__name__)

TRAIN_SHARE, CALIBRATION_SHARE, TEST_SHARE = 0.6, 0.15, 0.25
"""Of each series' time."""
TEST_BLOCKS = 3
"""The test is walked through: before each block models are fitted and thresholds set anew, from all before it."""
MIN_HOURS = 12 * 24
"""Shorter series have no whole week of training behind the first two of features."""
MIN_DISTINCT = 20
"""Different levels in the training part; fewer are switches and dead sensors, which have no limit."""
MAX_MISSING = 0.2
HELD_OUT_SHARE = 0.35
"""Of the hosts, by the hash of their name: which ones does not depend on the others."""
_METRIC = re.compile(r"\s*(metric \d+|[a-z]+\d*(_[a-z0-9]+)+)$")


class ForecastDataError(ValueError):
    """Traces that no forecaster can be judged on; one line."""


@dataclass(frozen=True, eq=False)
class MetricSeries:
    """One metric of one host.

    Attributes:
        name: file and series.
        host: what is held out as a whole.
        levels: (H,) see `hourly_levels`.
        start: seconds, of the first hour.
        salt: of the hash that draws the hosts that are held out.
    """

    name: str
    host: str
    levels: np.ndarray
    start: float = 0.0
    salt: str = ""

    @property
    def train_end(self) -> int:
        """First hour that the first models and the limits may not know."""
        return self.edge(0)

    def edge(self, block: int) -> int:
        """First hour of a block of the walk: 0 is the calibration slice, then come `TEST_BLOCKS` of the test."""
        share = TRAIN_SHARE + (CALIBRATION_SHARE + TEST_SHARE * (block - 1) / TEST_BLOCKS if block else 0.0)
        return int(len(self.levels) * share)

    @property
    def held_out(self) -> bool:
        """Whether nothing of its host may be learnt from."""
        return self._drawn("") < HELD_OUT_SHARE

    def fold(self, folds: int) -> int:
        """Which of so many parts of the hosts it belongs to, for learning from some and trying on the others."""
        return int(self._drawn("fold") * folds)

    def _drawn(self, purpose: str) -> float:
        """In [0, 1), by the host's name."""
        digest = hashlib.sha256((purpose + self.salt + self.host).encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32

    def limit(self, quantile: float) -> float:
        """The limit of the benchmark: a quantile of the training part."""
        return float(np.nanquantile(self.levels[: self.train_end], quantile))


def series_in(folder: Path) -> list[MetricSeries]:
    """Every usable series of every trace below a folder, in the order of their names.

    Raises:
        ForecastDataError: none is usable.
    """
    found: list[MetricSeries] = []
    for path in trace_paths(folder):
        try:
            loaded = load_series(path)
        except TraceError as error:
            logger.info("left out: %s", error)
            continue
        found += _usable(loaded, str(path.relative_to(folder)))
    if not found:
        raise ForecastDataError(
            f"{folder}: no series of at least {MIN_HOURS} hours that varies; give a folder of traces or a recording"
        )
    return sorted(found, key=lambda series: series.name)


def development(series: Iterable[MetricSeries]) -> list[MetricSeries]:
    """What choices may be made on: the hosts that are learnt from, before the test, some of them held out in turn."""
    return [
        replace(one, levels=one.levels[: one.edge(1)], salt="development")
        for one in series
        if not one.held_out and one.edge(1) >= MIN_HOURS
    ]


def digest(series: Iterable[MetricSeries]) -> str:
    """Hash of names and levels, so that two reports can be told to be about the same."""
    total = hashlib.sha256()
    for one in series:
        total.update(one.name.encode())
        total.update(np.ascontiguousarray(one.levels).tobytes())
    return total.hexdigest()[:16]


def _usable(loaded: Iterable[Series], file: str) -> list[MetricSeries]:
    found = []
    for series in loaded:
        if series.name.endswith("label"):
            continue
        try:
            levels = hourly_levels(series.values, series.step_seconds, series.start)
        except IssueError:
            continue
        host = f"{file}:{_METRIC.sub('', series.name) if ' ' in series.name else ''}"
        one = MetricSeries(f"{file}:{series.name}", host, levels, first_hour(series.start))
        train = levels[: one.train_end]
        known = train[~np.isnan(train)]
        if (
            len(levels) >= MIN_HOURS
            and np.isnan(levels).mean() <= MAX_MISSING
            and len(np.unique(known)) >= MIN_DISTINCT
        ):
            found.append(one)
    return found
