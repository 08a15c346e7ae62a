"""The judge of the forecaster: later in time, on hosts never learnt from, with every threshold from before the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from telemetry.forecast import Forecaster
from telemetry.forecast_baselines import CLIMATOLOGY, PERSISTENCE_AND_SEASON
from telemetry.issues import TARGETS
from training.backtest_bars import bars_of
from training.backtest_cohort import Cohort, Kind
from training.backtest_levels import LEADS, LevelScores, score_levels
from training.backtest_outcomes import BASELINES, FORECAST, MODEL, TABLE, classes_of, outcomes_of, rehearsal_of
from training.backtest_scores import Alarms, Tally, interval, resampled
from training.ceiling import best_balanced_accuracy
from training.forecast_data import TEST_BLOCKS, ForecastDataError, MetricSeries, development, digest, series_in
from training.forecast_generated import generated_series
from training.forecast_training import ForecastConfig, fit, training_rows

LIMITS = {"frequent": 0.9, "rare": 0.98}
"""Quantiles of the training part that are the limits of the benchmark: about one hour in ten, and in fifty."""
FOLDS = 2
"""Parts of the hosts for the rehearsal: models that learnt from one foretell the other."""
RIVALS = (PERSISTENCE_AND_SEASON, TABLE)
Progress = Callable[[int, int, str], object]
Split = Literal["test", "development"]


def backtest(
    folder: Path,
    config: ForecastConfig | None = None,
    on_progress: Progress = lambda *_: None,
    forecaster: Forecaster | None = None,
    *,
    split: Split = "test",
) -> dict[str, Any]:
    """Judge on every trace below a folder.

    Args:
        folder: of traces.
        config: of the models that are fitted.
        on_progress: called with (done, total, what is done).
        forecaster: judged as it is, without fitting; None: models are fitted before each block of the test.
        split: `development` judges on hosts and hours that the test does not have: for choosing.

    Returns:
        The object of `trimtab forecast --backtest --json`; `horizons` is of frequent issues on hosts held out.

    Raises:
        ForecastDataError: no usable series, or no host to learn from or none to hold out.
    """
    series = series_in(folder)
    return judge(
        development(series) if split == "development" else series, config or ForecastConfig(), on_progress, forecaster
    )


def judge(
    series: Sequence[MetricSeries],
    config: ForecastConfig,
    on_progress: Progress = lambda *_: None,
    forecaster: Forecaster | None = None,
    more_groups: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """As `backtest`, on series that are at hand, S of them; `more_groups` (S,) bool by name are scored as well.

    Raises:
        ForecastDataError: no host to learn from, or none to hold out.
    """
    held_out = np.array([one.held_out for one in series])
    if held_out.all() or not held_out.any():
        raise ForecastDataError(
            f"{len(series)} series, {held_out.sum()} of hosts held out; both kinds are needed: give more hosts"
        )
    seen = [one for one in series if not one.held_out]
    fitting = TEST_BLOCKS + 1 + FOLDS
    steps = fitting + len(LIMITS)
    if forecaster:
        forecasters, rehearsing = [forecaster] * (TEST_BLOCKS + 1), [forecaster] * FOLDS
    else:
        forecasters, rehearsing = _fitted(seen, config, lambda done, what: on_progress(done, steps, what))
    skills, classes = classes_of(series)
    levels = score_levels(series)
    groups = {"held_out": held_out, "all": np.ones_like(held_out), "seasonal": classes != "weak"}
    groups |= {"strong": classes == "strong", "weak": classes == "weak"} | dict(more_groups or {})
    found: dict[str, Any] = {name: {} for name in LIMITS}
    for step, (name, quantile) in enumerate(LIMITS.items()):
        on_progress(fitting + step, steps, f"judging {name} issues")
        outcomes = outcomes_of(series, forecasters, quantile)
        rehearsal = rehearsal_of(seen, rehearsing, config, quantile)
        for target in TARGETS:
            own, before = ([one for one in part if one.target is target] for part in (outcomes, rehearsal))
            cohort = Cohort(own, held_out, before)
            for group, which in groups.items():
                if which.any():
                    found[name].setdefault(group, {})[target.name] = scores_of(cohort, which)
    found["levels"] = {
        group: _levels(levels, which, found["frequent"][group]) for group, which in groups.items() if which.any()
    }
    found["data"] = {
        "series": len(series),
        "hosts": len({one.host for one in series}),
        "held_out_series": int(held_out.sum()),
        "held_out_hosts": len({one.host for one in series if one.held_out}),
        "classes": {name: int((classes == name).sum()) for name in ("strong", "seasonal", "weak")},
        "seasonal_skill": [float(skill) for skill in skills],
        "digest": digest(series),
    }
    found["config"] = asdict(config)
    return {"horizons": found["frequent"]["held_out"], **found, "bars": bars_of(found)}


def _fitted(
    seen: Sequence[MetricSeries], config: ForecastConfig, on_progress: Callable[[int, str], object]
) -> tuple[list[Forecaster], list[Forecaster]]:
    """Forecasters for each block of the walk, and for the rehearsal of each fold."""
    generated = generated_series(config.generated, config.seed)
    forecasters, rehearsing = [], []
    for block in range(TEST_BLOCKS + 1):
        on_progress(block, f"fitting before block {block}")
        forecasters.append(Forecaster(fit(training_rows([*seen, *generated], config, block), config)))
    for fold in range(FOLDS):
        on_progress(TEST_BLOCKS + 1 + fold, f"fitting rehearsal {fold}")
        others = [one for one in seen if one.fold(FOLDS) != fold]
        rehearsing.append(Forecaster(fit(training_rows([*others, *generated], config, 0), config)))
    return forecasters, rehearsing


def scores_of(cohort: Cohort, which: np.ndarray) -> dict[str, Any]:
    """All scores of the forecast over some series, with intervals over those series, and the baselines beside it.

    Args:
        cohort: of one target.
        which: (S,) bool.
    """
    once = which[None].astype(np.float64)
    draws = np.zeros((len(resampled(1)), len(which)))
    draws[:, which] = resampled(int(which.sum()))
    tally = cohort.tally(FORECAST)
    total = tally.total(once)
    reference = cohort.tally(CLIMATOLOGY)
    found: dict[str, Any] = {
        "series": int(which.sum()),
        "issue_hours": int(total.came.sum()),
        "base_rate": _one(total.came.sum(axis=1) / np.maximum(total.count(), 1.0)),
        **_alarm_scores(cohort.counted(cohort.alarms(FORECAST, "balanced")), once, draws),
        "auroc": _one(total.auroc()),
        "auroc_ci": interval(tally.total(draws).auroc()),
        "brier": _one(total.brier()),
        "brier_skill": _skill(tally, reference, once),
        "brier_skill_ci": interval(1.0 - tally.total(draws).brier() / reference.total(draws).brier()),
        "calibration_error": _one(total.calibration_error()),
        "reliability": [[float(x) for x in row[0]] for row in total.reliability()],
        "confident": _confident(cohort, once, draws, calm=False),
        "calm_now": _calm(cohort, once, draws),
        "onsets": {kind: _onsets(cohort, kind, which) for kind in ("balanced", "confident")},
        "naive": {name: _naive(cohort, name, once) for name in (*BASELINES, MODEL)},
        "not_worse_than": {rival: _not_worse(tally, cohort.tally(rival), which) for rival in RIVALS},
    }
    if not cohort.target.within:
        tolerant = cohort.counted(cohort.alarms(FORECAST, "balanced"), tolerant=True)
        found["tolerance_1h"] = _alarm_scores(tolerant, once, draws)
    return found


def _alarm_scores(alarms: Alarms, once: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    point, spread = alarms.total(once).scores(), alarms.total(draws).scores()
    found: dict[str, Any] = {name: _one(value) for name, value in point.items()}
    return found | {f"{name}_ci": interval(spread[name]) for name in ("balanced_accuracy", "precision", "recall")}


def _confident(cohort: Cohort, once: np.ndarray, draws: np.ndarray, *, calm: bool) -> dict[str, Any]:
    alarm = cohort.alarms(FORECAST, "confident", calm=calm)
    scores = _alarm_scores(cohort.counted(alarm, calm=calm), once, draws)
    return {key: scores[key] for key in ("precision", "precision_ci", "recall", "recall_ci", "alarm_share")}


def _calm(cohort: Cohort, once: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    tally = cohort.tally(FORECAST, calm=True).total(once)
    alarms = cohort.counted(cohort.alarms(FORECAST, "balanced", calm=True), calm=True)
    found = {"base_rate": _one(tally.came.sum(axis=1) / np.maximum(tally.count(), 1.0)), "auroc": _one(tally.auroc())}
    return found | _alarm_scores(alarms, once, draws) | {"confident": _confident(cohort, once, draws, calm=True)}


def _onsets(cohort: Cohort, kind: Kind, which: np.ndarray) -> dict[str, Any]:
    alarm = cohort.alarms(FORECAST, kind)
    warned = cohort.forewarned(alarm)
    leads = np.concatenate([lead for lead, counts in zip(warned.leads, which, strict=True) if counts])
    onsets = warned.onsets[which].sum()
    calm = cohort.test & cohort.calm & which[cohort.group]
    return {
        "onsets": int(onsets),
        "recall": float(warned.foretold[which].sum() / onsets) if onsets else float("nan"),
        "median_lead_hours": float(np.median(leads)) if len(leads) else float("nan"),
        "calm_alarm_share": float(alarm[calm].mean()) if calm.any() else float("nan"),
    }


def _naive(cohort: Cohort, name: str, once: np.ndarray) -> dict[str, float]:
    scores = cohort.counted(cohort.alarms(name, "balanced")).total(once).scores()
    tally = cohort.tally(name).total(once)
    return {
        "balanced_accuracy": _one(scores["balanced_accuracy"]),
        "auroc": _one(tally.auroc()),
        "brier": _one(tally.brier()),
    }


def _not_worse(ours: Tally, theirs: Tally, which: np.ndarray) -> float:
    """Share of single series whose Brier score is no higher."""
    mine, other = ours.brier()[which], theirs.brier()[which]
    known = ~np.isnan(mine)
    return float((mine[known] <= other[known]).mean()) if known.any() else float("nan")


def _skill(ours: Tally, reference: Tally, once: np.ndarray) -> float:
    return _one(1.0 - ours.total(once).brier() / reference.total(once).brier())


def _levels(levels: LevelScores, which: np.ndarray, horizons: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for column, lead in enumerate(LEADS):
        medians = {name: _median(part[which, column]) for name, part in vars(levels).items()}
        rate = horizons[f"{lead}h"]["base_rate"]
        ceilings = [best_balanced_accuracy(r2, rate) for r2 in levels.r2[which, column] if not np.isnan(r2)]
        coverage = levels.coverage[which, column]
        found[f"{lead}h"] = {
            **{f"median_{name}": value for name, value in medians.items()},
            "mean_coverage": float(np.nanmean(coverage)) if not np.isnan(coverage).all() else float("nan"),
            "mean_ceiling_balanced_accuracy": float(np.mean(ceilings)) if ceilings else float("nan"),
        }
    return found


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _one(values: np.ndarray) -> float:
    return float(np.asarray(values).reshape(-1)[0])
