from pathlib import Path

import numpy as np

from agents.artifact import load, read_card
from agents.ppo_config import PpoConfig
from envs.spec import Role
from training.config import TrainingConfig
from training.demands import DemandConfig
from training.train import run_train

FEW = DemandConfig(families=("smd",), seeds=(1, 2), episode_seconds=60.0)
TINY = TrainingConfig(
    ppo=PpoConfig(n_envs=16, n_steps=8, batch_size=64, total_steps=512, hidden=(8, 8), evaluations=2),
    demands=FEW,
    validation=FEW.model_copy(update={"seeds": (9,)}),
    episode_periods=20,
    validation_periods=20,
    seeds=(0, 1),
)


def test_training_writes_an_artifact_that_loads_and_a_card_that_tells_how(spec, tmp_path: Path):
    calls = []
    report = run_train(
        Role.TUNING, tmp_path / "tuning", spec, config=TINY, on_progress=lambda done, total, message: calls.append(done)
    )
    policy = load(tmp_path / "tuning", spec, Role.TUNING)
    observation = np.zeros(policy.sizes[0], dtype=np.float32)
    np.testing.assert_array_equal(policy.act(observation), report.policy.act(observation))
    card = read_card(tmp_path / "tuning")
    assert card["training"]["ppo"]["total_steps"] == 512
    assert card["seeds"] == [0, 1]
    assert {"ppo seed 0", "ppo seed 1", "static", "best_static", "threshold", "aimd"} <= set(report.scores)
    assert calls[-1] == 1024


def test_the_partner_is_the_one_that_the_configuration_names(spec, tmp_path: Path):
    one = TINY.model_copy(update={"seeds": (0,)})
    run_train(Role.ALLOCATION, tmp_path / "allocation", spec, config=one)
    assert read_card(tmp_path / "allocation")["partner"] == "best_static"
    run_train(Role.TUNING, tmp_path / "tuning", spec, config=one.model_copy(update={"partner": "policy"}))
    assert read_card(tmp_path / "tuning")["partner"] == "ppo-allocation"


def test_the_same_seed_trains_the_same_policy(spec, tmp_path: Path):
    one = TINY.model_copy(update={"seeds": (0,)})
    reports = [run_train(Role.TUNING, tmp_path / name, spec, config=one) for name in ("first", "second")]
    for first, second in zip(*(report.policy.layers for report in reports), strict=True):
        assert all((one == other).all() for one, other in zip(first, second, strict=True))
