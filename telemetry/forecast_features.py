"""What the forecaster sees of a metric's past. Past goes in and nothing else, so no feature can know the future.

All levels are relative to the limit, in standard deviations of the metric's own past: one model serves every metric.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from telemetry.climatology import DAYS, issue_frequency, same_hours
from telemetry.issues import DAY_HOURS, Target

LAGS = (0, 1, 2, 3, 5, 11)
MEANS = (6, 24, 168)
WEEK = 168
COMMON = (
    *(f"level_{lag}h_ago" for lag in LAGS),
    *(f"mean_{hours}h" for hours in MEANS),
    *(f"max_{hours}h" for hours in MEANS),
    "min_24h", "deviation_24h", "mean_all", "change_6h", "change_day",
    "issues_6h", "issues_24h", "issues_168h", "issues_all", "hours_since_issue", "hours_in_issue",
    "seasonal_skill", "persistence_skill", "known_share",
)  # fmt: skip
OF_TARGET = (
    "day_1", "day_2", "day_3", "day_7", "hour_before", "hour_after",
    "mean_7_days", "mean_14_days", "deviation_14_days", "max_14_days", "frequency_7_days", "frequency_14_days",
    "frequency_of_neighbours", "season_and_now", "yesterday_and_now",
)  # fmt: skip
NAMES = COMMON + OF_TARGET


def common_features(past: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """What is the same for every target.

    Args:
        past: (N, PAST_HOURS) levels, newest first.
        limit: (N,) in the metric's unit.

    Returns:
        (N, len(COMMON)); NaN where not known.
    """
    z = scaled(past, limit)
    over = np.where(np.isnan(z), np.nan, (z > 0.0).astype(np.float64))
    columns = [z[:, lag] for lag in LAGS]
    columns += [_mean(z[:, :hours]) for hours in MEANS]
    columns += [np.fmax.reduce(z[:, :hours], axis=1) for hours in MEANS]
    columns += [np.fmin.reduce(z[:, :24], axis=1), _deviation(z[:, :24]), _mean(z)]
    columns += [z[:, 0] - _mean(z[:, 1:7]), _mean(z[:, :24]) - _mean(z[:, 24:48])]
    columns += [_mean(over[:, :hours]) for hours in MEANS] + [_mean(over)]
    columns += [_first(over == 1.0), _first(over != 1.0)]
    columns += [_skill(z, DAY_HOURS), _skill(z, 1), np.mean(~np.isnan(z), axis=1)]
    return np.stack(columns, axis=1)


def target_features(past: np.ndarray, limit: np.ndarray, target: Target) -> np.ndarray:
    """What belongs to one target, (N, len(OF_TARGET)): mostly its hours on the days before."""
    z = scaled(past, limit)
    days = same_hours(z, target)  # (N, DAYS)
    neighbours = [replace(target, lead=lead) for lead in (target.lead - 1, min(target.lead + 1, DAY_HOURS))]
    before, after = (same_hours(z, neighbour) for neighbour in neighbours)
    now = same_hours(z, Target("", 0))
    seasonal_change = _mean(days) - _mean(now)
    columns = [days[:, day - 1] for day in (1, 2, 3, 7)]
    columns += [before[:, 0], after[:, 0], _mean(days[:, :7]), _mean(days), _deviation(days)]
    columns += [np.fmax.reduce(days, axis=1)]
    columns += [issue_frequency(past, limit, target, days_) for days_ in (7, DAYS)]
    columns += [_mean(np.concatenate([_over(before), _over(after)], axis=1))]
    columns += [z[:, 0] + seasonal_change, days[:, 0] + z[:, 0] - now[:, 0]]
    return np.stack(columns, axis=1)


def scaled(past: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Levels as distance from the limit in standard deviations of each row, (N, PAST_HOURS)."""
    smallest = 1e-6 * np.maximum(np.abs(limit), 1e-12)  # a constant metric has no deviation, but may have a limit
    return (past - limit[:, None]) / np.fmax(_deviation(past), smallest)[:, None]


def _over(z: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(z), np.nan, (z > 0.0).astype(np.float64))


def _mean(values: np.ndarray) -> np.ndarray:
    """(N,) mean of what is known in each row; NaN, without a warning, where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _deviation(values: np.ndarray) -> np.ndarray:
    return np.sqrt(_mean((values - _mean(values)[:, None]) ** 2))


def _first(marks: np.ndarray) -> np.ndarray:
    """(N,) how many hours ago the newest mark lies; the length of the past where there is none."""
    return np.where(marks.any(axis=1), marks.argmax(axis=1), marks.shape[1]).astype(np.float64)


def _skill(z: np.ndarray, lag: int) -> np.ndarray:
    """(N,) R2 of "as `lag` hours before" over the last week; NaN where the metric did not move."""
    recent, before = z[:, :WEEK], z[:, lag : WEEK + lag]
    error, variance = _mean((recent - before) ** 2), _deviation(recent) ** 2
    skill = np.divide(error, variance, out=np.full(len(z), np.nan), where=variance > 0)
    return np.maximum(1.0 - skill, -4.0)
