import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.evidence import Effect, Noise, effect, scatter


def looks(shift, seeds, alpha=0.05, before=5, freedom=20, longest=200):
    """In how many runs the interval ever excluded zero, looking after each period."""
    found = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        past = rng.normal(size=freedom + 1)
        noise = Noise(float(past.std(ddof=1)), freedom)
        base, after = rng.normal(size=before), shift + rng.normal(size=longest)
        for count in (*range(1, 20), *range(20, longest, 10)):
            low, high = effect(base, after[:count], noise, 1.0).bounds(alpha)
            if low > 0 or high < 0:
                found += 1
                break
    return found / seeds


@pytest.mark.clause("E1")
def test_looking_after_every_period_raises_no_more_false_alarms_than_allowed():
    assert looks(0.0, 400) <= 0.05


@pytest.mark.clause("E1")
def test_an_effect_of_three_deviations_is_found():
    assert looks(3.0, 50) > 0.95


def test_interval_is_the_inverse_of_the_evidence():
    found = effect(np.array([1.0, 1.2, 0.9]), np.array([1.5, 1.7]), Noise(0.1, 10), 1.0)
    low, high = found.bounds(0.05)
    assert found.evidence(low) == pytest.approx(20.0)
    assert found.evidence(high) == pytest.approx(20.0)


def test_with_nothing_to_tell_the_noise_from_nothing_is_known():
    found = effect(np.array([1.0]), np.array([2.0]), Noise(float("nan"), 0), 1.0)
    assert found.bounds(0.05) == (-np.inf, np.inf)
    assert found.evidence() == 1.0


def test_scores_that_do_not_scatter_at_all_are_compared_as_they_are():
    found = effect(np.ones(3), np.full(2, 0.9), Noise(0.0, 5), 1.0)
    assert found.bounds(0.05) == pytest.approx((-0.1, -0.1))


def test_scatter_is_told_within_settings_not_between_them():
    noise = scatter(np.array([1.0, 1.0, 5.0, 5.0, 100.0]), np.array([1, 1, 2, 2, -3]))
    assert noise == Noise(0.0, 2)


@given(st.floats(-10, 10), st.floats(1e-6, 10), st.integers(1, 100), st.floats(0.5, 50), st.floats(0.001, 0.5))
def test_interval_grows_with_the_confidence_and_holds_the_estimate(estimate, error, freedom, periods, alpha):
    found = Effect(estimate, error, freedom, periods, 1.0)
    low, high = found.bounds(alpha)
    wider_low, wider_high = found.bounds(alpha / 2)
    assert wider_low <= low <= estimate <= high <= wider_high
