"""What was foretold and what came, hour by hour: the forecaster and its baselines on the same series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.climatology import PAST_HOURS, past_of
from telemetry.forecast import Forecaster, table_probabilities
from telemetry.forecast_baselines import CLIMATOLOGY, PERSISTENCE, PERSISTENCE_AND_SEASON, SEASONAL_NAIVE, baselines
from telemetry.forecast_record import blended
from telemetry.issues import TARGETS, Target, issues, labels, onsets, predictability, seasonal_skill
from training.forecast_data import MetricSeries
from training.forecast_training import ForecastConfig

FORECAST, MODEL, TABLE = "forecast", "model_alone", "hour_of_day_table"
BASELINES = (CLIMATOLOGY, PERSISTENCE, SEASONAL_NAIVE, PERSISTENCE_AND_SEASON, TABLE)
CONTESTANTS = (FORECAST, MODEL, *BASELINES)


@dataclass(frozen=True, eq=False)
class Outcome:
    """One target of one metric under one limit, N consecutive origins in order of time.

    Attributes:
        series: position of the metric.
        target: what is foretold.
        hours: (N,) origins, as index of the metric's hours.
        blocks: (N,) 0 in the calibration slice (and in a rehearsal), then 1, 2, ... of the test.
        matured: (N,) bool, whether the truth was known before the next block began; thresholds rest on these alone.
        truth: (N,) 1.0, 0.0 or NaN.
        calm: (N,) bool, whether the origin itself had no issue.
        onset: (N,) bool, whether an issue begins at the origin.
        given: probabilities (N,) by contestant.
    """

    series: int
    target: Target
    hours: np.ndarray
    blocks: np.ndarray
    matured: np.ndarray
    truth: np.ndarray
    calm: np.ndarray
    onset: np.ndarray
    given: dict[str, np.ndarray]


def outcomes_of(series: Sequence[MetricSeries], forecasters: Sequence[Forecaster], quantile: float) -> list[Outcome]:
    """Every target of every series, under limits at that quantile of each training part.

    Args:
        series: S of them.
        forecasters: one for each block; each learnt only from what came before it.
        quantile: in (0, 1).
    """
    found = []
    for position, one in enumerate(series):
        edges = (*(one.edge(block) for block in range(len(forecasters))), len(one.levels))
        found += _outcomes(position, one.levels, edges, forecasters, one.limit(quantile))
    return found


def rehearsal_of(
    series: Sequence[MetricSeries], forecasters: Sequence[Forecaster], config: ForecastConfig, quantile: float
) -> list[Outcome]:
    """The later training hours, foretold by who has learnt from other hosts: weeks more to set thresholds on.

    Args:
        series: that are learnt from.
        forecasters: one for each of the series' `fold`, learnt from the other folds.
        config: its first limit part is where the rehearsal begins; limits are set on the hours before.
        quantile: of these hours.
    """
    found = []
    for position, one in enumerate(series):
        levels = one.levels[: one.train_end]
        # Younger metrics are foretold worse than any in the test, and would make thresholds too timid.
        begin = max(int(len(levels) * config.limit_parts[0]), PAST_HOURS)
        if begin >= len(levels):
            continue
        limit = float(np.nanquantile(levels[:begin], quantile))
        maker = forecasters[one.fold(len(forecasters))]
        found += _outcomes(position, levels, (begin, len(levels)), [maker], limit)
    return found


def classes_of(series: Sequence[MetricSeries]) -> tuple[np.ndarray, np.ndarray]:
    """Seasonal skill (S,) and its class (S,), from the training part alone."""
    skills = [seasonal_skill(one.levels[: one.train_end]) for one in series]
    return np.array(skills), np.array([predictability(skill) for skill in skills])


def _outcomes(
    position: int, levels: np.ndarray, edges: Sequence[int], forecasters: Sequence[Forecaster], limit: float
) -> list[Outcome]:
    """Each forecaster speaks from its own edge to the next."""
    hours = np.arange(edges[0], edges[-1])
    blocks = np.searchsorted(edges[:-1], hours, side="right") - 1
    past, limits = past_of(levels, hours), np.full(len(hours), limit)
    parts = [maker.probabilities(past[blocks == b], limits[blocks == b]) for b, maker in enumerate(forecasters)]
    table = table_probabilities(past, limits)
    issue = issues(levels, limit)
    next_edge = np.array(edges[1:])[blocks]
    found = []
    for target in TARGETS:
        truth = labels(issue, target)[hours]
        given = {MODEL: np.concatenate([part[target.name] for part in parts]), TABLE: table[target.name]}
        given |= baselines(issue, target, edges[0], hours)
        opinions = np.stack([given[name] for name in (MODEL, TABLE, PERSISTENCE_AND_SEASON)])
        given[FORECAST] = blended(opinions, truth, target)
        matured = hours + target.lead < next_edge
        calm, onset = issue[hours] == 0.0, onsets(issue)[hours]
        found.append(Outcome(position, target, hours, blocks, matured, truth, calm, onset, given))
    return found
