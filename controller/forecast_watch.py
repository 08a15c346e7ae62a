"""The forecasting service: foretells again and again, keeps what it said, and shows whose forecasts came true."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from controller.commands import STATUS, CommandError, status, write_atomically
from controller.forecast_figures import RoundFigures, figures_text
from controller.prescale import ALARM_WITHIN, PrescaleConfig
from telemetry.forecast_ledger import OPINIONS, Acted, Ledger, LedgerHour
from telemetry.forecast_scores import LAST_GOOD, Scoreboard
from telemetry.forecast_versions import Versions
from telemetry.foresight import Foresight, foresee
from telemetry.issues import DAY_HOURS, HOUR, TARGETS, IssueError
from telemetry.options import finite
from telemetry.query import QueryError
from telemetry.store_files import StoreError
from telemetry.trace import TraceError
from telemetry.watched import Watched
from telemetry.watched_limits import LimitError

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 120.0
"""After each multiple of the period: a store writes its last minute once that is over, and reading takes a moment."""
SHORTEST_SECONDS, LONGEST_SECONDS = 60.0, HOUR
"""Of the period: a forecast expires two hours after the newest hour that it knows, and one may fail."""


class WatchError(ValueError):
    """A service that cannot be started; one line."""


class Stopped(RuntimeError):
    """The service was stopped in the middle of a round; the last forecast stays until it expires."""


class Source(Protocol):
    """Reads the watched series as they are now."""

    def __call__(self, *, sliding: bool) -> list[Watched]: ...


@dataclass(frozen=True)
class WatchConfig:
    """How often, and where to.

    Attributes:
        out: JSON of the newest forecast; the ledger (.jsonl), the figures (.prom) and the last good model (.good) stand
            beside it.
        every: seconds between two forecasts. Default: an hour. With less, the newest hour is the last 60 minutes, not
            the last whole hour of the clock; scored are those of whole hours in any case.
        alarm: probability of an issue within the hour on which a controller in mode `act` acts, by its default.
    """

    out: Path
    every: float = HOUR
    alarm: float = PrescaleConfig.alarm

    def __post_init__(self) -> None:
        if not SHORTEST_SECONDS <= self.every <= LONGEST_SECONDS:
            raise WatchError(
                f"every {self.every:g} s; allowed are {SHORTEST_SECONDS:g} to {LONGEST_SECONDS:g} s, since a forecast "
                "expires two hours after the newest hour that it knows"
            )


class Foretold(NamedTuple):
    """One metric: what was read, and what both models make of it."""

    watched: Watched
    limit: float
    model: Foresight
    good: Foresight | None


class ForecastWatch:
    """Makes forecasts, round by round.

    Args:
        config: how often, and where to.
        source: reads the series.
        limit_of: limit of a series, negated where it is mirrored.
        versions: of the model.
        clock: seconds since 1970.

    Raises:
        LedgerError: another service writes to the same place.
        OSError: the disk refuses.
    """

    def __init__(
        self,
        config: WatchConfig,
        source: Source,
        limit_of: Callable[[Watched], float],
        versions: Versions,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config, self.versions, self.board = config, versions, Scoreboard()
        self._source, self._limit_of, self._clock = source, limit_of, clock
        self._figures, self._failing = RoundFigures(), False
        self._stop = threading.Event()
        self._ledger = Ledger(config.out.with_suffix(".jsonl"))
        for line in self._ledger.lines():
            if isinstance(line, Acted):
                self.board.act(line.end, line.names)
            else:
                self.board.take(line)

    def run(self, stop: threading.Event) -> None:
        """Foretell now and after each period, until `stop` is set; a round that fails is tried again in the next."""
        self._stop = stop
        try:
            while not stop.is_set():
                self.try_round()
                stop.wait(self.until_next())
        except Stopped:
            logger.debug("stopped in the middle of a round")
        finally:
            self.close()

    def until_next(self) -> float:
        """Seconds until the next round: `SETTLE_SECONDS` after a multiple of the period."""
        every = self.config.every
        return every - (self._clock() - SETTLE_SECONDS) % every

    def close(self) -> None:
        """Say in the figures that the service is gone, and unlock the ledger."""
        self._figures.up = False
        self._write_figures()
        self._ledger.close()

    def try_round(self) -> bool:
        """One round; failing is logged when it begins and when it ends, and the last forecast stays until it expires.

        Returns:
            Whether a forecast was written.
        """
        begun = self._clock()
        try:
            self.round()
        except (StoreError, QueryError, TraceError, IssueError, LimitError, OSError) as error:
            self._figures.failed += 1
            if not self._failing:
                logger.warning("no forecast, trying again in %.0f s: %s", self.until_next(), error)
            self._failing = True
        else:
            if self._failing:
                logger.warning("forecasts work again")
            self._failing = False
        self._figures.seconds = self._clock() - begun
        self._write_figures()
        return not self._failing

    def round(self) -> list[Foresight]:
        """Foretell, write the forecast, and, in the first round of an hour, score what came true.

        Raises:
            StoreError: the store is empty or unreadable; QueryError, TraceError likewise.
            IssueError: no series has a whole hour yet.
            LimitError: a limit of a series that is not there.
            OSError: the disk refuses.
            Stopped: the service is to end.
        """
        self.versions.refresh()
        sliding, found = self.config.every < HOUR, None
        if not sliding or self._clock() >= self.board.newest + HOUR:
            found = self._hour()
        if sliding or found is None:
            found = self._foretold(self._read(sliding=sliding), twice=LAST_GOOD in self.board.shown.values())
        shown = [self._shown(one) for one in found]
        self._note_acting(shown)
        self._write(shown)
        return shown

    def _hour(self) -> list[Foretold] | None:
        """Foretell at the end of the newest whole hour, and score; None where that was done."""
        watched = self._read(sliding=False)
        newest = max(one.end for one in watched)
        if newest <= self.board.newest:
            return None
        found = self._foretold([one for one in watched if one.end == newest], twice=True)
        first = max(self.board.newest + HOUR, newest - DAY_HOURS * HOUR)
        missed = np.arange(first, newest, HOUR).tolist() if np.isfinite(self.board.newest) else []
        for end in (*missed, newest):
            hour = _ledger_hour(end, found, self.versions.ids, said=end == newest)
            self._ledger.append(hour)
            for change in self.board.take(hour):
                logger.warning("forecast %s", change)
        if self.board.good(self.versions.ids[0]):
            self.versions.keep()
        return found

    def _read(self, *, sliding: bool) -> list[Watched]:
        """Series with a level, none of whose hours lies in the future."""
        now = self._clock()
        past = [_until(one, now) for one in self._source(sliding=sliding)]
        known = [one for one in past if np.isfinite(one.levels).any()]
        if not known:
            raise IssueError("no series covers most of a whole hour of the clock yet")
        return known

    def _foretold(self, watched: Sequence[Watched], *, twice: bool) -> list[Foretold]:
        good = self.versions.good if twice and self.versions.ids[1] else None
        found = []
        for one in watched:
            if self._stop.is_set():  # 1,000 metrics take half a minute
                raise Stopped("stopped in the middle of a round")
            limit = self._limit_of(one)
            given = (one.name, one.levels, limit, one.end)
            found.append(
                Foretold(one, limit, foresee(*given, self.versions.model), foresee(*given, good) if good else None)
            )
        return found

    def _shown(self, one: Foretold) -> Foresight:
        """What is shown of a metric: by target the model, the last good one, or a baseline."""
        shown = self.board.shown
        good = one.good or one.model
        chances = {name: (good if shown[name] == LAST_GOOD else one.model).chances[name] for name in one.model.chances}
        found = replace(one.model, chances=chances).fallen_back(shown)
        return found.unmirrored() if one.watched.mirrored else found

    def _note_acting(self, shown: Sequence[Foresight]) -> None:
        """Keep for which metrics a controller acts on the forecast: what comes then is not what would have come."""
        if not self._acting():
            return
        end = self.board.newest
        alarmed = {one.metric for one in shown if one.chances[ALARM_WITHIN].probability >= self.config.alarm}
        new = tuple(sorted(alarmed - self.board.has_acted(end)))
        if new and np.isfinite(end):
            self._ledger.append(Acted(end, new))
            self.board.act(end, new)

    def _acting(self) -> bool:
        folder = self.config.out.parent
        if not (folder / STATUS).exists():
            return False
        try:
            found = status(folder)
        except CommandError:
            return False
        held = found.get("killed") or found.get("paused")
        return bool(found["running"] and found.get("mode") == "act" and not held)

    def _write(self, shown: Sequence[Foresight]) -> None:
        self._figures.made_at = max(one.made_at for one in shown)
        self._figures.expires_at = max(one.expires_at for one in shown)
        self._figures.metrics = len(shown)
        content = {
            "made_at": self._figures.made_at,
            "expires_at": self._figures.expires_at,
            "shown": self.board.shown,
            "metrics": [one.to_json() for one in shown],
        }
        write_atomically(self.config.out, json.dumps(finite(content), allow_nan=False))

    def _write_figures(self) -> None:
        try:
            write_atomically(self.config.out.with_suffix(".prom"), figures_text(self._figures, self.board))
        except OSError as error:
            logger.debug("cannot write the figures: %s", error)


def _until(one: Watched, now: float) -> Watched:
    """Without a newest hour that is not over, as when a period of the store is summarized before its end."""
    if one.end <= now or not len(one.levels):
        return one
    return replace(one, levels=one.levels[:-1], end=one.end - HOUR)


def _ledger_hour(end: float, found: Sequence[Foretold], versions: tuple[str, str], *, said: bool) -> LedgerHour:
    """What is kept of an hour; of one that was missed, the levels alone."""
    opinions = np.full((len(found), len(TARGETS), len(OPINIONS)), np.nan)
    levels = np.full(len(found), np.nan)
    for i, one in enumerate(found):
        before = round((one.watched.end - end) / HOUR)
        if before < len(one.watched.levels):
            levels[i] = one.watched.levels[-1 - before]
        if said:
            opinions[i] = _opinions(one)
    limits = np.array([one.limit for one in found])
    return LedgerHour(end, tuple(one.watched.name for one in found), levels, limits, opinions, versions)


def _opinions(one: Foretold) -> np.ndarray:
    """(targets, opinions), in the order of `OPINIONS`."""
    rows = []
    for target in TARGETS:
        chance = one.model.chances[target.name]
        good = one.good.chances[target.name].probability if one.good else float("nan")
        rows.append([chance.probability, good, chance.table, chance.persistence])
    return np.array(rows)
