"""Scores from histograms, against calculations from the single forecasts."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, precision_score, recall_score, roc_auc_score

from training.backtest_scores import (
    BINS,
    Alarms,
    Tally,
    best_balanced_accuracy_of,
    best_threshold,
    confident_threshold,
    interval,
    resampled,
)

RNG = np.random.default_rng(0)
GIVEN = RNG.random(3000)
TRUTH = (RNG.random(3000) < GIVEN).astype(float)
GROUP = RNG.integers(0, 4, 3000)
TALLY = Tally.of(GIVEN, TRUTH, GROUP, 4)


def test_auroc_and_brier_are_those_of_scikit_learn():
    assert TALLY.total().auroc()[0] == pytest.approx(roc_auc_score(TRUTH, GIVEN), abs=1e-3)
    assert TALLY.total().brier()[0] == pytest.approx(brier_score_loss(TRUTH, GIVEN), abs=1e-3)


def test_scores_of_alarms_are_those_of_scikit_learn():
    alarm = GIVEN >= 0.6
    came = TRUTH == 1.0
    counts = (came & alarm, came, ~came & alarm, ~came, came & alarm, alarm)
    scores = Alarms(*(np.array([part.sum()]) for part in counts)).scores()
    assert scores["balanced_accuracy"][0] == pytest.approx(balanced_accuracy_score(came, alarm))
    assert scores["precision"][0] == pytest.approx(precision_score(came, alarm))
    assert scores["recall"][0] == pytest.approx(recall_score(came, alarm))
    assert scores["always_no_accuracy"][0] == pytest.approx(1.0 - came.mean())


def test_honest_probabilities_have_a_small_calibration_error_and_exaggerated_ones_do_not():
    assert TALLY.total().calibration_error()[0] < 0.03
    exaggerated = Tally.of((GIVEN > 0.5).astype(float), TRUTH, GROUP, 4)
    assert exaggerated.total().calibration_error()[0] > 0.2


def test_the_best_threshold_of_calibrated_probabilities_is_the_base_rate():
    assert best_threshold(TALLY.total()) == pytest.approx(TRUTH.mean(), abs=0.1)


def test_a_confident_threshold_keeps_its_promise_and_none_is_made_where_none_can_be_kept():
    total = TALLY.total()
    threshold = confident_threshold(total, 0.9)
    first = round(threshold * BINS)
    assert total.came[0, first:].sum() / (total.came + total.stayed_away)[0, first:].sum() >= 0.9
    noise = Tally.of(GIVEN, RNG.permutation(TRUTH), GROUP, 4)
    assert confident_threshold(noise.total(), 0.95) is None


def test_forecasts_without_truth_do_not_count():
    unknown = np.where(np.arange(3000) < 1000, np.nan, TRUTH)
    assert Tally.of(GIVEN, unknown, GROUP, 4).total().count()[0] == 2000


def test_a_bootstrap_draws_as_many_series_as_there_are_and_is_the_same_each_time():
    weights = resampled(4)
    assert (weights.sum(axis=1) == 4).all()
    np.testing.assert_array_equal(weights, resampled(4))
    low, high = interval(TALLY.total(weights).auroc())
    assert low <= TALLY.total().auroc()[0] <= high


def test_an_interval_of_nothing_is_nothing():
    assert np.isnan(interval(np.full(10, np.nan))).all()


def test_the_best_in_hindsight_is_the_best_of_all_thresholds():
    scores = [balanced_accuracy_score(TRUTH, threshold <= GIVEN) for threshold in np.linspace(0.0, 1.0, 101)]
    assert best_balanced_accuracy_of(TALLY.total()) == pytest.approx(max(scores), abs=1e-3)
