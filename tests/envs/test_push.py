"""The system drives, and sees what the environment would have shown."""

import numpy as np

from envs.learning_system import LearningSystemEnv
from envs.push import PushEnv
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec

SPEC = SystemSpec.load("reference")
PERIODS = 12


def new_plant() -> SimulatedPlant:
    return SimulatedPlant(SPEC, default_demands(1.0)[:1], seed=4)


class Remembering:
    """Plays given actions and keeps what it is told."""

    def __init__(self, actions):
        self._actions = iter(actions)
        self.seen, self.rewards = [], []

    def get_action(self, observation, reward):
        self.seen.append(observation)
        self.rewards.append(reward)
        return next(self._actions)


def driven(decide) -> None:
    """A system with a loop of its own."""
    plant = new_plant()
    for _ in range(SPEC.window_periods + PERIODS):
        snapshot = plant.advance(SPEC.control_period_seconds)
        plant.apply(decide(snapshot, plant.setting))


def test_the_system_that_calls_the_policy_sees_what_the_environment_shows():
    env = LearningSystemEnv("joint", plant=new_plant())
    actions = np.random.default_rng(0).uniform(-1, 1, (PERIODS + 1, env.task.n_action))
    agent = Remembering(actions)
    (total,) = PushEnv(env.task, driven).run(agent)

    shown, rewards = [env.reset()[0]], [0.0]
    for action in actions[:PERIODS]:
        observation, reward, *_ = env.step(action)
        shown.append(observation)
        rewards.append(reward)
    assert len(agent.seen) == PERIODS + 1
    np.testing.assert_array_equal(agent.seen, shown)
    np.testing.assert_allclose(agent.rewards, rewards)
    assert total == sum(agent.rewards)
