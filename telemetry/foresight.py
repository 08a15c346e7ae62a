"""The next day of a watched metric: probabilities of issues, the levels ahead, and how far both can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from telemetry.climatology import past_of
from telemetry.forecast import MIN_MODEL_HOURS, VALID_SECONDS, Forecaster, table_probabilities
from telemetry.forecast_baselines import PERSISTENCE_AND_SEASON, baselines
from telemetry.forecast_record import RECORD_HOURS, blended, brier_skill, predictable
from telemetry.issues import DAY_HOURS, TARGETS, issues, labels
from telemetry.leak_trend import TimeToLimit, time_to_limit
from telemetry.trajectory import Trajectory, trajectory

CONFIDENT = 0.95
"""Probability from which a forecast is an alarm where the card has no threshold, which is measured and often lower."""
MODEL, TABLE, NOTHING = "model", "table", "too little history"
PERSISTENCE = "persistence"
"""Frequencies by the state now and yesterday's then."""


@dataclass(frozen=True)
class Chance:
    """One target of one metric.

    Attributes:
        probability: of an issue, as shown; NaN where less than a day is known.
        table: what the hour-of-day table says.
        source: `model`, or `table` for a young metric, one on which the model lost to the table in the last week, and
            one that is not predictable; also `persistence` where the service fell back to it.
        predictable: skill above 0.1 in the last week; None where that cannot be told, as with no issues in it.
        skill: of what is shown, see `brier_skill`.
        alarm: whether the model is confident: above the threshold of its card, above which 95 of 100 came true, or
            `CONFIDENT` where it has none.
        persistence: what the state now and yesterday's then say.
    """

    probability: float
    table: float
    source: str
    predictable: bool | None
    skill: float
    alarm: bool = False
    persistence: float = float("nan")


@dataclass(frozen=True, eq=False)
class Foresight:
    """What is foretold of one metric.

    Attributes:
        metric: its name.
        limit: over which it has an issue, in its unit; under which, where it is mirrored.
        now: newest level that is known.
        made_at: end of the newest hour, seconds.
        chances: by target.
        levels: of the next 24 hours.
        until_limit: where it grows steadily towards the limit; falls, where it is mirrored.
        mirrored: whether low levels are the issue.
    """

    metric: str
    limit: float
    now: float
    made_at: float
    chances: dict[str, Chance]
    levels: Trajectory
    until_limit: TimeToLimit | None
    mirrored: bool = False

    @property
    def expires_at(self) -> float:
        """Time from which it must not be used any more, seconds."""
        return self.made_at + VALID_SECONDS

    def to_json(self) -> dict[str, Any]:
        """For programs; NaN where nothing is known."""
        return {
            "metric": self.metric, "limit": self.limit, "now": self.now, "made_at": self.made_at,
            "expires_at": self.expires_at, "mirrored": self.mirrored,
            "horizons": {name: vars(chance) for name, chance in self.chances.items()},
            "levels": {name: part.tolist() for name, part in vars(self.levels).items()},
            "until_limit": vars(self.until_limit) if self.until_limit else None,
        }  # fmt: skip

    def unmirrored(self) -> Foresight:
        """What was foretold of the negated levels of a metric, in its own unit."""
        drawn = Trajectory(-self.levels.expected, -self.levels.high, -self.levels.low)
        until = self.until_limit and replace(self.until_limit, slope_per_hour=-self.until_limit.slope_per_hour)
        return replace(self, limit=-self.limit, now=-self.now, levels=drawn, until_limit=until, mirrored=True)

    def fallen_back(self, sources: Mapping[str, str]) -> Foresight:
        """The same with `TABLE` or `PERSISTENCE` instead of the model, for the targets that are named in `sources`."""
        chances = {name: _replaced(chance, sources.get(name)) for name, chance in self.chances.items()}
        return replace(self, chances=chances)


def foresee(metric: str, levels: np.ndarray, limit: float, made_at: float, forecaster: Forecaster) -> Foresight:
    """Foretell one metric; its last week is foretold again, hour by hour, to know how far to trust what is said now.

    Args:
        metric: its name.
        levels: (H,) hourly, see `hourly_levels`; the newest last, NaN where unknown, at least one.
        limit: in the metric's unit.
        made_at: end of the newest hour, seconds.
        forecaster: may be without models; the table then speaks alone.
    """
    newest = len(levels) - 1
    origins = np.arange(max(newest - RECORD_HOURS - DAY_HOURS + 1, 0), newest + 1)
    past, limits = past_of(levels, origins), np.full(len(origins), limit)
    model, table = forecaster.probabilities(past, limits), table_probabilities(past, limits)
    issue = issues(levels, limit)
    grown = bool(forecaster.models) and int(np.count_nonzero(~np.isnan(levels))) >= MIN_MODEL_HOURS
    chances = {}
    for target in TARGETS:
        cells = baselines(issue, target, int(max(origins[0], newest // 2)), origins)[PERSISTENCE_AND_SEASON]
        truth = labels(issue, target)[origins]
        said = blended(np.stack([model[target.name], table[target.name], cells]), truth, target)
        confident = forecaster.card.get("thresholds", {}).get(target.name, {}).get("confident") or CONFIDENT
        chance = _chance(said, table[target.name], truth, confident, grown=grown)
        if chance.source != NOTHING:
            chance = replace(chance, persistence=float(cells[-1]))
        chances[target.name] = chance
    finite = levels[~np.isnan(levels)]
    now = float(finite[-1]) if len(finite) else float("nan")
    return Foresight(metric, limit, now, made_at, chances, trajectory(levels), time_to_limit(levels, limit))


def _chance(said: np.ndarray, table: np.ndarray, truth: np.ndarray, confident: float, *, grown: bool) -> Chance:
    known = ~np.isnan(truth) & ~np.isnan(table)
    lost = bool(known.any()) and _error(said[known], truth[known]) > _error(table[known], truth[known])
    shown = table if lost or not grown else said
    if np.isnan(table[-1]):
        return Chance(float("nan"), float("nan"), NOTHING, None, float("nan"))
    can_tell = predictable(shown, truth)
    if can_tell is False:
        shown = table
    source = MODEL if shown is said else TABLE
    alarm = source == MODEL and bool(shown[-1] >= confident)
    return Chance(float(shown[-1]), float(table[-1]), source, can_tell, brier_skill(shown, truth), alarm)


def _replaced(chance: Chance, source: str | None) -> Chance:
    if source not in (TABLE, PERSISTENCE) or chance.source == NOTHING:
        return chance
    probability = chance.table if source == TABLE else chance.persistence
    return replace(chance, probability=probability, source=source, alarm=False)


def _error(probability: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean((probability - truth) ** 2))
