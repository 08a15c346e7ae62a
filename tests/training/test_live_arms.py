"""How the contestants of a live comparison hand the plant over, on simulated and toy plants."""

import contextlib

import numpy as np
import pytest

from agents.heuristics.static import StaticPolicy
from controller.journal import Journal
from controller.loop import Controller
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role
from envs.task import Task
from plants import ToyPlant
from telemetry.workload import generate_demand
from training.demo import arms
from training.live_arms import ControllerArm, PolicyArm, StaticArm
from training.live_judging import find_contestants
from training.references import load_references, reference_policies
from training.rollout import rollout


class Counting:
    """Asks for one more core-tenth of serving each time, and counts what it was asked."""

    name = "counting"

    def __init__(self, task: Task) -> None:
        self.task, self.calls, self.resets = task, 0, 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        self.calls += 1
        setting = self.task.setting(observation)
        setting[..., 0] += 0.1
        return self.task.encode(setting)

    def reset(self) -> None:
        self.resets += 1


@pytest.fixture
def plant(spec) -> ToyPlant:
    return ToyPlant(spec)


@pytest.fixture
def best(spec) -> np.ndarray:
    return load_references(spec).best_static


def run(arm, periods: int) -> None:
    arm.begin()
    for _ in range(periods):
        arm.step()


def test_a_rule_sets_on_the_testbed_what_it_sets_in_the_simulator(spec, best):
    def simulated() -> SimulatedPlant:
        return SimulatedPlant(spec, [generate_demand(3, family="servegen").scaled(0.8, 1.0)], seed=5)

    policies = reference_policies(spec, load_references(spec))["aimd"]
    expected = rollout(simulated(), policies, 40, start_setting=best).settings[:, 0]  # (40, n_knobs)
    plant = simulated()
    arm = PolicyArm(plant, policies, best, "aimd")
    arm.begin()
    settings = []
    for _ in range(spec.window_periods + 39):
        arm.step()
        settings.append(plant.setting)
    assert np.ptp(expected[:, 0]) > 0.0
    np.testing.assert_array_equal(settings[spec.window_periods - 1 :], expected)


def test_a_rule_waits_until_its_window_of_readings_is_full_in_every_turn(spec, plant, best):
    policy = Counting(Task(spec, Role.ALLOCATION))
    arm = PolicyArm(plant, {Role.ALLOCATION: policy}, best, "counting")
    for turn in (1, 2):
        run(arm, spec.window_periods - 1)
        assert policy.calls == turn - 1
        arm.step()
        assert policy.calls == turn


def test_a_rule_remembers_its_former_turns(spec, plant, best):
    policy = Counting(Task(spec, Role.ALLOCATION))
    arm = PolicyArm(plant, {Role.ALLOCATION: policy}, best, "counting")
    policy.resets = 0
    run(arm, 8)
    run(arm, 8)
    assert policy.resets == 0


def test_each_arm_goes_on_where_it_was_before_another_had_the_plant(spec, plant, best):
    rule = PolicyArm(plant, {Role.ALLOCATION: Counting(Task(spec, Role.ALLOCATION))}, best, "counting")
    held = StaticArm(plant, spec.default_setting, "held")
    run(rule, 8)
    reached = plant.setting
    assert reached[0] > best[0]
    run(held, 3)
    np.testing.assert_allclose(plant.setting, spec.default_setting)
    rule.begin()
    np.testing.assert_array_equal(plant.setting, reached)


def test_a_missing_reading_does_not_stop_a_rule(spec, plant, best):
    policy = Counting(Task(spec, Role.ALLOCATION))
    arm = PolicyArm(plant, {Role.ALLOCATION: policy}, best, "counting")
    run(arm, spec.window_periods)
    plant.drop("serving_latency_p99_seconds")
    snapshot = arm.step()
    assert policy.calls == 2
    assert np.isnan(snapshot.values[spec.catalogue.index("serving_latency_p99_seconds")])


def test_the_controller_moves_nothing_before_its_window_of_readings_is_full(spec, plant, tmp_path):
    """Its fallback rule, which would act meanwhile, is for readings that are missing, not for those still to come."""
    wanted = StaticPolicy(Task(spec, Role.TUNING), load_references(spec).best_static)
    fallback = StaticPolicy(Task(spec, Role.TUNING), spec.default_setting * 0.5)
    journal = Journal(tmp_path / "journal.jsonl")

    def make() -> Controller:
        policies, rules = {Role.TUNING: wanted}, {Role.TUNING: fallback}
        return Controller(plant, policies, rules, journal, mode="act", clock=plant.clock, wall_clock=lambda: 1.7e9)

    arm = ControllerArm(plant, make, spec.default_setting)
    for _ in range(2):
        arm.begin()
        before = plant.setting
        for _ in range(spec.window_periods - 1):
            arm.step()
            np.testing.assert_array_equal(plant.setting, before)
        for _ in range(8):
            arm.step()
    journal.close()
    assert (plant.setting != spec.default_setting).any()
    policies = {p["policy"] for r in Journal.read(tmp_path / "journal.jsonl") for p in r.get("opened", [])}
    assert policies == {wanted.name}


def test_trimtab_acts_in_a_live_comparison(spec, tmp_path):
    plant = SimulatedPlant(spec, [generate_demand(3, family="servegen").scaled(0.8, 1.0)], seed=5)
    with contextlib.closing(Journal(tmp_path / "journal.jsonl")) as journal:
        trimtab = arms(plant, find_contestants(spec, None), journal, compression=60.0)[-1]
        run(trimtab, 30)
    assert (plant.setting != load_references(spec).best_static).any()
