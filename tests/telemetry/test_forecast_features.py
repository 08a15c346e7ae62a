"""Features of a metric's past."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.climatology import PAST_HOURS, past_of
from telemetry.forecast_features import COMMON, NAMES, OF_TARGET, common_features, target_features
from telemetry.issues import TARGETS, Target

RNG = np.random.default_rng(3)
LEVELS = RNG.normal(size=600)


def all_features(past: np.ndarray, limit: np.ndarray, target: Target) -> np.ndarray:
    return np.concatenate([common_features(past, limit), target_features(past, limit, target)], axis=1)


@pytest.mark.parametrize("target", TARGETS)
def test_each_feature_has_a_name(target: Target) -> None:
    past, limit = past_of(LEVELS, np.arange(400, 403)), np.full(3, 1.0)
    assert all_features(past, limit, target).shape == (3, len(NAMES))
    assert len(set(NAMES)) == len(COMMON) + len(OF_TARGET)


@pytest.mark.parametrize("target", TARGETS)
def test_the_future_changes_no_feature(target: Target) -> None:
    changed = LEVELS.copy()
    changed[401:] += 100.0
    origin, limit = np.array([400]), np.array([1.0])
    np.testing.assert_array_equal(
        all_features(past_of(LEVELS, origin), limit, target), all_features(past_of(changed, origin), limit, target)
    )


@settings(max_examples=20)
@given(st.floats(0.01, 1e6), st.floats(-1e3, 1e3))
def test_features_know_neither_the_unit_nor_the_zero_of_a_metric(scale: float, offset: float) -> None:
    past = past_of(LEVELS, np.array([400]))
    expected = all_features(past, np.array([1.0]), TARGETS[0])
    found = all_features(past * scale + offset, np.array([scale + offset]), TARGETS[0])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_missing_hours_and_constant_metrics_make_no_infinities() -> None:
    past = np.full((2, PAST_HOURS), np.nan)
    past[1] = 5.0
    found = all_features(past, np.array([1.0, 5.0]), TARGETS[2])
    assert not np.isinf(found).any()


def test_issue_now_and_hours_since_are_counted() -> None:
    past = np.zeros((1, PAST_HOURS))
    past[0, 3:5] = 2.0  # three hours ago, for two hours
    found = dict(zip(COMMON, common_features(past, np.array([1.0]))[0], strict=True))
    assert found["hours_since_issue"] == 3
    assert found["hours_in_issue"] == 0
    assert found["issues_24h"] == pytest.approx(2 / 24)
