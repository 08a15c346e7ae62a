"""The hours ahead as levels: the hour-of-day mean, approached from where the metric is now, with conformal bands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from telemetry.climatology import PAST_HOURS, past_of, same_hours
from telemetry.conformal import MATURED, error_band
from telemetry.issues import DAY_HOURS, Target

LEADS = tuple(range(1, DAY_HOURS + 1))
LARGEST_MEMORY = 0.98
"""Of a deviation, per hour. Default: half of it is left after a day and a half; 1 would never return to the season."""
COVERAGE = 0.8


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Expected levels of one metric, (24,) each, for the hours 1 .. 24 ahead; low and high are NaN while unknown."""

    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray


def expected_levels(past: np.ndarray, leads: tuple[int, ...] = LEADS) -> np.ndarray:
    """(N, leads): the mean of the same hour on the last days, plus what is left of today's deviation from it.

    Args:
        past: (N, PAST_HOURS) levels, newest first.
        leads: hours ahead, 1 .. 24.
    """
    season = np.stack([_mean(same_hours(past, Target("", lead))) for lead in (0, *leads)], axis=1)  # (N, 1 + leads)
    deviation = np.nan_to_num(past[:, 0] - season[:, 0])
    left = _memory(past)[:, None] ** np.array(leads)
    return season[:, 1:] + deviation[:, None] * left


def trajectory(levels: np.ndarray, coverage: float = COVERAGE) -> Trajectory:
    """The next day of one metric, with bands from its own errors of the last week.

    Args:
        levels: (H,) hourly, up to now.
        coverage: of the bands, in (0, 1).
    """
    newest = len(levels) - 1
    origins = np.arange(max(newest - MATURED - DAY_HOURS + 1, 0), newest + 1)
    forecasts = expected_levels(past_of(levels, origins))  # (n, 24)
    low, high = matured_bands(levels, origins, forecasts, coverage)
    return Trajectory(forecasts[-1], forecasts[-1] + low, forecasts[-1] + high)


def matured_bands(
    levels: np.ndarray, origins: np.ndarray, forecasts: np.ndarray, coverage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest error, (24,) each, of the forecasts that have come true by the last of the origins."""
    times = origins[:, None] + np.array(LEADS)
    truth = np.where(times < len(levels), levels[np.minimum(times, len(levels) - 1)], np.nan)
    return error_band((truth - forecasts).T, coverage)


def _memory(past: np.ndarray) -> np.ndarray:
    """(N,) correlation of deviations from the hour-of-day mean with those an hour before, in [0, LARGEST_MEMORY]."""
    days = past[:, : PAST_HOURS - 1].reshape(len(past), -1, DAY_HOURS)
    known = ~np.isnan(days)
    profile = np.where(known, days, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)  # (N, 24)
    deviation = np.nan_to_num(days - profile[:, None, :]).reshape(len(past), -1)
    variance = (deviation**2).sum(axis=1)
    together = (deviation[:, 1:] * deviation[:, :-1]).sum(axis=1)
    return np.clip(np.divide(together, variance, out=np.zeros(len(past)), where=variance > 0), 0.0, LARGEST_MEMORY)


def _mean(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.divide(total, known.sum(axis=1), out=np.full(len(values), np.nan), where=known.any(axis=1))
