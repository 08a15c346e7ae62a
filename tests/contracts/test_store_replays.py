"""What the monitor kept of a system is a workload that the environment replays."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.query import Query
from telemetry.store import Store
from telemetry.store_reader import StoreReader, store_demand
from telemetry.sweep import RowValues, Sweep
from telemetry.trace_files import export
from telemetry.workload import Demand

NAMES = ('serving_requests_total{component="serving"}', 'ingest_events_received_total{component="ingest"}')
RATES = 20.0 + 15.0 * np.sin(np.arange(300) / 30.0)  # requests in each second


@pytest.fixture
def store(tmp_path: Path) -> Path:
    wall, counted = [1.79e9], np.zeros(2)
    with Store(tmp_path / "store", wall=lambda: wall[0]) as store:
        for second, rate in enumerate([0.0, *RATES]):
            counted += [rate, 40.0]
            store.append(Sweep(float(second), RowValues(NAMES, counted.copy())))
            wall[0] += 1.0
    return tmp_path / "store"


def run(demands: list[Demand] | str) -> None:
    env = gymnasium.make("envs.registration:trimtab/Allocation-v1", demands=demands, episode_steps=20)
    observation, _ = env.reset(seed=0)
    for _ in range(20):
        observation, reward, _, truncated, _ = env.step(env.action_space.sample())
        assert np.isfinite(observation).all()
        assert np.isfinite(reward)
    assert truncated
    env.close()


def test_a_store_runs_in_the_environment_with_the_arrivals_that_were_counted(store: Path) -> None:
    demand = store_demand(store)
    np.testing.assert_allclose(demand.requests_per_second, RATES)
    assert set(demand.events_per_second) == {40.0}
    run([demand])


def test_any_range_is_a_trace_that_the_environment_reads_from_its_file(store: Path, tmp_path: Path) -> None:
    found = StoreReader(store).read(Query(("serving_requests_total",), 1.79e9 + 60.0, 1.79e9 + 180.0))
    export(found, tmp_path / "range.parquet")
    run(str(tmp_path / "range.parquet"))


def test_the_simulated_host_is_asked_for_what_the_real_one_was(store: Path) -> None:
    spec = SystemSpec.load("reference")
    plant = SimulatedPlant(spec, [store_demand(store)], n=1, parameters=Parameters(), noise=False, as_recorded=True)
    plant.reset(np.zeros(1, dtype=np.int64))
    column = spec.catalogue.index("serving_arrivals_per_second")
    asked = [float(plant.advance(spec.control_period_seconds).values[0, column]) for _ in range(250)]
    lag = int(np.argmax([np.corrcoef(asked, np.roll(RATES, -shift)[:250])[0, 1] for shift in range(300)]))
    np.testing.assert_allclose(asked, np.take(RATES, np.arange(lag, lag + 250), mode="wrap"), rtol=0.02)
