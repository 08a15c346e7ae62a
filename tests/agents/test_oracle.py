"""The oracle is an upper bound only if nothing simple beats it."""

import numpy as np
import pytest

from agents.heuristics.static import StaticPolicy
from agents.oracle import OracleConfig, OraclePolicy
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role
from envs.task import JOINT, Task
from training.rollout import rollout
from training.scores import score_rollout

CONFIG = OracleConfig(candidates=16, rounds=2, horizon_periods=10)


def new_plant(spec):
    return SimulatedPlant(spec, default_demands(1.0)[:3], n=3, seed=5, noise=False)


def reward(spec, plant, policies):
    return score_rollout(spec, rollout(plant, policies, 60, start_setting=spec.default_setting)).reward


def test_no_setting_that_it_knows_does_better(spec):
    good = spec.default_setting
    for name in ("serving_threads", "training_threads"):
        good[spec.knob_index(name)] = 1.0
    plant = new_plant(spec)
    oracle = OraclePolicy(Task(spec, JOINT), plant, good[None], CONFIG)
    found = reward(spec, plant, {JOINT: oracle})
    static = reward(spec, new_plant(spec), {JOINT: StaticPolicy(Task(spec, JOINT), good)})
    assert (found > static).all()


def test_planning_leaves_the_plant_as_it_was(spec):
    plant, untouched = new_plant(spec), new_plant(spec)
    task = Task(spec, JOINT)
    oracle = OraclePolicy(task, plant, spec.default_setting[None], CONFIG)
    oracle.act(np.zeros((3, task.n_observation)))
    assert (plant.advance(1.0).values == untouched.advance(1.0).values).all()


def test_the_same_seed_plans_the_same(spec):
    task, plant = Task(spec, JOINT), new_plant(spec)
    plans = []
    for _ in range(2):
        oracle = OraclePolicy(task, plant, spec.default_setting[None], CONFIG, seed=3)
        plans.append(oracle.act(np.zeros((3, task.n_observation))))
    assert (plans[0] == plans[1]).all()


def test_it_needs_the_joint_task(spec):
    with pytest.raises(ValueError, match="joint task, given tuning"):
        OraclePolicy(Task(spec, Role.TUNING), new_plant(spec), spec.default_setting[None])
