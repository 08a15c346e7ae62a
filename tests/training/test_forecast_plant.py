"""Simulated plants whose generator is known."""

import numpy as np
import pytest

from training.forecast_plant import METRICS, REPLICAS, RESIDUALS, known_plants


@pytest.fixture(scope="module")
def known():
    return known_plants(days=20, profiles=1)


def test_every_residual_has_a_series_of_each_metric(known):
    assert len(known.series) == len(RESIDUALS) * len(METRICS)
    assert known.replicas.shape == (len(known.series), REPLICAS, 20 * 24)
    np.testing.assert_array_equal(known.replicas[0, 0], known.series[0].levels)


def test_replicas_share_their_day_and_not_their_chance(known):
    first, second = known.replicas[-4, :2]
    assert np.corrcoef(first, second)[0, 1] > 0.5
    assert (first != second).any()


def test_the_more_regular_the_demand_the_more_can_be_foretold(known):
    quantile = 1.0 - 3.0 / 24.0  # three whole hours of each of the 12 days of training: none lies on the limit
    ceilings = [known.ceiling(known.residuals == residual, quantile) for residual in (RESIDUALS[0], RESIDUALS[-1])]
    assert 1.0 >= ceilings[0] > ceilings[1] > 0.5
