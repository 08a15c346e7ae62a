"""Opinions weighed by their record, and continual scoring."""

import numpy as np
import pytest

from telemetry.forecast_record import blended, brier_skill, predictable
from telemetry.issues import Target

NEXT_HOUR, NEXT_DAY = Target("1h", 1), Target("24h", 24)
RNG = np.random.default_rng(0)
TRUTH = (RNG.random(400) < 0.3).astype(float)
GOOD = np.where(TRUTH == 1.0, 0.9, 0.1)


def opinions(model, table, cells):
    return np.stack([np.broadcast_to(part, len(TRUTH)) for part in (model, table, cells)])


def test_weight_moves_to_the_opinion_that_comes_true():
    found = blended(opinions(1.0 - GOOD, GOOD, 0.3), TRUTH, NEXT_HOUR)
    assert np.mean((found[-100:] - TRUTH[-100:]) ** 2) < 0.03
    assert np.mean((found[:3] - TRUTH[:3]) ** 2) > 0.2  # at first the model is believed


@pytest.mark.parametrize("target", [NEXT_HOUR, NEXT_DAY])
def test_no_probability_depends_on_what_had_not_come_true_by_then(target):
    changed = TRUTH.copy()
    changed[200 - target.lead + 1 :] = 1.0 - changed[200 - target.lead + 1 :]
    given = opinions(GOOD, 0.3, 0.2)
    assert blended(given, TRUTH, target)[200] == blended(given, changed, target)[200]
    assert blended(given, TRUTH, target)[202] != blended(given, changed, target)[202]


def test_probabilities_that_are_too_high_are_lowered():
    never = np.zeros(400)
    found = blended(opinions(0.5, 0.5, 0.5), never, NEXT_HOUR)
    assert found[0] == pytest.approx(0.5)
    assert found[-1] < 0.15


def test_a_missing_opinion_leaves_the_others_and_none_is_none():
    found = blended(opinions(np.nan, 0.2, 0.2), np.full(400, np.nan), NEXT_HOUR)
    assert found == pytest.approx(0.2)
    assert np.isnan(blended(opinions(np.nan, np.nan, np.nan), TRUTH, NEXT_HOUR)).all()


def test_skill_is_one_for_the_truth_and_nothing_for_the_base_rate():
    assert brier_skill(TRUTH, TRUTH) == 1.0
    assert brier_skill(np.full(400, TRUTH.mean()), TRUTH) == pytest.approx(0.0)
    assert np.isnan(brier_skill(GOOD, np.zeros(400)))


def test_predictability_needs_a_record_and_an_issue():
    assert predictable(GOOD, TRUTH) is True
    assert predictable(np.full(400, 0.3), TRUTH) is False
    assert predictable(GOOD[:20], TRUTH[:20]) is None
    assert predictable(GOOD, np.zeros(400)) is None
    just_begun = np.where(np.arange(400) >= 398, 1.0, 0.0)
    assert predictable(np.full(400, 0.01), just_begun) is None
