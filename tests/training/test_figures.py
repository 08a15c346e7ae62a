import numpy as np
import pytest

from envs.simulator.simulated_plant import SimulatedPlant
from envs.task import Task
from telemetry.workload import generate_demand
from training.figures import episode_figure
from training.rollout import Rollout, rollout


@pytest.fixture(scope="module")
def played(spec) -> Rollout:
    demand = generate_demand(1, duration_seconds=40.0, step_seconds=1.0, family="smd")
    return rollout(SimulatedPlant(spec, [demand], n=2, seed=0), {}, 30)


def test_a_figure_shows_load_latency_against_its_limit_processors_and_the_knobs_of_the_task(spec, played):
    figure = episode_figure(Task(spec, "tuning"), played, "a day")
    load, latency, cpu, knobs = figure.axes
    assert load.get_title(loc="left") == "a day"
    p99 = latency.get_lines()[0].get_ydata()
    np.testing.assert_array_equal(p99, played.values[:, 0, spec.catalogue.index("serving_latency_p99_seconds")])
    assert set(latency.get_lines()[1].get_ydata()) == {spec.latency_slo_seconds}
    assert len(cpu.get_lines()) == 2 * len(spec.workloads)
    assert len(knobs.get_lines()) == Task(spec, "tuning").n_action


def test_a_day_with_missing_readings_can_be_drawn(spec, played):
    holes = played.values.copy()
    holes[5:9] = np.nan
    episode_figure(Task(spec, "joint"), Rollout(holes, played.settings, played.previous), "holes").canvas.draw()
