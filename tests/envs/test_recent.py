"""Recent: what is remembered, and what it lets one expect."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.recent import Recent
from envs.scaling import MetricScaling
from envs.spec import SystemSpec
from plants import HEALTHY, recent
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
PERIODS = SPEC.window_periods
ARRIVALS = SPEC.catalogue.index("serving_arrivals_per_second")
HEALTHY_VALUES = np.array([HEALTHY.get(name, 0.0) for name in SPEC.catalogue.names])


def fed(arrivals, **options) -> Recent:
    """After periods that are healthy but for these arrivals."""
    remembered = Recent(SPEC, **options)
    for period, rate in enumerate(arrivals):
        values = HEALTHY_VALUES.copy()
        values[ARRIVALS] = rate
        remembered.append(Snapshot(float(period), values))
    return remembered


def expected(remembered: Recent) -> list[float]:
    """Requests per second expected at each lead."""
    leads = len(SPEC.forecast_leads_seconds)
    scaling = MetricScaling([SPEC.metrics[ARRIVALS]] * leads)
    return scaling.unscale(remembered.forecast[:leads]).tolist()


def test_it_is_full_after_a_window():
    assert [fed([1.0] * n).full for n in (PERIODS - 1, PERIODS)] == [False, True]


def test_the_trend_is_the_last_reading_minus_the_mean_of_the_window():
    scaled = MetricScaling(SPEC.catalogue.metrics).scale(np.tile(HEALTHY_VALUES, (PERIODS, 1)))
    rates = np.array([10.0, 20.0, 30.0, 40.0, 90.0])
    scaled[:, ARRIVALS] = MetricScaling([SPEC.metrics[ARRIVALS]]).scale(rates[:, None])[:, 0]
    remembered = fed([500.0, *rates])  # the first has left the window
    np.testing.assert_allclose(remembered.now, scaled[-1], rtol=1e-6)
    np.testing.assert_allclose(remembered.trend, scaled[-1] - scaled.mean(axis=0), atol=1e-6)


def test_a_steady_demand_is_expected_to_stay():
    assert expected(fed([200.0] * 30)) == pytest.approx([200.0, 200.0], rel=1e-6)


def test_a_rising_demand_is_expected_to_rise_further_with_every_lead():
    near, far = expected(fed(np.linspace(50.0, 300.0, 120)))
    assert 280.0 < near < far < 400.0


def test_a_missing_reading_leaves_the_expectation_as_it_is():
    before, after = fed([100.0] * 9), fed([100.0] * 9 + [np.nan])
    assert expected(before) == expected(after)


def test_a_missing_reading_shows_the_last_known_one_only_where_that_is_wanted():
    told, held = fed([70.0] * 6 + [np.nan]), fed([70.0] * 6 + [np.nan], hold_missing=True)
    assert np.isnan([told.values[ARRIVALS], told.now[ARRIVALS], told.trend[ARRIVALS]]).all()
    assert held.values[ARRIVALS] == 70.0
    assert np.isfinite(held.now).all()


def test_the_time_of_day_goes_round_and_may_be_unknown():
    remembered = Recent(SPEC)
    for day, place in ((0.0, [0.0, 1.0]), (0.25, [1.0, 0.0]), (np.nan, [0.0, 0.0])):
        remembered.append(Snapshot(0.0, HEALTHY_VALUES, day))
        np.testing.assert_allclose(remembered.time_of_day, place, atol=1e-6)


@given(st.lists(st.lists(st.floats(0.0, 1e4), min_size=3, max_size=3), min_size=PERIODS, max_size=12))
def test_a_system_of_a_batch_is_remembered_as_it_is_alone(rates):
    windows = np.tile(HEALTHY_VALUES, (len(rates), 3, 1))
    windows[:, :, ARRIVALS] = rates
    together = recent(SPEC, windows)
    for i in range(3):
        alone = recent(SPEC, windows[:, i])
        for part in ("values", "now", "trend", "forecast", "time_of_day"):
            assert (getattr(together, part)[i] == getattr(alone, part)).all()


def test_systems_can_be_replaced_by_those_of_another_whatever_its_turn():
    rng = np.random.default_rng(1)
    mine, theirs = (recent(SPEC, rng.uniform(0, 300, (PERIODS + turn, 4, len(SPEC.metrics)))) for turn in (1, 3))
    mine.assign(np.array([0, 2]), theirs, np.array([3, 1]))
    for row, place in ((0, 3), (2, 1)):
        for part in ("values", "now", "trend", "forecast"):
            assert (getattr(mine, part)[row] == getattr(theirs, part)[place]).all()


@pytest.mark.parametrize("duplicate", [Recent.copy, copy.deepcopy])
def test_a_copy_goes_its_own_way(duplicate):
    original = fed([100.0] * 6)
    twin, before = duplicate(original), original.trend.copy()
    twin.append(Snapshot(9.0, HEALTHY_VALUES * 2.0))
    assert (original.trend == before).all()
    assert (original.values == fed([100.0] * 6).values).all()


def test_readings_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 27\)"):
        Recent(SPEC).append(Snapshot(0.0, np.zeros((2, len(SPEC.metrics)))))
