"""Guards: is this reading valid, is this observation like those of training, has a score moved for good?"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FIT_SHARE = 0.7
"""Of the observations, from the beginning; the threshold is set on the rest, which the covariance has not seen."""
SHRINKAGE = 0.05
"""Weight of the diagonal in the covariance. Default: invertible with few observations, and correlations still count."""
QUANTILE = 0.999
STALE_PERIODS = 2.0
SMALLEST_DEVIATION = 1e-6


class GuardError(ValueError):
    """Observations or stored numbers that make no guard; one line."""


@dataclass(frozen=True, eq=False)
class Guard:
    """Mahalanobis distance to the observations of training: sees a joint law that is broken, not only single values.

    A constant dimension counts too: any move of it is far away.

    Attributes:
        mean: (d,).
        whitening: (d, d), lower triangular; distance = |whitening @ (x - mean)| / sqrt(d).
        threshold: distance that `QUANTILE` of unseen observations of training stay below.
    """

    mean: np.ndarray
    whitening: np.ndarray
    threshold: float

    @staticmethod
    def fit(observations: np.ndarray) -> Guard:
        """From (N, d) observations in order of time.

        Raises:
            GuardError: fewer than 2 d + 10 of them, or some not finite.
        """
        count, size = observations.shape
        if count < 2 * size + 10 or not np.isfinite(observations).all():
            raise GuardError(f"{count} observations of {size} values; needed are {2 * size + 10} or more, all finite")
        first = int(count * FIT_SHARE)
        mean = observations[:first].mean(axis=0)
        covariance = np.atleast_2d(np.cov(observations[:first].T))
        variances = np.maximum(np.diag(covariance), SMALLEST_DEVIATION**2)
        shrunk = (1.0 - SHRINKAGE) * covariance
        shrunk[np.diag_indices(size)] = variances
        whitening = np.linalg.inv(np.linalg.cholesky(shrunk))
        unlimited = Guard(mean, whitening, np.inf)
        return Guard(mean, whitening, float(np.quantile(unlimited.distance(observations[first:]), QUANTILE)))

    def distance(self, observation: np.ndarray) -> np.ndarray:
        """(...) distance of observations (..., d); about 1 for those of training, NaN where one is not finite."""
        return np.asarray(
            np.linalg.norm((observation - self.mean) @ self.whitening.T, axis=-1) / np.sqrt(len(self.mean))
        )

    def is_strange(self, observation: np.ndarray) -> np.ndarray:
        """(...) bool; what is not finite is strange."""
        return ~(self.distance(observation) <= self.threshold)

    def to_json(self) -> dict[str, Any]:
        """Numbers for the policy artifact."""
        return {"mean": self.mean.tolist(), "whitening": self.whitening.tolist(), "threshold": self.threshold}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Guard:
        """The guard of an artifact.

        Raises:
            GuardError: not what `to_json` writes.
        """
        try:
            guard = Guard(
                np.array(stored["mean"], float), np.array(stored["whitening"], float), float(stored["threshold"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GuardError(f"stored guard is damaged ({error}); train the policy anew") from None
        size = len(guard.mean)
        if guard.whitening.shape != (size, size) or not np.isfinite(guard.whitening).all():
            raise GuardError(f"stored guard: whitening of shape {guard.whitening.shape}; needed is ({size}, {size})")
        return guard


class KOfN:
    """Whether at least k of the last n were alarms: one strange reading in ten minutes is noise."""

    def __init__(self, k: int = 3, n: int = 5) -> None:
        if not 1 <= k <= n:
            raise GuardError(f"{k} of {n}; k must lie between 1 and n")
        self.k, self._last = k, deque[bool](maxlen=n)

    def update(self, alarm: bool) -> bool:
        """Take in one verdict; whether to act."""
        self._last.append(bool(alarm))
        return sum(self._last) >= self.k


class PageHinkley:
    """Whether the mean of a score has risen for good, with the values measured to give few false alarms.

    Meant for a handful of aggregate scores (distance of the guard, error of the forecast), each divided by its usual
    deviation; on raw metrics the daily season alone is an alarm.

    Args:
        threshold: sum of excesses at which it speaks, in deviations. 200: 0.12 alarms a day on 5-minute metrics.
        allowance: rise that is tolerated, in deviations.
        at_least: values before it may speak.
    """

    def __init__(self, threshold: float = 200.0, allowance: float = 0.25, at_least: int = 288) -> None:
        self.threshold, self.allowance, self.at_least = threshold, allowance, at_least
        self.reset()

    def reset(self) -> None:
        """Forget everything, e.g. after retraining."""
        self._count, self._mean, self._sum, self._lowest = 0, 0.0, 0.0, 0.0

    def update(self, score: float) -> bool:
        """Take in one score, NaN is left out; whether the rise is established."""
        if not np.isfinite(score):
            return False
        self._count += 1
        self._mean += (score - self._mean) / self._count
        self._sum += score - self._mean - self.allowance
        self._lowest = min(self._lowest, self._sum)
        return self._count >= self.at_least and self._sum - self._lowest > self.threshold


def reading_faults(
    values: np.ndarray, bounds: tuple[float, float], age_periods: float, moves: bool = True
) -> list[str]:
    """What is wrong with the newest of some readings, in words; empty when nothing is.

    Args:
        values: (n,) readings of one metric, newest last.
        bounds: lowest and highest physical value.
        age_periods: age of the newest, in control periods.
        moves: whether it never stood still for n readings in training; else a stuck sensor cannot be told.
    """
    newest, (low, high) = float(values[-1]), bounds
    faults = []
    if not np.isfinite(newest):
        faults.append("missing")
    elif not low <= newest <= high:
        faults.append(f"{newest:g} is outside [{low:g}, {high:g}]")
    if age_periods > STALE_PERIODS:
        faults.append(f"{age_periods:g} periods old; allowed are {STALE_PERIODS:g}")
    if moves and len(values) > 1 and np.isfinite(values).all() and np.ptp(values) == 0.0:
        faults.append(f"stuck at {newest:g} for {len(values)} readings")
    return faults
