"""Trains the forecaster: one LightGBM per target over all metrics and several limits of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from telemetry.climatology import past_of
from telemetry.forecast import MIN_MODEL_HOURS
from telemetry.forecast_features import NAMES, common_features, target_features
from telemetry.issues import TARGETS, issues, labels
from training.extras import extra
from training.forecast_data import ForecastDataError, MetricSeries


@dataclass(frozen=True)
class ForecastConfig:
    """How the models are made. Values as measured on public traces; scores change little around them."""

    limit_quantiles: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98)
    """Limits of each metric, as quantiles: the model learns from frequent and from rare issues."""
    limit_parts: tuple[float, ...] = (0.4, 0.55, 0.7, 0.85)
    """Where in the training part a limit is set anew, from all before; its rows lie between there and the next.
    A limit from the same hours as the rows would teach a quota: no issue yet, so ten percent must still come."""
    generated: int = 40
    """Generated hosts that are learnt from beside traces: holidays and campaigns are rare in some weeks of those."""
    rows: int = 120_000
    """Rows of each target. Default: neighbouring hours tell nearly the same, more of them only cost time."""
    rounds: int = 200
    leaves: int = 31
    depth: int = 8
    """Of a tree. Bounds the steps that an evaluation takes."""
    learning_rate: float = 0.05
    smallest_leaf: int = 150
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Rows:
    """Features (N, len(NAMES)) and labels (N,) of one target."""

    features: np.ndarray
    labels: np.ndarray


def training_rows(series: Sequence[MetricSeries], config: ForecastConfig, block: int | None = 0) -> dict[str, Rows]:
    """Rows of every series, by target; none whose label lies beyond the edge.

    Args:
        series: to learn from.
        config: limits, and how many rows.
        block: only hours before this block of the walk are known; None: all are.

    Raises:
        ForecastDataError: there are none.
    """
    ends = [len(one.levels) if block is None else one.edge(block) for one in series]
    possible = sum(ends) * (1 - config.limit_parts[0]) * len(config.limit_quantiles)
    stride = max(1, math.ceil(possible / config.rows))
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {target.name: [] for target in TARGETS}
    rng = np.random.default_rng(config.seed)
    for one, edge in zip(series, ends, strict=True):
        train = one.levels[:edge]  # labels are made of this alone: the edge is purged by construction
        edges = [int(len(train) * share) for share in (*config.limit_parts, 1.0)]
        for begin, end in pairwise(edges):
            first = max(begin, MIN_MODEL_HOURS)
            limits = _limits(train[:begin], config.limit_quantiles)
            for limit in limits:
                _add_rows(parts, train, np.arange(first + int(rng.integers(stride)), end, stride), limit)
    if not any(parts["1h"]):
        raise ForecastDataError("no training rows; the series are too short")
    return {
        name: Rows(np.concatenate([features for features, _ in found]), np.concatenate([truth for _, truth in found]))
        for name, found in parts.items()
    }


def _limits(before: np.ndarray, quantiles: tuple[float, ...]) -> list[float]:
    known = before[~np.isnan(before)]
    return [float(limit) for limit in np.quantile(known, quantiles)] if len(known) else []


def _add_rows(
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]], train: np.ndarray, origins: np.ndarray, limit: float
) -> None:
    issue = issues(train, limit)
    past, limits = past_of(train, origins), np.full(len(origins), limit)
    common = common_features(past, limits)
    for target in TARGETS:
        truth = labels(issue, target)[origins]
        known = ~np.isnan(truth)
        own = target_features(past[known], limits[known], target)
        parts[target.name].append((np.concatenate([common[known], own], axis=1).astype(np.float32), truth[known]))


def fit(
    rows: dict[str, Rows], config: ForecastConfig, on_progress: Callable[[int, int, str], object] = lambda *_: None
) -> dict[str, Any]:
    """One booster per target, the same each time on the same machine.

    Raises:
        MissingExtra: lightgbm is not installed.
    """
    lightgbm = extra("lightgbm", "forecast")
    parameters = {
        "objective": "binary", "num_leaves": config.leaves, "max_depth": config.depth,
        "learning_rate": config.learning_rate, "min_data_in_leaf": config.smallest_leaf, "feature_fraction": 0.5,
        "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "seed": config.seed, "deterministic": True,
        "force_row_wise": True, "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    found = {}
    for done, (name, part) in enumerate(rows.items()):
        on_progress(done, len(rows), f"fitting {name}")
        table = lightgbm.Dataset(part.features, part.labels, feature_name=list(NAMES), params={"verbosity": -1})
        found[name] = lightgbm.train(parameters, table, num_boost_round=config.rounds)
    return found
