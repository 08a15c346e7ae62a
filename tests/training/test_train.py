import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from agents.artifact import load, read_card
from agents.ppo_config import PpoConfig
from envs.spec import Role, SystemSpec
from training.config import TrainingConfig
from training.demands import DemandConfig
from training.references import SettingError
from training.train import Training, TrainingError, run_train, train_seed

FEW = DemandConfig(families=("smd",), seeds=(1, 2), episode_seconds=60.0)
TINY = TrainingConfig(
    ppo=PpoConfig(n_envs=16, n_steps=8, batch_size=64, total_steps=512, hidden=(8, 8), evaluations=2),
    demands=FEW,
    validation=FEW.model_copy(update={"seeds": (9,)}),
    episode_periods=20,
    validation_periods=20,
    seeds=(0, 1),
)


def tiny(spec: SystemSpec, out: Path, task: str = Role.TUNING, **changes) -> Training:
    return Training(task, out, spec, TINY.model_copy(update=changes))


def same(one, other) -> bool:
    pairs = zip(one.layers, other.layers, strict=True)
    return all((mine == theirs).all() for ours, others in pairs for mine, theirs in zip(ours, others, strict=True))


def test_training_writes_an_artifact_that_loads_and_a_card_that_tells_how(spec, tmp_path: Path):
    calls = []
    report = run_train(tiny(spec, tmp_path), on_progress=lambda done, total, message: calls.append((done, total)))
    policy = load(tmp_path / "tuning", spec, Role.TUNING)
    observation = np.zeros(policy.sizes[0], dtype=np.float32)
    np.testing.assert_array_equal(policy.act(observation), report.policy.act(observation))
    card = read_card(tmp_path / "tuning")
    assert card["training"]["ppo"]["total_steps"] == 512
    assert card["seeds"] == [0, 1]
    assert 0 < card["training_seconds"] == pytest.approx(report.seconds, abs=0.1)
    assert {"ppo seed 0", "ppo seed 1", "static", "best_static", "threshold", "aimd"} <= set(report.scores)
    assert calls[-1] == (1024, 1024)


def test_the_best_seed_is_chosen_and_each_seed_leaves_its_own_artifact(spec, tmp_path: Path):
    report = run_train(tiny(spec, tmp_path))
    each = {seed: load(tmp_path / "seeds" / str(seed) / "tuning", spec, Role.TUNING) for seed in (0, 1)}
    best = max(each, key=lambda seed: report.scores[f"ppo seed {seed}"])
    assert same(report.policy, each[best])
    assert not same(each[0], each[1])
    assert read_card(tmp_path / "tuning")["seed"] == best
    assert read_card(tmp_path / "seeds" / "1" / "tuning")["seeds"] == [1]
    assert json.loads((tmp_path / "seeds/1/tuning/result.json").read_text())["curve"] == report.curves[1]


def test_the_partner_is_the_one_that_the_configuration_names(spec, tmp_path: Path):
    run_train(tiny(spec, tmp_path, Role.ALLOCATION, seeds=(0,)))
    assert read_card(tmp_path / "allocation")["partner"] == "best_static"
    run_train(tiny(spec, tmp_path, seeds=(0,), partner="policy"))
    assert read_card(tmp_path / "tuning")["partner"] == "ppo-allocation"


def test_a_seed_learns_beside_the_same_seed_of_the_other_role(spec, tmp_path: Path):
    run_train(tiny(spec, tmp_path, Role.ALLOCATION))
    training = tiny(spec, tmp_path, partner="policy")
    beside_each = [train_seed(training, seed)["score"] for seed in (0, 1)]
    seeds = tmp_path / "seeds"
    shutil.copytree(seeds / "0" / "allocation", seeds / "1" / "allocation", dirs_exist_ok=True)
    assert train_seed(training, 0)["score"] == beside_each[0]
    assert train_seed(training, 1)["score"] != beside_each[1]


def test_the_same_seed_trains_the_same_policy(spec, tmp_path: Path):
    first, second = (run_train(tiny(spec, tmp_path / name, seeds=(0,))) for name in ("first", "second"))
    assert same(first.policy, second.policy)


def test_a_learner_process_trains_the_same_policy_and_the_crash_of_another_is_reported(spec, tmp_path: Path):
    here = run_train(tiny(spec, tmp_path / "here", seeds=(0,)))
    (tmp_path / "apart" / "seeds" / "1" / "tuning" / "policy.npz").mkdir(parents=True)  # in the way of the artifact
    report = run_train(tiny(spec, tmp_path / "apart"), jobs=2)
    assert same(report.policy, here.policy)
    assert list(report.failures) == ["seed 1"]
    assert "IsADirectoryError" in report.failures["seed 1"]
    assert read_card(tmp_path / "apart" / "tuning")["seeds"] == [0]


def test_when_no_seed_gives_a_policy_nothing_is_written_and_the_reason_is_told(spec, tmp_path: Path):
    impossible = TINY.demands.model_copy(update={"families": ("nowhere",)})
    with pytest.raises(TrainingError, match=r"seed 0: .*nowhere"):
        run_train(tiny(spec, tmp_path, seeds=(0,), demands=impossible), jobs=1)
    assert not (tmp_path / "tuning").exists()


def test_a_training_may_start_from_the_setting_beside_a_heuristic(spec, tmp_path: Path):
    run_train(tiny(spec, tmp_path, seeds=(0,), start="aimd"))
    assert read_card(tmp_path / "tuning")["partner"] == "aimd"


def test_a_start_that_nobody_searched_names_those_there_are(spec, tmp_path: Path):
    with pytest.raises(SettingError, match="'aimdd', only for best_static, threshold"):
        run_train(tiny(spec, tmp_path, seeds=(0,), start="aimdd"))
