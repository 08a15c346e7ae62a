"""The environment over the real testbed: the same contract, on the wall clock."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from controller.live_plant import LivePlant
from envs.learning_system import LearningSystemEnv
from envs.spec import SystemSpec
from telemetry.workload import Demand
from testbed.launcher import Testbed
from training.live import replay

SPEC = SystemSpec.load("reference")
STEADY = Demand("steady", 1.0, np.full(60, 40.0), np.full(60, 40.0), "test")

pytestmark = pytest.mark.system


@pytest.fixture
def env(tmp_path) -> Iterator[LearningSystemEnv]:
    with Testbed(log_dir=tmp_path) as testbed:
        testbed.wait_ready()
        plant = LivePlant(SPEC, testbed.state_dir / "testbed.json")
        found = plant.setting
        live = LearningSystemEnv("joint", plant=plant, deadline_seconds=0.9)
        replay(testbed.url("load"), STEADY, seed=0)
        yield live
        plant.apply(found)
        live.close()


def test_a_live_system_is_stepped_period_by_period_within_a_deadline(env: LearningSystemEnv):
    env.reset()
    good = SPEC.default_setting
    good[[SPEC.knob_index("serving_threads"), SPEC.knob_index("training_threads")]] = 1.0
    begin = time.monotonic()
    for _ in range(3):
        observation, reward, terminated, _, info = env.step(env.task.encode(good))
    assert time.monotonic() - begin > 1.9 * SPEC.control_period_seconds
    assert env.observation_space.contains(observation)
    assert np.isfinite(reward)
    assert not terminated
    assert not info["late"]
    assert env.episodes.plant.setting[0][SPEC.knob_index("serving_threads")] == 1.0
