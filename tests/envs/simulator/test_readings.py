"""What is read is not what is: answers fail to come, counters are coarse, arrivals and speeds flicker as measured."""

import numpy as np
import pytest

from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.workload import Demand

SPEC = SystemSpec.load("reference")
NAMES = SPEC.catalogue.names


def run(periods: int, n: int = 400, requests: float = 100.0, knobs: dict[str, float] | None = None, **options):
    """Readings of n systems at constant demand, (periods, n, n_metrics)."""
    demand = Demand("constant", 1.0, np.full(2, requests), np.full(2, 80.0), "test")
    plant = SimulatedPlant(SPEC, [demand], n=n, parameters=Parameters(), as_recorded=True, **options)
    setting = plant.setting
    for name, value in (knobs or {}).items():
        setting[:, SPEC.knob_index(name)] = value
    plant.force(setting)
    return np.stack([plant.advance(1.0).values for _ in range(periods)])


def column(values: np.ndarray, metric: str) -> np.ndarray:
    return values[..., NAMES.index(metric)]


def test_a_component_with_little_cpu_does_not_always_answer():
    starved = {"serving_cpu_cores": 0.1, "training_cpu_cores": 0.3, "ingest_cpu_cores": 0.5}
    missing = np.isnan(run(50, missing_ratio=0.12, knobs=starved))
    share = {name: column(missing, f"{name}_memory_bytes")[1:].mean() for name in ("serving", "training", "ingest")}
    assert share == pytest.approx({"serving": 0.12, "training": 0.02, "ingest": 0.0}, abs=0.01)


def test_levels_are_missing_for_a_period_and_rates_for_two():
    missing = np.isnan(run(50, missing_ratio=0.05, knobs={"training_cpu_cores": 0.05, "serving_cpu_cores": 1.0}))
    level, rate = column(missing, "training_backlog_samples"), column(missing, "training_samples_per_second")
    assert level.any()
    assert (rate[1:] == (level[1:] | level[:-1])).all()
    for metric in ("training_cpu_used_cores", "storage_written_bytes_per_second"):
        assert (column(missing, metric) == rate).all()
    for metric in ("serving_accuracy_ratio", "host_cpu_used_ratio", "ingest_lag_seconds", "serving_queue_requests"):
        assert not column(missing, metric).any()


def test_the_first_reading_after_a_reset_is_never_missing():
    first, second = run(2, missing_ratio=1.0, knobs={"serving_cpu_cores": 0.1})
    assert not np.isnan(first).any()
    assert np.isnan(column(second, "serving_queue_requests")).all()


def test_a_cpu_reading_errs_by_so_many_cores_and_not_by_so_many_percent():
    noise = {
        "speed_noise_ratio": 0.0,
        "speed_wander_ratio": 0.0,
        "arrival_dispersion": 0.0,
        "arrival_flicker_ratio": 0.0,
        "ingest_still_ratio": 0.0,
    }
    demand = Demand("constant", 1.0, np.full(2, 100.0), np.full(2, 80.0), "test")
    plant = SimulatedPlant(SPEC, [demand], n=2000, parameters=Parameters(**noise), as_recorded=True)
    used = np.stack([plant.advance(1.0).values for _ in range(8)])[-1]
    ingest, serving = (column(used, f"{name}_cpu_used_cores") for name in ("ingest", "serving"))
    assert ingest.std() == pytest.approx(0.0065, rel=0.1)
    assert serving.std() < 0.01
    assert serving.mean() > 3 * ingest.mean()


def test_arrivals_vary_by_their_square_on_top_of_poisson_and_keep_it_for_seconds():
    arrived = column(run(40, n=3000, requests=400.0), "serving_arrivals_per_second")
    assert arrived.mean() == pytest.approx(400.0, rel=0.01)
    assert arrived.var() == pytest.approx(400.0 + 0.0144 * 400.0**2, rel=0.06)
    flicker = np.corrcoef(arrived[20], arrived[30])[0, 1]  # one time constant later
    assert flicker == pytest.approx(np.exp(-1.0) * 0.0144 * 400.0 / (1.0 + 0.0144 * 400.0), abs=0.06)


def test_a_host_that_is_slow_now_is_still_slow_after_a_while():
    busy = {"training_cpu_cores": 0.3, "ingest_cpu_cores": 0.1}
    trained = column(run(40, n=3000, knobs=busy), "training_samples_per_second")
    assert np.corrcoef(trained[20], trained[30])[0, 1] > 0.1
