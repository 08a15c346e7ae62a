"""Forecasts scored against what came true in the last week, and whose are shown: models come back by evidence alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from telemetry.forecast_ledger import OPINIONS, LedgerHour
from telemetry.forecast_record import MIN_RECORD_HOURS, MIN_RECORD_ISSUES, RECORD_HOURS
from telemetry.issues import DAY_HOURS, HOUR, TARGETS, Target

MODEL, LAST_GOOD, TABLE, PERSISTENCE = OPINIONS
RETURN_SKILL = 0.05
"""Skill with which a model comes back that was left at 0. Default 0.05: a week of pooled hours turns slowly, and what
is neither better nor worse than the baselines shall not come and go."""
SIMPLE_MARGIN = 0.95
"""Likewise between the two baselines: the other one is shown when its Brier score is that much smaller."""


@dataclass(frozen=True)
class Score:
    """Forecasts of one target that have come true in the last week, pooled over the metrics.

    Attributes:
        hours: in which any were settled.
        cells: forecasts; one metric, one hour.
        issues: how many of them came.
        brier: mean squared error by name: `model`, `table`, `persistence`, on the same cells.
    """

    hours: int
    cells: int
    issues: int
    brier: dict[str, float]

    @property
    def skill(self) -> float:
        """1 - Brier score by that of the better baseline; below 0 the model is worse. NaN where nothing is known."""
        best = min(self.brier.get(TABLE, np.nan), self.brier.get(PERSISTENCE, np.nan))
        return 1.0 - self.brier[MODEL] / best if best > 0.0 else float("nan")

    @property
    def judged(self) -> bool:
        """Whether there is enough for a verdict: a calm week tells nothing about who foretells issues."""
        varied = min(self.issues, self.cells - self.issues) >= MIN_RECORD_ISSUES
        return self.hours >= MIN_RECORD_HOURS and varied and np.isfinite(self.skill)


@dataclass(frozen=True)
class _Tally:
    """What one hour settled of one target: sums over metrics of squared errors, by version or baseline."""

    due: float
    acted: bool
    cells: int
    issues: int
    errors: dict[str, float]


class Scoreboard:
    """Settles forecasts hour by hour and chooses whose are shown; the same hours always lead to the same choice.

    A model is shown until its Brier score of the last week is worse than that of the better baseline; then the last
    good model, if it is not; then the better baseline. A model that was left comes back with a skill of
    `RETURN_SKILL`; a new one is believed at first. Forecasts on which the controller acted are scored apart and choose
    nobody: acting may have prevented the issue that they foretold.
    """

    def __init__(self) -> None:
        self.shown = {target.name: MODEL for target in TARGETS}
        self.newest = float("-inf")
        self.scored = {(target.name, acted): 0 for target in TARGETS for acted in (False, True)}
        self._versions = ("", "")
        self._hours: dict[float, LedgerHour] = {}
        self._acted: dict[float, set[str]] = {}
        self._tallies: dict[str, deque[_Tally]] = {target.name: deque() for target in TARGETS}
        self._left: set[tuple[str, str]] = set()  # (target, version)

    def take(self, hour: LedgerHour) -> list[str]:
        """Settle what is due at the end of this hour, choose, and keep what it says; older hours are ignored.

        Returns:
            One line for each target of which somebody else's forecasts are shown from now on.
        """
        if hour.end <= self.newest:
            return []
        self.newest = hour.end
        self._hours[hour.end] = hour
        self._versions = hour.versions if any(hour.versions) else self._versions
        for target in TARGETS:
            self._settle(target)
        changes = [change for target in TARGETS if (change := self._choose(target.name))]
        for end in [end for end in self._hours if end < hour.end - DAY_HOURS * HOUR]:
            del self._hours[end]
            self._acted.pop(end, None)
        return changes

    def act(self, end: float, names: tuple[str, ...]) -> None:
        """The controller acts on a forecast of these metrics in the hour from `end` on."""
        self._acted.setdefault(end, set()).update(names)

    def has_acted(self, end: float) -> set[str]:
        """The metrics of which `act` was told for that hour."""
        return self._acted.get(end, set())

    def good(self, version: str) -> bool:
        """Whether a version was judged for any target in the last week, and left for none."""
        scores = [self.score(target.name, version) for target in TARGETS]
        judged = any(score.judged and score.skill >= RETURN_SKILL for score in scores)
        return judged and not any((target.name, version) in self._left for target in TARGETS)

    def score(self, target: str, version: str | None = None, *, acted: bool = False) -> Score:
        """Of a target's forecasts of the last week by one version, by default the present model."""
        version = self._versions[0] if version is None else version
        tallies = [tally for tally in self._tallies[target] if tally.acted == acted and version in tally.errors]
        cells = sum(tally.cells for tally in tallies)
        brier = {
            name: sum(tally.errors[key] for tally in tallies) / cells if cells else float("nan")
            for name, key in ((MODEL, version), (TABLE, TABLE), (PERSISTENCE, PERSISTENCE))
        }
        return Score(len(tallies), cells, sum(tally.issues for tally in tallies), brier)

    def _settle(self, target: Target) -> None:
        tallies, due = self._tallies[target.name], self.newest
        while tallies and tallies[0].due <= due - RECORD_HOURS * HOUR:
            tallies.popleft()
        said = self._hours.get(due - target.lead * HOUR)
        if said is None or np.isnan(said.said).all():
            return
        for tally in self._tallied(target, said):
            tallies.append(tally)
            self.scored[target.name, tally.acted] += tally.cells

    def _tallied(self, target: Target, hour: LedgerHour) -> Iterator[_Tally]:
        said = hour.said[:, TARGETS.index(target)]  # (n, opinions)
        truth = self._truth(target, hour)  # (n,)
        names = [*hour.versions, TABLE, PERSISTENCE]
        spoke = [i for i in range(len(OPINIONS)) if names[i] and not np.isnan(said[:, i]).all()]
        known = ~np.isnan(truth) & ~np.isnan(said[:, spoke]).any(axis=1)
        begins = [hour.end + lead * HOUR for lead in range(target.lead)]
        touched = set().union(*(self.has_acted(begin) for begin in begins))
        acted = np.array([name in touched for name in hour.names], dtype=bool)
        squared = (said - truth[:, None]) ** 2
        for flag in (False, True):
            cells = known & (acted == flag)
            if cells.any():
                errors = {names[i]: float(squared[cells, i].sum()) for i in spoke}
                yield _Tally(self.newest, flag, int(cells.sum()), int(truth[cells].sum()), errors)

    def _truth(self, target: Target, hour: LedgerHour) -> np.ndarray:
        """(n,) 1.0, 0.0 or NaN, as `issues.labels` has it: one issue settles "within"."""
        first = 1 if target.within else target.lead
        over = np.full((target.lead - first + 1, len(hour.names)), np.nan)
        for row, lead in zip(over, range(first, target.lead + 1), strict=True):
            later = self._hours.get(hour.end + lead * HOUR)
            if later is not None:
                levels = later.levels_of(hour.names)
                row[:] = np.where(np.isnan(levels), np.nan, levels > hour.limits)
        any_issue, unknown = (over == 1.0).any(axis=0), np.isnan(over).any(axis=0)
        return np.where(any_issue, 1.0, np.where(unknown, np.nan, 0.0))

    def _choose(self, target: str) -> str | None:
        model, good = self._versions
        for version in filter(None, self._versions):
            self._judge(target, version)
        if (target, model) not in self._left:
            chosen = MODEL
        elif good and (target, good) not in self._left and self.score(target, good).judged:
            chosen = LAST_GOOD
        else:
            chosen = self._simple(target)
        former, self.shown[target] = self.shown[target], chosen
        if chosen == former:
            return None
        score = self.score(target)
        brier = ", ".join(f"{value:.4f} of {name}" for name, value in score.brier.items())
        return f"{target}: {chosen} instead of {former}; Brier score of {score.cells} forecasts in a week {brier}"

    def _judge(self, target: str, version: str) -> None:
        score, key = self.score(target, version), (target, version)
        if not score.judged:
            return
        if score.skill < 0.0:
            self._left.add(key)
        elif score.skill >= RETURN_SKILL:
            self._left.discard(key)

    def _simple(self, target: str) -> str:
        brier, now = self.score(target).brier, self.shown[target]
        if now in (TABLE, PERSISTENCE):
            other = PERSISTENCE if now == TABLE else TABLE
            return other if brier[other] < SIMPLE_MARGIN * brier[now] else now
        return TABLE if not brier[PERSISTENCE] < brier[TABLE] else PERSISTENCE
