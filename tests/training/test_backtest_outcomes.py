"""Rehearsals: what was foretold of the later training hours by who had learnt from other hosts."""

import numpy as np

from telemetry.climatology import PAST_HOURS
from telemetry.forecast import Forecaster
from training.backtest_cohort import Cohort
from training.backtest_outcomes import FORECAST, outcomes_of, rehearsal_of
from training.forecast_data import MetricSeries, development
from training.forecast_training import ForecastConfig

RNG = np.random.default_rng(0)
SERIES = [MetricSeries(f"host {i} load", f"host {i}", RNG.normal(size=1000)) for i in range(8)]


class Says:
    def __init__(self, probability):
        self.probability = probability

    def predict(self, features):
        return np.full(len(features), self.probability)


def test_a_host_is_rehearsed_by_the_models_of_its_fold_and_before_the_first_edge():
    folds = [Forecaster({"1h": Says(0.2)}), Forecaster({"1h": Says(0.8)})]
    found = [one for one in rehearsal_of(SERIES, folds, ForecastConfig(), 0.9) if one.target.name == "1h"]
    assert {one.fold(2) for one in SERIES} == {0, 1}
    for one in found:
        series = SERIES[one.series]
        assert (one.given["model_alone"] == (0.2, 0.8)[series.fold(2)]).all()
        assert one.hours[0] >= PAST_HOURS
        assert one.hours[-1] == series.train_end - 1
        assert np.isnan(one.truth[-1])  # its hour lies beyond the edge


def test_a_rehearsal_moves_thresholds_and_nothing_else():
    walk = [Forecaster()] * 2
    outcomes = [one for one in outcomes_of(SERIES, walk, 0.9) if one.target.name == "1h"]
    before = [one for one in rehearsal_of(SERIES, [Forecaster()], ForecastConfig(), 0.9) if one.target.name == "1h"]
    nobody = np.zeros(len(SERIES), dtype=bool)
    alone, rehearsed = Cohort(outcomes, nobody), Cohort(outcomes, nobody, before)
    assert alone.thresholds(FORECAST, "balanced") != rehearsed.thresholds(FORECAST, "balanced")
    np.testing.assert_array_equal(alone.tally(FORECAST).came, rehearsed.tally(FORECAST).came)


def test_the_development_split_has_no_host_and_no_hour_of_the_test():
    tried = development(SERIES)
    assert tried
    held_out = {one.host for one in SERIES if one.held_out}
    assert not held_out & {one.host for one in tried}
    assert all(len(one.levels) == 750 for one in tried)
