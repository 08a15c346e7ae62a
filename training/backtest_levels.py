"""How good the levels ahead are: quantile loss, coverage of the bands, and how much of the variance is foretold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.climatology import past_of, same_hours
from telemetry.conformal import MATURED, error_band
from telemetry.issues import DAY_HOURS, Target
from telemetry.trajectory import COVERAGE, expected_levels
from training.forecast_data import MetricSeries

LEADS = (1, 6, 24)
EVERY_HOURS = 2
"""Origins that are judged; bands of neighbours are nearly the same."""


@dataclass(frozen=True, eq=False)
class LevelScores:
    """By series and lead, (S, len(LEADS)); NaN where nothing is known.

    Attributes:
        r2: share of the variance in the test that the expected level explains.
        coverage: share of hours inside the band that should hold `COVERAGE`.
        pinball: mean quantile loss of both ends and the middle, in mean errors of "as yesterday" in the training part.
        pinball_table: the same of the empirical quantiles of the hour of day, of the last 14 days.
    """

    r2: np.ndarray
    coverage: np.ndarray
    pinball: np.ndarray
    pinball_table: np.ndarray


def score_levels(series: Sequence[MetricSeries]) -> LevelScores:
    """Walk through the test of every series."""
    rows = np.array([_scores(one) for one in series])  # (S, 4, leads)
    return LevelScores(*(rows[:, part] for part in range(4)))


def _scores(one: MetricSeries) -> np.ndarray:
    first = one.edge(1)
    origins = np.arange(max(first - MATURED - DAY_HOURS, DAY_HOURS), len(one.levels))
    past = past_of(one.levels, origins)
    expected = expected_levels(past, LEADS)  # (n, leads)
    scale = _naive_error(one.levels[: one.train_end])
    return np.array([_of_lead(one, lead, origins, expected[:, i], past, scale) for i, lead in enumerate(LEADS)]).T


def _of_lead(
    one: MetricSeries, lead: int, origins: np.ndarray, expected: np.ndarray, past: np.ndarray, scale: float
) -> list[float]:
    due = origins + lead
    truth = np.where(due < len(one.levels), one.levels[np.minimum(due, len(one.levels) - 1)], np.nan)
    errors = np.concatenate([np.full(MATURED + lead - 1, np.nan), truth - expected])
    # Row i holds the errors that had come true at origin i: of the origins i - lead and before.
    matured = np.lib.stride_tricks.sliding_window_view(errors, MATURED)[: len(origins)]
    judged = np.flatnonzero((origins >= one.edge(1)) & ~np.isnan(truth) & ~np.isnan(expected))[::EVERY_HOURS]
    if len(judged) < DAY_HOURS:
        return [np.nan] * 4
    low, high = error_band(matured[judged], COVERAGE)
    came, middle = truth[judged], expected[judged]
    bands = np.stack([middle + low, middle, middle + high])
    tail = (1.0 - COVERAGE) / 2.0
    days = np.sort(same_hours(past[judged], Target("", lead)), axis=1)
    with np.errstate(invalid="ignore"):
        table = _quantiles(days, (tail, 0.5, 1.0 - tail))
    inside = np.where(np.isnan(low), np.nan, (came >= bands[0]) & (came <= bands[2]))
    variance = float(np.var(came))
    r2 = 1.0 - float(np.mean((came - middle) ** 2)) / variance if variance > 0 else np.nan
    return [r2, _mean(inside), _pinball(came, bands, tail) / scale, _pinball(came, table, tail) / scale]


def _quantiles(ordered: np.ndarray, quantiles: tuple[float, ...]) -> np.ndarray:
    """(k, N) of rows that are sorted with NaN last."""
    count = (~np.isnan(ordered)).sum(axis=1)
    ranks = [np.clip(np.rint(q * (count - 1)).astype(int), 0, ordered.shape[1] - 1) for q in quantiles]
    return np.stack([np.take_along_axis(ordered, rank[:, None], axis=1)[:, 0] for rank in ranks])


def _pinball(came: np.ndarray, bands: np.ndarray, tail: float) -> float:
    losses = [
        np.maximum(q * (came - band), (q - 1.0) * (came - band))
        for q, band in zip((tail, 0.5, 1.0 - tail), bands, strict=True)
    ]
    return _mean(np.concatenate(losses))


def _naive_error(train: np.ndarray) -> float:
    error = _mean(np.abs(train[DAY_HOURS:] - train[:-DAY_HOURS]))
    return error if error > 0 else np.nan


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
