"""Guards are fitted to what policies see, stored in their artifacts, and come with those that are shipped."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from agents.artifact import load, shipped_directory
from agents.novelty import guard_of
from agents.policy import Policy
from envs.recent import Recent
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import JOINT, Task
from telemetry.metrics import Snapshot
from training.bench_guard import bench_guard, k_of_n
from training.demands import DemandConfig, load_demands
from training.guard import Wanderer, fit_guards, observe_recorded, see, simulate
from training.rollout import play, rollout

SHIPPED = shipped_directory(Role.ALLOCATION).parent
FOLDERS = [SHIPPED, *sorted(SHIPPED.glob("seeds/*"))]


class Watching:
    """Passes on, and remembers what it was asked."""

    name = "watching"

    def __init__(self, policy: Policy) -> None:
        self.policy, self.seen = policy, []

    def act(self, observation: np.ndarray) -> np.ndarray:
        self.seen.append(observation.copy())
        return self.policy.act(observation)

    def reset(self) -> None:
        self.policy.reset()


@pytest.fixture
def plant(spec: SystemSpec) -> SimulatedPlant:
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1, 2), episode_seconds=60.0), 1.0)
    return SimulatedPlant(spec, demands, n=2)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("role", Role)
def test_every_shipped_policy_has_a_guard_and_roles_that_act_together_have_the_same(spec, folder, role):
    guards = [guard_of(load(folder / each, spec, each)) for each in (role, Role.ALLOCATION)]
    assert guards[0].guard.threshold == guards[1].guard.threshold
    assert guards[0].guard.threshold > 1.0


def test_fitting_again_gives_the_shipped_guard_and_leaves_the_network_alone(spec, tmp_path: Path):
    for role in Role:
        shutil.copytree(SHIPPED / role, tmp_path / role)
    assert fit_guards(tmp_path, spec) == [tmp_path / role for role in Role]
    again, shipped = (load(folder / Role.TUNING, spec, Role.TUNING) for folder in (tmp_path, SHIPPED))
    # Sums are added in another order on another processor.
    np.testing.assert_allclose(again.guard.guard.threshold, shipped.guard.guard.threshold, rtol=1e-3)
    np.testing.assert_allclose(again.guard.guard.mean, shipped.guard.guard.mean, atol=1e-4)
    assert all((a[0] == b[0]).all() for a, b in zip(again.layers, shipped.layers, strict=True))


def test_a_folder_without_policies_for_this_spec_is_left_alone(spec, tmp_path: Path):
    shutil.copytree(SHIPPED / Role.TUNING, tmp_path / Role.TUNING)
    before = (tmp_path / Role.TUNING / "policy.npz").read_bytes()
    assert fit_guards(tmp_path, spec.model_copy(update={"window_periods": 7})) == []
    assert (tmp_path / Role.TUNING / "policy.npz").read_bytes() == before


def test_what_is_fitted_to_is_what_the_policy_was_shown(spec, plant):
    watching = Watching(Wanderer(Task(spec, JOINT)))
    played = rollout(plant, {JOINT: watching}, 20)
    # The first observations are of the window before the rollout, which does not keep it.
    found = see(spec, played).observations
    readings = [
        i for i, label in enumerate(Task(spec, JOINT).labels) if label.startswith(("now/", "trend/", "setting/"))
    ]
    shown = np.stack(watching.seen)[spec.window_periods : spec.window_periods + len(found)]
    np.testing.assert_array_equal(found[..., readings], shown[..., readings])


def test_rewards_are_those_of_the_period_after(spec, plant):
    task = Task(spec, JOINT)
    periods = list(islice(play(plant, {JOINT: Wanderer(task)}), 10))
    after = periods[spec.window_periods]
    expected = np.sum(list(task.score(after.values, after.setting, after.previous).values()), axis=0)
    plant.reset(seed=0)
    played = rollout(plant, {JOINT: Wanderer(task)}, 10)
    np.testing.assert_allclose(see(spec, played).rewards[0], expected)


def test_the_wanderer_visits_other_settings_and_is_the_same_after_a_reset(spec):
    seen = [simulate(spec, {JOINT: Wanderer(Task(spec, JOINT))}, (1,), periods=60).observations for _ in range(2)]
    np.testing.assert_array_equal(*seen)
    settings = [i for i, label in enumerate(Task(spec, JOINT).labels) if label.startswith("setting/")]
    assert (np.ptp(seen[0][..., settings], axis=0) > 0).any(axis=0).all()


def test_recorded_periods_with_a_reading_missing_are_left_out(spec):
    values = np.random.default_rng(0).uniform(0.0, 1.0, (30, len(spec.metrics)))
    values[15, 3] = np.nan
    found = observe_recorded(spec, values, np.tile(spec.default_setting, (30, 1)))
    whole = 30 - spec.window_periods + 1
    assert len(found) == whole - spec.window_periods
    recent = Recent(spec)
    for row in values[: spec.window_periods]:
        recent.append(Snapshot(0.0, row))
    np.testing.assert_array_equal(found[0], Task(spec, JOINT).observe(recent, spec.default_setting))


def test_three_of_five_are_too_many():
    strange = np.array([1, 0, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1], dtype=bool)[:, None]
    assert np.flatnonzero(k_of_n(strange)).tolist() == [4, 11]


def test_the_bench_finds_what_is_perturbed_and_leaves_the_rest_alone():
    found = bench_guard(seeds=(9001,), periods=480)
    assert found["false_alarms"]["generated days"]["not_asked"] <= 0.01
    assert found["false_alarms"]["generated days"]["not_believed"] == 0.0
    assert {name: rates["acted_on"] > 0.9 for name, rates in found["detection"].items()} == dict.fromkeys(
        ("shuffled columns", "noise of 1 sd", "noise of 4 sd", "all readings zero", "CPU readings x 3"), True
    )
    assert found["stuck"]["found"] > 0.7
