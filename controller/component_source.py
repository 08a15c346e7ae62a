"""A component's metrics, told apart from those of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from controller.readings import SCRAPED_AT
from telemetry.collectors.scrape import ScrapeSource
from telemetry.collectors.source import series_key
from telemetry.series_catalogue import Family

SCRAPE_SECONDS = 0.5
"""Deadline of the scrapes, which run side by side: together they never take more than half of a period of a second."""


class ComponentSource:
    """Scrapes one component; each series gets the component's name as its last label.

    Args:
        name: of the component.
        url_of: its base URL now; None while there is no such component.
        clock: seconds, monotonic.
    """

    def __init__(self, name: str, url_of: Callable[[str], str | None], clock: Callable[[], float]) -> None:
        self.name = name
        self._url_of, self._clock = url_of, clock
        self._scrape: ScrapeSource | None = None
        self._begun: Future[dict[str, float]] | None = None

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
            SourceError: it does not answer, or not with metrics.
        """
        begun, self._begun = self._begun, None
        return self._read() if begun is None else begun.result()

    def _read(self) -> dict[str, float]:
        url = self._url_of(self.name)
        if url is None:
            return {}
        if self._scrape is None or self._scrape.url != f"{url}/metrics":
            labels = {"component": self.name}
            self._scrape = ScrapeSource(self.name, f"{url}/metrics", deadline=SCRAPE_SECONDS, labels=labels)
        return self._scrape.collect() | {series_key(SCRAPED_AT, component=self.name): self._clock()}
