"""A component's metrics, told apart from those of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from controller.readings import SCRAPED_AT
from telemetry.collectors.scrape import ScrapeSource
from telemetry.collectors.source import SourceError, series_key
from telemetry.series_catalogue import Family

PAGES = "exposition_pages_total"
"""Series in which a component numbers its pages: one that comes twice is old, whoever keeps it."""
WRITTEN_AT = "exposition_written_seconds"
"""Series that tells when the page was written, on the component's monotonic clock."""
STALE_SECONDS = 3.0
"""A page that is older than this is no reading. Default: three control periods of one second."""
SCRAPE_SECONDS = 0.5
"""Deadline of the scrapes, which run side by side: together they never take more than half of a period of a second."""


class Freshness:
    """Whether the pages of one component are new.

    Clocks of two hosts differ, so that age is what a page is older than the freshest one that was seen, by the
    difference of the clocks then. A page without number and time cannot be told to be old.
    """

    def __init__(self) -> None:
        self._pages, self._offset = float("nan"), float("inf")

    def fault(self, page: Mapping[str, float], now: float) -> str:
        """Why a page is no reading, in words; empty where it is one.

        Args:
            page: series -> value, as the component named them.
            now: seconds on our clock.
        """
        pages, written = page.get(PAGES, float("nan")), page.get(WRITTEN_AT, float("nan"))
        if pages == self._pages:
            return f"page {pages:.0f} came again"
        if pages < self._pages:
            self._offset = float("inf")  # another process, and perhaps another clock
        self._pages = pages
        if not math.isfinite(written):
            return ""
        self._offset = min(self._offset, now - written)
        age = now - written - self._offset
        return f"the page is {age:.1f} s old" if age > STALE_SECONDS else ""


class ComponentSource:
    """Scrapes one component; each series gets the component's name as its last label.

    Args:
        name: of the component.
        url_of: its base URL now; None while there is no such component.
        clock: seconds, monotonic.
        label: component that the series are of, where it is not `name`: a replica's are those of the whole.
    """

    def __init__(
        self, name: str, url_of: Callable[[str], str | None], clock: Callable[[], float], label: str = ""
    ) -> None:
        self.name, self.label = name, label or name
        self._url_of, self._clock = url_of, clock
        self._scrape: ScrapeSource | None = None
        self._begun: Future[dict[str, float]] | None = None
        self._freshness = Freshness()

    @property
    def families(self) -> Mapping[str, Family]:
        """Kind and help of the component's metrics, as it told them."""
        return {} if self._scrape is None else self._scrape.families

    def begin(self, pool: ThreadPoolExecutor) -> None:
        """Start scraping in the background, for `collect` to wait for."""
        self._begun = pool.submit(self._read)

    def collect(self) -> dict[str, float]:
        """Current values; empty while there is no such component.

        Raises:
            SourceError: it does not answer, or not with metrics, or with an old page.
        """
        begun, self._begun = self._begun, None
        return self._read() if begun is None else begun.result()

    def _read(self) -> dict[str, float]:
        url = self._url_of(self.name)
        if url is None:
            return {}
        if self._scrape is None or self._scrape.url != f"{url}/metrics":
            labels = {"component": self.label}
            self._scrape = ScrapeSource(self.name, f"{url}/metrics", deadline=SCRAPE_SECONDS, labels=labels)
            self._freshness = Freshness()
        found, now = self._scrape.collect(), self._clock()
        own = {
            name: found[key] for name in (PAGES, WRITTEN_AT) if (key := series_key(name, component=self.label)) in found
        }
        fault = self._freshness.fault(own, now)
        if fault:
            raise SourceError(f"{self._scrape.url}: {fault}")
        return found | {series_key(SCRAPED_AT, component=self.label): now}
