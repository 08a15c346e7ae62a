import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.heuristics.histogram import DecayingHistogram


def filled(samples, half_life=np.inf, weights=None):
    histogram = DecayingHistogram(half_life, most=2.0)
    for i, sample in enumerate(samples):
        histogram.add(np.array([sample]), 1.0 if weights is None else weights[i])
    return histogram


def test_a_percentile_is_the_end_of_the_bucket_that_holds_it():
    histogram = filled([0.005] * 9 + [0.015])  # buckets [0, 0.01) and [0.01, 0.0205)
    assert [float(p[0]) for p in histogram.percentiles([0.9, 0.95])] == pytest.approx([0.01, 0.0205])


def test_a_sample_counts_half_after_the_half_life():
    histogram = filled([0.005, 0.015], half_life=1.0)  # weights 0.5 and 1
    assert [float(p[0]) for p in histogram.percentiles([0.3, 0.4])] == pytest.approx([0.01, 0.0205])


def test_a_sample_counts_as_much_as_its_weight():
    histogram = filled([0.005, 0.015], weights=[3.0, 1.0])
    assert [float(p[0]) for p in histogram.percentiles([0.75, 0.76])] == pytest.approx([0.01, 0.0205])


def test_what_is_above_the_last_bucket_counts_as_its_start():
    (percentile,) = filled([50.0]).percentiles([1.0])
    assert 1.9 < percentile[0] <= 2.0


def test_a_missing_sample_adds_nothing():
    histogram = filled([float("nan")])
    assert np.isnan(histogram.percentiles([0.5])[0][0])
    histogram.add(np.array([0.015]))
    assert histogram.percentiles([0.5])[0][0] == pytest.approx(0.0205)


def test_each_system_has_its_own_half_life():
    histogram = DecayingHistogram(np.array([1.0, 1000.0]), most=2.0)
    histogram.add(np.array([0.005, 0.005]))
    histogram.add(np.array([0.015, 0.015]))
    np.testing.assert_allclose(histogram.percentiles([0.4])[0], [0.0205, 0.01])


@given(value=st.floats(0.0, 1.9))
def test_a_percentile_is_above_its_sample_by_a_twentieth_and_a_hundredth_of_a_core_at_most(value):
    (percentile,) = filled([value]).percentiles([0.5])
    assert value <= percentile[0] * (1 + 1e-9)
    assert percentile[0] <= 1.05 * value + 0.01 + 1e-9


def test_an_empty_histogram_says_that_it_is():
    with pytest.raises(ValueError, match="add one first"):
        DecayingHistogram(10.0, most=2.0).percentiles([0.5])
