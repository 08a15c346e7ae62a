"""Demands are replayed with their time of day."""

import numpy as np
import pytest

from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.workload import generate_demand

SPEC = SystemSpec.load("reference")


def days(plant: SimulatedPlant, periods: int) -> np.ndarray:
    return np.stack([plant.advance(1.0).day for _ in range(periods)])


def test_a_snapshot_tells_the_share_of_the_day_that_has_passed_at_its_end():
    day = generate_demand(0, step_seconds=60.0, start=6 * 3600.0).compressed(60.0)  # a day in 24 minutes, from 6 h on
    seen = days(SimulatedPlant(SPEC, [day]), 1440)
    assert seen[:3] == pytest.approx(0.25 + np.array([1.0, 2.0, 3.0]) / 1440.0)
    assert seen[-1] == pytest.approx(0.25)
    assert ((seen >= 0.0) & (seen < 1.0)).all()


def test_each_system_of_a_batch_has_its_own_time_of_day():
    plant = SimulatedPlant(SPEC, default_demands(1.0), n=20, random_start=True)
    seen = days(plant, 2)
    assert seen.shape == (2, 20)
    assert np.unique(seen[0]).size > 15
    np.testing.assert_allclose((seen[1] - seen[0]) % 1.0, 1.0 / 1440.0)


def test_a_demand_shorter_than_half_its_day_has_no_known_time_of_day():
    minutes = generate_demand(0, duration_seconds=600.0, step_seconds=1.0)
    assert np.isnan(SimulatedPlant(SPEC, [minutes]).advance(1.0).day)
