"""Makes a forecaster: from generated metrics, the user's own traces, or both."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from telemetry.boosted_trees import parse
from telemetry.forecast import Forecaster
from telemetry.forecast_artifact import save
from training.backtest_cohort import Cohort, Kind
from training.backtest_outcomes import FORECAST, outcomes_of
from training.forecast_data import MetricSeries, digest, series_in
from training.forecast_generated import generated_series
from training.forecast_training import ForecastConfig, fit, training_rows

Progress = Callable[[int, int, str], object]


def train_forecaster(
    out: Path, traces: Path | None, config: ForecastConfig, on_progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Fit on everything and write the artifact; thresholds come from models that had not seen their hours.

    Args:
        out: folder of the artifact.
        traces: folder of the user's traces, learnt from beside the generated metrics; None: these alone.
        config: of the models.
        on_progress: called with (done, total, what is done).

    Returns:
        The card that stands beside the models.

    Raises:
        ForecastDataError: no usable series in `traces`.
        MissingExtra: lightgbm is not installed.
    """
    on_progress(0, 3, "generating metrics")
    generated, own = generated_series(config.generated, config.seed), series_in(traces) if traces else []
    series = generated + own
    on_progress(1, 3, "fitting for thresholds")
    earlier = Forecaster(fit(training_rows(series, config, 0), config))
    thresholds = _thresholds(series, earlier)
    on_progress(2, 3, "fitting")
    models = fit(training_rows(series, config, None), config)
    card = {
        "thresholds": thresholds,
        "learnt_from": {"generated": len(generated), "traces": len(own), "digest": digest(series)},
        "config": asdict(config),
        "versions": {"numpy": np.__version__, "python": platform.python_version()},
    }
    save(out, {name: parse(model.model_to_string()) for name, model in models.items()}, card)
    return card


def _thresholds(series: list[MetricSeries], earlier: Forecaster) -> dict[str, dict[str, float | None]]:
    """By target: for balanced accuracy and for confident alarms, on hours after those that `earlier` learnt from."""
    found: dict[str, dict[str, float | None]] = {}
    kinds: tuple[Kind, ...] = ("balanced", "confident")
    outcomes = outcomes_of(series, [earlier, earlier], 0.9)
    for name in dict.fromkeys(one.target.name for one in outcomes):
        cohort = Cohort([one for one in outcomes if one.target.name == name], np.zeros(len(series), dtype=bool))
        limits = {kind: cohort.thresholds(FORECAST, kind)[0] for kind in kinds}
        found[name] = {kind: limit if limit <= 1.0 else None for kind, limit in limits.items()}
    return found
