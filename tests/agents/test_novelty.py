"""The guard that a policy carries: what it finds strange, and how it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agents.artifact import ArtifactError, attach_guard, load, read_card, save
from agents.network import MlpPolicy
from agents.novelty import NoveltyGuard, fit_novelty, guard_of, guarded_entries, stored_guard
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.drift import GuardError

SIZE = 6


def walks(seed: int, periods: int = 400, systems: int = 8) -> np.ndarray:
    """(T, N, SIZE): two entries that always agree, the others free."""
    free = np.random.default_rng(seed).normal(scale=0.3, size=(periods, systems, SIZE))
    free[..., 1] = free[..., 0] + 0.01 * free[..., 2]
    return free


@pytest.fixture(scope="module")
def guard() -> NoveltyGuard:
    calibration = walks(2)
    rewards = 2.0 * calibration[..., 0] - calibration[..., 5] + 1.0
    return fit_novelty(np.arange(SIZE), [(1.0, walks(1).reshape(-1, SIZE))], calibration, rewards)


@pytest.fixture
def artifact(tmp_path: Path, spec: SystemSpec) -> Path:
    task = Task(spec, Role.TUNING)
    save(tmp_path, MlpPolicy([(np.zeros((task.n_action, task.n_observation)), np.zeros(task.n_action))]), task, {})
    return tmp_path


def wide_guard(spec: SystemSpec) -> NoveltyGuard:
    """For the observations of a spec."""
    entries = guarded_entries(Task(spec, Role.TUNING).labels)
    seen = np.random.default_rng(0).normal(scale=0.2, size=(300, 2, 82))
    return fit_novelty(entries, [(1.0, seen.reshape(-1, 82))], seen, seen[..., 0])


def test_what_is_like_training_is_strange_once_in_a_thousand(guard):
    assert 0.0 < guard.is_strange(walks(3, periods=4000)).mean() < 0.003


def test_values_that_are_usual_alone_and_not_together_are_strange(guard):
    usual = walks(3)[:1, 0]
    together = usual.copy()
    together[:, :2] = [[0.4, -0.4]]
    assert not guard.is_strange(usual).any()
    assert guard.is_strange(together).all()


def test_what_is_not_finite_is_strange(guard):
    observation = walks(3)[0, 0]
    observation[3] = np.nan
    assert guard.is_strange(observation)


def test_the_reward_to_expect_is_that_of_training(guard):
    seen = walks(4)[:50, 0]
    np.testing.assert_allclose(guard.expected_reward(seen), 2.0 * seen[:, 0] - seen[:, 5] + 1.0, atol=0.05)


def test_a_missing_reading_is_not_fitted_to():
    broken = walks(1).reshape(-1, SIZE)
    broken[5, 2] = np.nan
    with pytest.raises(GuardError, match="not finite"):
        fit_novelty(np.arange(SIZE), [(1.0, broken)], walks(2), np.zeros((400, 8)))


def test_what_is_wanted_the_time_of_day_and_the_neighbours_are_no_readings_of_the_system(spec):
    labels = Task(spec, Role.TUNING).labels
    left_out = {label for i, label in enumerate(labels) if i not in guarded_entries(labels)}
    assert {label.partition("/")[0] for label in left_out} == {"weight", "day", "now", "trend"}
    assert {label for label in left_out if "/host_" in label} == {f"{p}/host_cpu_used_ratio" for p in ("now", "trend")}


def test_a_guard_that_is_stored_and_read_gives_the_same_distances(spec, artifact):
    guard = wide_guard(spec)
    attach_guard(artifact, guard, {"kind": "test"})
    read = guard_of(load(artifact, spec, Role.TUNING))
    observations = np.random.default_rng(1).normal(size=(20, 82))
    assert read is not None
    np.testing.assert_allclose(read.distance(observations), guard.distance(observations), rtol=1e-5)
    assert read_card(artifact)["guard"] == {"kind": "test"}


def test_an_artifact_without_a_guard_still_loads_and_acts_as_before(spec, artifact):
    policy = load(artifact, spec, Role.TUNING)
    assert guard_of(policy) is None
    before = policy.act(np.zeros(82))
    attach_guard(artifact, wide_guard(spec), {})
    np.testing.assert_array_equal(load(artifact, spec, Role.TUNING).act(np.zeros(82)), before)


def test_a_policy_that_is_saved_again_keeps_its_guard(spec, artifact, tmp_path):
    attach_guard(artifact, wide_guard(spec), {})
    save(tmp_path / "again", load(artifact, spec, Role.TUNING), Task(spec, Role.TUNING), {})
    assert guard_of(load(tmp_path / "again", spec, Role.TUNING)) is not None


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("guard_mean", np.full(74, np.nan, dtype=np.float32)),
        ("guard_whitening", np.zeros((3, 3), dtype=np.float32)),
        ("guard_entries", np.arange(74, dtype=np.int32) + 50),
        ("guard_threshold", np.array(-1.0)),
        ("guard_reward", np.array(["a"] * 75)),
    ],
)
def test_a_damaged_guard_is_refused(spec, name, damaged):
    arrays = wide_guard(spec).arrays() | {name: damaged}
    with pytest.raises(GuardError, match="stored guard"):
        stored_guard(arrays, 82)


def test_half_a_guard_is_refused_with_the_artifact(spec, artifact):
    guard = wide_guard(spec)

    class Half:
        @staticmethod
        def arrays() -> dict[str, np.ndarray]:
            return {"guard_mean": guard.arrays()["guard_mean"]}

    attach_guard(artifact, Half(), {})
    with pytest.raises(ArtifactError, match="lacks entries, reward"):
        load(artifact, spec, Role.TUNING)
