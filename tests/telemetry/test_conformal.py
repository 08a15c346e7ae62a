"""Bands from past errors."""

import numpy as np
import pytest

from telemetry.conformal import error_band


def test_exchangeable_errors_are_covered_as_promised():
    rng = np.random.default_rng(0)
    errors = rng.exponential(size=(4000, 101))  # skewed: no Gaussian band would fit
    low, high = error_band(errors[:, :100], 0.8)
    assert np.mean((errors[:, 100] >= low) & (errors[:, 100] <= high)) == pytest.approx(0.81, abs=0.02)


def test_a_band_holds_the_ranks_of_the_formula():
    low, high = error_band(np.arange(1.0, 100.0), 0.8)
    assert (low, high) == (10.0, 90.0)


def test_missing_errors_do_not_count_and_few_make_no_band():
    errors = np.r_[np.arange(1.0, 100.0), np.full(50, np.nan)]
    assert error_band(errors, 0.8) == error_band(errors[:99], 0.8)
    assert np.isnan(error_band(np.arange(10.0))).all()


def test_more_coverage_than_the_errors_can_show_is_no_band():
    assert np.isnan(error_band(np.arange(30.0), 0.99)).all()


@pytest.mark.parametrize("coverage", [0.0, 1.0, 80.0])
def test_a_coverage_that_is_no_share_is_refused(coverage):
    with pytest.raises(ValueError, match="between 0 and 1"):
        error_band(np.zeros(50), coverage)
