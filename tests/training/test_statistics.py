import numpy as np
import pytest

from training.statistics import bootstrap_interval, interquartile_mean, relative_gain


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 3.0, 100.0], 2.5),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 700.0], 3.5),
        ([1.0, 2.0, 9.0], (0.25 * 1 + 1 * 2 + 0.25 * 9) / 1.5),  # quartiles at 0.75 and 2.25 of 3 samples
    ],
)
def test_interquartile_mean_of_a_hand_calculation(samples, expected):
    assert interquartile_mean(np.array(samples)) == pytest.approx(expected)


def test_interval_is_the_same_for_the_same_seed_and_holds_the_mean():
    samples = np.random.default_rng(0).normal(1.0, 0.5, 40)
    low, high = bootstrap_interval(samples, seed=1)
    assert (low, high) == bootstrap_interval(samples, seed=1)
    assert low < samples.mean() < high


def test_interval_is_as_wide_as_theory_says():
    samples = np.random.default_rng(0).normal(0.0, 1.0, 400)
    low, high = bootstrap_interval(samples)
    assert high - low == pytest.approx(2 * 1.96 * samples.std() / 20, rel=0.05)


def test_seeds_on_one_trace_are_no_independent_traces():
    by_trace = np.repeat(np.array([[0.0], [1.0]]), 50, axis=1)  # two traces that differ, seeds that do not
    assert bootstrap_interval(by_trace) == (0.0, 1.0)


def test_one_sample_has_no_width():
    assert bootstrap_interval(np.array([0.3])) == (0.3, 0.3)


def test_gain_is_the_geometric_mean_of_the_ratios():
    gain, _ = relative_gain(np.array([2.0, 2.0]), np.array([1.0, 4.0]))
    assert gain == pytest.approx(0.0)
    gain, (low, high) = relative_gain(np.array([1.4, 2.8]), np.array([1.0, 2.0]))
    assert (gain, low, high) == pytest.approx((0.4, 0.4, 0.4))


def test_equal_but_noisy_policies_tie():
    rng = np.random.default_rng(3)
    _, (low, high) = relative_gain(np.exp(rng.normal(0, 0.2, 100)), np.exp(rng.normal(0, 0.2, 100)))
    assert low < 0.0 < high
