"""The upper end of a forecast, and how likely a shortage is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.outlook import LEAST, QUANTILE, RATE, START, Margin, shortage
from envs.recent import Recent
from envs.spec import SystemSpec
from envs.task import Task
from plants import HEALTHY
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
FULL = SPEC.model_copy(update={"forecast_features": ["expected", "upper", "shortage"]})
HEALTHY_VALUES = np.array([HEALTHY.get(name, 0.0) for name in SPEC.catalogue.names])
ARRIVALS = SPEC.catalogue.index("serving_arrivals_per_second")
LEAD = 3


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 2.0), st.floats(0.0, 5.0))
def test_whatever_the_demand_does_one_value_in_ten_is_above_the_margin_in_the_long_run(seed, noise, jump):
    rng, margin = np.random.default_rng(seed), Margin(np.array([LEAD]), 1, 1)
    demand = 100.0 * np.exp(noise * rng.standard_normal(400)) + jump * 100.0 * (np.arange(400) > 200)
    above, largest = [], START
    for step, seen in enumerate(demand):
        if step >= LEAD:
            above.append(seen > np.float32(100.0) * (1.0 + margin.share[0, 0, 0]))
        margin.learn(np.array([[seen]]), np.full((1, 1, 1), 100.0))
        largest = max(largest, margin.share[0, 0, 0])
    # Each step moves the margin by the rate times the miss, so that what it has moved bounds what it has missed.
    assert np.mean(above) <= 1.0 - QUANTILE + (largest + RATE) / (RATE * len(above))


def test_a_margin_has_a_least_and_waits_for_its_forecasts_to_come_true():
    margin = Margin(np.array([1, LEAD]), 1, 1)
    margin.learn(np.array([[5.0]]), np.full((1, 2, 1), 5.0))
    assert margin.share.ravel().tolist() == [START, START]
    for _ in range(500):
        margin.learn(np.array([[5.0]]), np.full((1, 2, 1), 5.0))
    assert margin.share.ravel() == pytest.approx([LEAST, LEAST])


def test_a_missing_value_teaches_nothing():
    margin = Margin(np.array([1]), 1, 1)
    for _ in range(5):
        margin.learn(np.array([[np.nan]]), np.full((1, 1, 1), 5.0))
    assert margin.share.item() == START


def test_a_shortage_is_even_odds_at_the_forecast_and_one_in_ten_at_its_upper_end():
    expected, upper = np.full(4, 100.0), np.full(4, 150.0)
    chances = shortage(expected, upper, np.array([0.0, 100.0, 150.0, 1e9]))
    assert chances == pytest.approx([0.988, 0.5, 0.1, 0.0], abs=1e-3)
    assert np.isnan(shortage(expected[:1], upper[:1], np.array([np.nan]))).all()


def test_the_chance_of_a_shortage_falls_with_what_is_granted():
    task, remembered = Task(FULL, "allocation"), Recent(FULL)
    values = HEALTHY_VALUES.copy()
    values[SPEC.catalogue.index("serving_cpu_used_cores")] = 0.4
    for period in range(6):  # the margin is still wide
        remembered.append(Snapshot(float(period), values))
    entry = task.labels.index("shortage/serving_arrivals_per_second/10s")
    setting = FULL.default_setting
    told = []
    for cores in (0.1, 0.5, 1.3):
        setting[FULL.knob_index("serving_cpu_cores")] = cores
        told.append(task.observe(remembered, setting)[entry])
    assert 1.0 >= told[0] > told[1] > told[2] >= -1.0


def test_batches_copies_and_replaced_systems_remember_their_own_margins():
    rng, one, other = np.random.default_rng(0), Recent(FULL, 2), Recent(FULL, 3)
    for period in range(80):
        rates = np.tile(HEALTHY_VALUES, (3, 1))
        rates[:, ARRIVALS] = 100.0 * np.exp(rng.standard_normal(3))
        other.append(Snapshot(float(period), rates))
        if period >= 20:
            one.append(Snapshot(float(period), rates[:2]))
    twin = other.copy()
    one.assign(np.array([1]), other, np.array([2]))
    for _ in range(61):
        one.append(Snapshot(0.0, np.tile(HEALTHY_VALUES, (2, 1))))
        other.append(Snapshot(0.0, np.tile(HEALTHY_VALUES, (3, 1))))
    assert (one.upper[1] == other.upper[2]).all()
    assert not (twin.upper == other.upper).all()


def test_forecast_features_change_the_fingerprint_and_only_the_named_ones_are_observed():
    assert FULL.fingerprint != SPEC.fingerprint
    none = SPEC.model_copy(update={"forecast_features": []})
    lengths = [Task(spec, "allocation").n_observation for spec in (none, SPEC, FULL)]
    assert np.diff(lengths).tolist() == [6, 12]
    with pytest.raises(ValueError, match="only with outlook=True"):
        _ = Recent(SPEC, 1).upper
