import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from training.statistics import (
    aggregate,
    bootstrap_interval,
    interquartile_mean,
    optimality_gap,
    probability_of_improvement,
    relative_gain,
    resample_counts,
)


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


def test_training_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    alike = rng.normal(0.0, 0.1, (5, 4, 20))
    apart = alike + np.array([-1.0, -0.5, 0.0, 0.5, 1.0])[:, None, None]
    widths = [np.diff(bootstrap_interval(samples))[0] for samples in (alike, apart)]
    assert widths[1] == pytest.approx(2 * 1.96 * np.sqrt(0.5 / 5), rel=0.1)  # the variance of the five is 0.5
    assert widths[0] < 0.1


def test_every_resample_holds_as_many_samples_as_there_are():
    counts = resample_counts((2, 3, 4))
    assert (counts.sum(axis=1) == 24).all()
    by_trace = counts.reshape(-1, 2, 3, 4).sum(axis=(1, 3))
    assert (by_trace % 8 == 0).all()  # a trace comes with all its episodes of all policies, or not at all


def test_aggregates_of_a_hand_calculation():
    scores = np.array([[[1.0, 3.0], [2.0, 2.0], [9.0, 11.0]]])  # one policy, three traces, two episodes
    found = aggregate(scores)
    assert found["mean"] == pytest.approx(28 / 6)
    assert found["median"] == pytest.approx(2.0)  # of the traces' means 2, 2, 10
    assert found["iqm"] == pytest.approx((0.5 * 2 + 2 + 3 + 0.5 * 9) / 3)  # ranks 1.5 to 4.5 of 1, 2, 2, 3, 9, 11
    assert optimality_gap(scores, 3.0)[0] == pytest.approx((2 + 0 + 1 + 1 + 0 + 0) / 6)


def test_intervals_of_aggregates_hold_them_and_are_narrow_where_nothing_differs():
    rng = np.random.default_rng(0)
    found = aggregate(rng.normal(3.0, 0.5, (3, 6, 20)))
    for name in ("iqm", "mean", "median"):
        low, high = found[f"{name}_ci"]
        assert low < found[name] < high
    same = aggregate(np.full((2, 3, 4), 1.5))
    assert same["iqm_ci"] == same["median_ci"] == [1.5, 1.5]


def test_what_is_above_the_target_fills_no_gap():
    assert optimality_gap(np.array([[0.5, 1.5]])) == (0.25, pytest.approx((0.0, 0.5)))


@pytest.mark.parametrize("traces", [2, 3])
def test_the_median_over_traces_is_resampled_with_its_traces(traces):
    by_trace = np.arange(traces, dtype=float)[None, :, None] * np.ones((1, 1, 5))
    assert aggregate(by_trace)["median_ci"] == [0.0, traces - 1.0]


def test_probability_of_improvement_counts_ties_half():
    ours, theirs = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[0.0, 2.0, 5.0, 1.0]])
    assert probability_of_improvement(ours, theirs)[0] == pytest.approx(2.5 / 4)
    assert probability_of_improvement(theirs, ours)[0] == pytest.approx(1.5 / 4)


def test_several_training_seeds_are_compared_with_a_reference_that_has_none():
    ours = np.array([[[2.0, 2.0]], [[8.0, 8.0]]])  # two training seeds, one trace, two episodes
    gain, _ = relative_gain(ours, np.array([[[1.0, 1.0]]]))
    assert gain == pytest.approx(3.0)  # the geometric mean of 2 and 8 is 4
    again, _ = relative_gain(np.array([[[1.0, 1.0]]]), ours)
    assert again == pytest.approx(1 / 4 - 1)


@settings(max_examples=30)
@given(arrays(float, (2, 3, 4), elements=st.floats(0.1, 10.0)))
def test_an_aggregate_lies_between_the_smallest_and_the_largest_score(scores):
    found = aggregate(scores)
    for name in ("iqm", "mean", "median"):
        low, high = found[f"{name}_ci"]
        assert scores.min() - 1e-5 <= low <= high <= scores.max() + 1e-5
        assert scores.min() - 1e-9 <= found[name] <= scores.max() + 1e-9
