"""Scores of probabilities, from histograms by series: whole bootstraps are then single matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 1000
"""Of probability. Thresholds lie on their edges, so that counts above them are exact; means err by less than 1/2000."""
RELIABILITY_BINS = 10
DRAWS = 400
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Tally:
    """How often each probability was given where the issue came, and where it stayed away, (series, BINS) each."""

    came: np.ndarray
    stayed_away: np.ndarray

    @staticmethod
    def of(probability: np.ndarray, truth: np.ndarray, group: np.ndarray, groups: int) -> Tally:
        """Count (N,) probabilities with their truth, each belonging to one of `groups` series; NaN is left out."""
        known = ~(np.isnan(probability) | np.isnan(truth))
        column = np.minimum((probability[known] * BINS).astype(int), BINS - 1)
        cell = group[known] * BINS + column
        came = truth[known] == 1.0
        counts = [np.bincount(cell[which], minlength=groups * BINS).reshape(groups, BINS) for which in (came, ~came)]
        return Tally(counts[0].astype(np.float64), counts[1].astype(np.float64))

    @staticmethod
    def nothing() -> Tally:
        """(1, BINS) of no forecast."""
        return Tally(np.zeros((1, BINS)), np.zeros((1, BINS)))

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.came + other.came, self.stayed_away + other.stayed_away)

    def total(self, weights: np.ndarray | None = None) -> Tally:
        """Sum over the series, (1, BINS), or weighted sums, (draws, BINS) for weights (draws, S)."""
        by = np.ones((1, len(self.came))) if weights is None else weights
        return Tally(by @ self.came, by @ self.stayed_away)

    def brier(self) -> np.ndarray:
        """Mean squared error of the probability, one a row; NaN without forecasts."""
        centre = (np.arange(BINS) + 0.5) / BINS
        error = self.came @ (1.0 - centre) ** 2 + self.stayed_away @ centre**2
        return _ratio(error, self.count())

    def count(self) -> np.ndarray:
        """Forecasts, one a row."""
        return np.asarray(self.came.sum(axis=1) + self.stayed_away.sum(axis=1))

    def auroc(self) -> np.ndarray:
        """Chance that an hour with issue got a higher probability than one without, one a row."""
        below = np.cumsum(self.stayed_away, axis=1) - self.stayed_away / 2.0
        return _ratio((self.came * below).sum(axis=1), self.came.sum(axis=1) * self.stayed_away.sum(axis=1))

    def reliability(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean probability, observed frequency and number of forecasts, (rows, RELIABILITY_BINS) each."""
        centre = (np.arange(BINS) + 0.5) / BINS
        both = self.came + self.stayed_away
        given, came, count = (
            part.reshape(len(part), RELIABILITY_BINS, -1).sum(axis=2) for part in (both * centre, self.came, both)
        )
        return _ratio(given, count), _ratio(came, count), count

    def calibration_error(self) -> np.ndarray:
        """Expected calibration error: mean distance of probability and frequency over the bins, one a row."""
        given, came, count = self.reliability()
        return _ratio((np.nan_to_num(np.abs(given - came)) * count).sum(axis=1), count.sum(axis=1))


@dataclass(frozen=True, eq=False)
class Alarms:
    """Counts of hours by series, (S,) each; or sums of them, (draws,) each.

    Attributes:
        hits: hours with issue that were announced.
        came: hours with issue.
        false: hours without issue, announced, and no issue beside them where that is tolerated.
        stayed_away: hours without issue.
        right: alarms that came true.
        given: alarms.
    """

    hits: np.ndarray
    came: np.ndarray
    false: np.ndarray
    stayed_away: np.ndarray
    right: np.ndarray
    given: np.ndarray

    def total(self, weights: np.ndarray) -> Alarms:
        """Weighted sums for weights (draws, S)."""
        return Alarms(*(weights @ part for part in vars(self).values()))

    def scores(self) -> dict[str, np.ndarray]:
        """Balanced accuracy, precision, recall, accuracy, and how much of the time is alarmed; NaN where undefined."""
        recall, miss = _ratio(self.hits, self.came), _ratio(self.false, self.stayed_away)
        hours = self.came + self.stayed_away
        return {
            "balanced_accuracy": (recall + 1.0 - miss) / 2.0,
            "precision": _ratio(self.right, self.given),
            "recall": recall,
            "accuracy": _ratio(self.hits + self.stayed_away - self.false, hours),
            "always_no_accuracy": _ratio(self.stayed_away, hours),
            "alarm_share": _ratio(self.given, hours),
        }


def best_balanced_accuracy_of(tally: Tally) -> float:
    """The highest that any threshold reaches on a (1, BINS) tally, in hindsight: for ceilings only."""
    hits, calm = _hits_and_calm(tally)
    return float(np.max(hits + calm) / 2.0)


def best_threshold(tally: Tally) -> float:
    """Threshold with the highest balanced accuracy of a (1, BINS) tally; for the calibration slice only."""
    hits, calm = _hits_and_calm(tally)
    return float(np.argmax(hits + calm)) / BINS


def _hits_and_calm(tally: Tally) -> tuple[np.ndarray, np.ndarray]:
    """Share of issues that are announced and of other hours that are not, (BINS,) each, by threshold."""
    hits = np.cumsum(tally.came[0, ::-1])[::-1] / max(tally.came.sum(), 1.0)
    calm = 1.0 - np.cumsum(tally.stayed_away[0, ::-1])[::-1] / max(tally.stayed_away.sum(), 1.0)
    return hits, calm


def confident_threshold(tally: Tally, precision: float = 0.95, *, least_alarms: int = 100) -> float | None:
    """Lowest threshold whose alarms came true that often, of a (1, BINS) tally; None where none did.

    Args:
        tally: of the calibration slice.
        precision: share of alarms that must come true.
        least_alarms: fewer prove nothing.
    """
    hits, false = (np.cumsum(part[0, ::-1])[::-1] for part in (tally.came, tally.stayed_away))
    good = (hits >= precision * (hits + false)) & (hits + false >= least_alarms)
    return float(np.argmax(good)) / BINS if good.any() else None


def resampled(groups: int, seed: int = 0) -> np.ndarray:
    """Weights of a bootstrap over series, (DRAWS, groups)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(groups, np.full(groups, 1.0 / groups), size=DRAWS).astype(np.float64)


def interval(draws: np.ndarray) -> list[float]:
    """[low, high] at `LEVEL` of resampled values; NaN where nothing could be computed."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return [float("nan"), float("nan")]
    return [float(q) for q in np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
