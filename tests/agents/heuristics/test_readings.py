import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.heuristics.readings import Readings, cpu_used
from envs.spec import Role, SystemSpec
from envs.task import Task

TASK = Task(SystemSpec.load("reference"), Role.ALLOCATION)
NAMES = TASK.catalogue.names


@given(seed=st.integers(0, 1000), names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
def test_they_are_what_the_task_reads(seed, names):
    observation = np.random.default_rng(seed).uniform(-1.0, 1.0, (3, TASK.n_observation)).astype(np.float32)
    expected = np.stack([TASK.reading(observation, name) for name in names])
    np.testing.assert_array_equal(Readings(TASK, names)(observation), expected)


def test_a_missing_reading_is_nan(observe):
    readings = Readings(TASK, ["serving_queue_requests", "ingest_lag_seconds"])
    queue, lag = readings(observe(serving_queue_requests=float("nan"), ingest_lag_seconds=2.0))
    assert np.isnan(queue)
    assert lag == pytest.approx(2.0, rel=1e-5)


def test_cpu_use_comes_in_the_order_of_the_workloads(observe):
    seen = cpu_used(TASK)(observe(serving_cpu_used_cores=0.3, training_cpu_used_cores=0.2, ingest_cpu_used_cores=0.1))
    assert seen == pytest.approx([0.3, 0.2, 0.1], rel=1e-5)
