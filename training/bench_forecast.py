"""What foretelling costs, on one core."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from telemetry.climatology import PAST_HOURS, past_of
from telemetry.forecast import Forecaster
from telemetry.foresight import foresee
from training.extras import MissingExtra
from training.forecast_generated import generated_series
from training.forecast_shipped import train_forecaster
from training.forecast_training import ForecastConfig

METRICS = 1000
REPEATS = 3
GENERATED = 20
"""Different metrics; the others are these once more, scaled and with noise of their own."""


def bench_forecast(forecaster: Forecaster, *, metrics: int = METRICS, train: bool = True) -> dict[str, Any]:
    """Time of one prediction for all horizons of many metrics, of the first look at a metric, and of a training.

    Args:
        forecaster: whose predictions are timed.
        metrics: how many.
        train: whether a forecaster is trained, which takes half a minute.

    Returns:
        `metrics`, `predict_seconds` (all metrics, all horizons, the best of `REPEATS`), `first_look_seconds` of one
        metric (its last week foretold again, and its levels), `train_seconds` or None where lightgbm is missing.
    """
    levels = _levels(metrics)  # (metrics, H)
    past = np.concatenate([past_of(row, np.array([len(row) - 1])) for row in levels])  # (metrics, PAST_HOURS)
    limit = np.quantile(levels, 0.98, axis=1)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        forecaster.probabilities(past, limit)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    for row, own in zip(levels[:GENERATED], limit, strict=False):
        foresee("metric", row, float(own), 0.0, forecaster)
    looked = min(GENERATED, metrics)
    return {
        "metrics": metrics,
        "predict_seconds": min(times),
        "first_look_seconds": (time.perf_counter() - start) / looked,
        "train_seconds": _train_seconds() if train else None,
    }


def _levels(metrics: int) -> np.ndarray:
    base = [one.levels for one in generated_series(GENERATED // 2)]
    hours = min(len(one) for one in base)
    rng = np.random.default_rng(0)
    rows = np.stack([base[i % len(base)][-hours:] for i in range(metrics)])
    return np.asarray(rows * rng.lognormal(0.0, 0.05, rows.shape))[:, -2 * PAST_HOURS :]


def _train_seconds() -> float | None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            train_forecaster(Path(folder), None, ForecastConfig())
        except MissingExtra:
            return None
    return time.perf_counter() - start
