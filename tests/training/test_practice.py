import numpy as np
import pytest

from agents.heuristics.static import StaticPolicy
from envs.spec import Role
from envs.task import JOINT, Task
from training.config import TrainingConfig
from training.demands import DemandConfig
from training.practice import Practice


@pytest.fixture(scope="module")
def practice(spec) -> Practice:
    demands = DemandConfig(families=("smd",), seeds=(1,), episode_seconds=60.0)
    held_out = DemandConfig(families=("smd",), seeds=(1001, 1002), episode_seconds=60.0)
    return Practice(spec, TrainingConfig(demands=demands, validation=held_out, validation_periods=20))


def test_validation_is_the_same_each_time_and_prefers_the_better_setting(practice, spec):
    better = spec.default_setting
    better[[spec.knob_index("serving_threads"), spec.knob_index("training_threads")]] = 1.0

    def score(setting: np.ndarray) -> float:
        return practice.validate({role: StaticPolicy(Task(spec, role), setting) for role in Role})

    assert score(better) == score(better) > score(spec.default_setting)


def test_equal_seeds_give_equal_episodes_whatever_else_is_in_the_batch(practice, spec):
    env = practice.environment(Task(spec, JOINT), 4, episode_steps=10, stagger=False)
    observation, _ = env.reset(seed=[7, 8, 7, 8])
    np.testing.assert_array_equal(observation[:2], observation[2:])
    assert (observation[0] != observation[1]).any()


def test_practice_begins_at_random_settings(practice, spec):
    task = Task(spec, JOINT)
    observation, _ = practice.environment(task, 32, episode_steps=10).reset(seed=0)
    cores = task.knob(observation, "serving_cpu_cores")
    assert cores.std() > 0.1
