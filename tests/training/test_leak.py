import numpy as np
import pytest

from agents.heuristics.static import StaticPolicy
from agents.heuristics.threshold import ThresholdParameters, ThresholdPolicy
from agents.oracle import OracleConfig, OraclePolicy
from envs.spec import Role
from envs.task import JOINT, Task
from training.leak import NotReproducible, future_leak

QUICK = OracleConfig(candidates=4, rounds=1, elite=2)


class Prophet:
    """Looks up the demand of ten periods later in the plant that it holds."""

    name = "prophet"

    def __init__(self, task, plant):
        self._size, self._plant = len(task.knobs), plant

    def act(self, observation):
        ahead = self._plant.select(np.arange(len(observation)))
        for _ in range(10):
            snapshot = ahead.advance(1.0)
        return np.repeat(snapshot.values[:, :1] / 1e3, self._size, axis=1).astype(np.float32)

    def reset(self):
        pass


class Dice:
    name = "dice"

    def __init__(self, task):
        self._size, self._rng = len(task.knobs), np.random.default_rng(0)

    def act(self, observation):
        return self._rng.uniform(-1, 1, (len(observation), self._size)).astype(np.float32)

    def reset(self):
        pass  # and so goes on with other numbers


def test_a_policy_that_reads_the_future_from_its_plant_is_caught(spec):
    assert future_leak(spec, lambda plant: {JOINT: Prophet(Task(spec, JOINT), plant)})


def test_the_oracle_is_caught_when_passed_off_as_a_policy(spec):
    known = spec.default_setting[None]
    assert future_leak(spec, lambda plant: {JOINT: OraclePolicy(Task(spec, JOINT), plant, known, QUICK)})


def test_a_rule_that_sees_only_observations_is_not(spec):
    policies = {
        Role.ALLOCATION: ThresholdPolicy(Task(spec, Role.ALLOCATION), ThresholdParameters()),
        Role.TUNING: StaticPolicy(Task(spec, Role.TUNING), spec.default_setting),
    }
    assert not future_leak(spec, policies)


def test_a_policy_that_only_knows_the_present_of_its_plant_is_not(spec):
    class Present(Prophet):
        def act(self, observation):
            shown = self._plant.setting[:, : self._size] - self._plant.setting[:, : self._size].mean()
            return np.tanh(shown).astype(np.float32)

    assert not future_leak(spec, lambda plant: {JOINT: Present(Task(spec, JOINT), plant)})


def test_a_policy_that_never_acts_twice_alike_cannot_be_judged(spec):
    dice = Dice(Task(spec, JOINT))
    with pytest.raises(NotReproducible, match="seed its generator"):
        future_leak(spec, {JOINT: dice})
