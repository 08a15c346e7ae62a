"""The metrics of a component that has replicas: those of an average ready one, as in an environment with a pool."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from controller.component_source import PAGES, WRITTEN_AT, ComponentSource
from controller.readings import SCRAPED_AT
from controller.replicas import Members
from telemetry.collectors.source import SourceError
from telemetry.series_catalogue import Family

COUNTERS = ("_total", "_bucket", "_count", "_sum", SCRAPED_AT)
"""How the names of series end that only grow: a mean of their growth can be taken, not one of their levels."""
OLDEST = "_timestamp_seconds"
"""How the names of moments end: the oldest stands for all, or a replica that has never had one would."""

Page = Mapping[str, float]


class Average:
    """Pages of several replicas as one, sweep after sweep."""

    def __init__(self) -> None:
        self._former: Mapping[str, Page] = {}  # of those that counted in the last sweep
        self._totals: dict[str, float] = {}

    def add(self, pages: Mapping[str, Page], least: int, among: int) -> dict[str, float]:
        """The page of an average one.

        Args:
            pages: by replica, of this sweep.
            least: of them that must have counted on since the last sweep.
            among: how many replicas there are.

        Raises:
            SourceError: fewer have.
        """
        former, self._former = self._former, pages
        both = [growth(former[name], page) for name, page in pages.items() if name in former]
        grown = [one for one in both if one is not None]
        counted = len(grown) if former else len(pages)
        if counted < least:
            raise SourceError(f"{counted} of {among} replicas can be read, at least {least} must")
        return {**self._levels(), **self._counters(grown, begins=not former)}

    def _counters(self, grown: Sequence[Page], *, begins: bool) -> dict[str, float]:
        """The totals that every counter has come to; one that nobody has twice is left out, unless it begins."""
        found = {}
        for series in {series for page in self._former.values() for series in page if is_counter(series)}:
            added = _mean([one[series] for one in grown if series in one])
            if math.isfinite(added) or begins or series not in self._totals:
                self._totals[series] = self._totals.get(series, 0.0) + (added if math.isfinite(added) else 0.0)
                found[series] = self._totals[series]
        return found

    def _levels(self) -> dict[str, float]:
        pages = list(self._former.values())
        found = {}
        for series in {series for page in pages for series in page}:
            name = series.partition("{")[0]
            if is_counter(series) or name in (PAGES, WRITTEN_AT):
                continue
            values = [page[series] for page in pages if series in page]
            found[series] = float(min(values)) if name.endswith(OLDEST) else _mean(values)
        return found


class ReplicaSource:
    """Scrapes all replicas side by side.

    Counters grow by the mean growth of the replicas that count in two sweeps in a row, levels are means, so that one
    replica that is missing, or begins anew, costs its own part and nothing else.

    Args:
        sources: by replica, all with the component's label.
        members: who counts.
    """

    def __init__(self, sources: Mapping[str, ComponentSource], members: Members) -> None:
        self.name, self._sources, self._members = members.name, sources, members
        self._whole, self._canary, self._rest = Average(), Average(), Average()
        self.canary: Page = {}
        """What an average canary shows; empty where canaries and rest cannot be held against each other."""
        self.rest: Page = {}
        """What an average one of the others shows."""
        self.pages: dict[str, Page] = {}
        """Of the newest sweep, also of replicas that do not count."""
        self.silent: dict[str, int] = dict.fromkeys(sources, 0)
        """Sweeps in a row without a page, by replica."""
        self.anew: set[str] = set()
        """Replicas that number their pages from the beginning in the newest sweep: they are other processes."""
        self._numbers: dict[str, float] = {}

    @property
    def families(self) -> Mapping[str, Family]:
        """Kind and help of the metrics, as the replicas told them."""
        return {name: family for source in self._sources.values() for name, family in source.families.items()}

    def begin(self, pool: ThreadPoolExecutor) -> None:
        """Start all scrapes in the background."""
        for source in self._sources.values():
            source.begin(pool)

    def collect(self) -> dict[str, float]:
        """What an average ready replica shows.

        Raises:
            SourceError: fewer replicas than must be ready can be read.
        """
        problems = self._read()
        ready = {name: page for name, page in self.pages.items() if name in self._members.ready}
        canaries = self._members.canaries if self._members.apart else ()
        self.canary = self._part(self._canary, {name: page for name, page in ready.items() if name in canaries})
        rest = {name: page for name, page in ready.items() if canaries and name not in canaries}
        self.rest = self._part(self._rest, rest)
        try:
            return self._whole.add(ready, self._members.least, len(self._members.names))
        except SourceError as error:
            raise SourceError("; ".join([str(error), *problems])) from None

    def _part(self, average: Average, pages: Mapping[str, Page]) -> Page:
        """Of some of the replicas; empty where none of them can be read."""
        try:
            return average.add(pages, 1, len(self._members.names))
        except SourceError:
            return {}

    def _read(self) -> list[str]:
        problems, self.pages, self.anew = [], {}, set()
        for name, source in self._sources.items():
            try:
                self.pages[name] = source.collect()
            except SourceError as error:
                problems.append(str(error))
            number = next((v for k, v in self.pages.get(name, {}).items() if k.startswith(PAGES)), math.nan)
            if number < self._numbers.get(name, number):
                self.anew.add(name)
            self._numbers[name] = number if math.isfinite(number) else self._numbers.get(name, math.nan)
            self.silent[name] = 0 if self.pages.get(name) else self.silent[name] + 1
        return problems


def is_counter(series: str) -> bool:
    """Whether a series only grows, by its name."""
    name = series.partition("{")[0]
    return name.endswith(COUNTERS) and name != PAGES


def growth(before: Page, after: Page) -> dict[str, float] | None:
    """What the counters of one replica grew by; None where one fell: another process has begun to count."""
    grown = {series: after[series] - before[series] for series in after if series in before and is_counter(series)}
    return None if any(value < 0 for value in grown.values()) else grown


def _mean(values: Sequence[float]) -> float:
    """Of the finite ones; NaN without any."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
