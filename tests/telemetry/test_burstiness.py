from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.burstiness import dispersion


def test_poisson_counts_have_a_ratio_of_one() -> None:
    found = dispersion(np.random.default_rng(0).poisson(5.0, 30_000), 300)
    assert found.ratio == pytest.approx(1.0, abs=0.03)
    assert found.shape > 50


@pytest.mark.parametrize("shape", [4.0, 40.0])
def test_the_shape_of_gamma_mixed_counts_is_found(shape: float) -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(rng.gamma(shape, 30.0 / shape, 60_000))
    assert dispersion(counts, 300).shape == pytest.approx(shape, rel=0.05)


def test_clumps_of_two_have_a_ratio_of_two() -> None:
    assert dispersion(2 * np.random.default_rng(2).poisson(5.0, 30_000), 100).ratio == pytest.approx(2.0, abs=0.06)


def test_a_ramp_of_the_demand_is_no_noise() -> None:
    found = dispersion(np.arange(600), 300)
    assert found.ratio == pytest.approx(0.0, abs=1e-9)
    assert found.shape == float("inf")
    np.testing.assert_allclose(found.trend, np.arange(600), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=50), st.integers(3, 12))
def test_variances_are_never_negative_and_the_last_part_of_a_block_is_left_out(counts: list, block: int) -> None:
    if len(counts) < block:
        return
    found = dispersion(np.array(counts), block)
    assert len(found.means) == len(counts) // block
    assert (found.variances >= 0).all()
    assert (found.trend >= 0).all()


def test_less_than_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="2 counts in blocks of 3 steps"):
        dispersion(np.ones(2), 3)
