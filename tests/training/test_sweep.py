import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agents.ppo_config import PpoConfig
from envs.spec import SystemSpec
from training.config import TrainingConfig
from training.demands import DemandConfig
from training.learners import run_learners
from training.sweep import Sweep, SweepError, best_as_toml, run_sweep, sweep_table
from training.sweep_space import Space
from training.train import Training

FEW = DemandConfig(families=("smd",), seeds=(1,), episode_seconds=60.0)
TINY = TrainingConfig(
    ppo=PpoConfig(n_envs=16, n_steps=8, batch_size=64, total_steps=256, hidden=(8, 8), evaluations=1),
    demands=FEW,
    validation=FEW.model_copy(update={"seeds": (9,)}),
    episode_periods=20,
    validation_periods=20,
    seeds=(4, 5),
)
SPACE = Space({"gamma": {"low": 0.8, "high": 0.99}})


def planned(spec: SystemSpec, folder: Path) -> Sweep:
    return Sweep(Training("allocation", folder / "models", spec, TINY), folder / "sweep", 2, SPACE)


@pytest.fixture(scope="module")
def finished(spec, tmp_path_factory) -> Path:
    """The folder of a sweep of two trials."""
    sweep = planned(spec, tmp_path_factory.mktemp("finished"))
    run_sweep(sweep)
    return sweep.folder


@pytest.fixture
def sweep(spec, finished: Path, tmp_path: Path) -> Sweep:
    """The same sweep, ready to be gone on with."""
    sweep = planned(spec, tmp_path)
    shutil.copytree(finished, sweep.folder)
    return replace(sweep, training=replace(sweep.training, resume=True))


def none_run(learners, on_progress=None):
    """For what must not come as far as running anything."""
    raise AssertionError(list(learners))


def test_trials_are_listed_best_first_with_what_each_of_them_changed(finished: Path):
    trials = json.loads((finished / "sweep.json").read_text())["trials"]
    scores = [trial["score"] for trial in trials]
    assert scores == sorted(scores, reverse=True)
    assert {trial["trial"]: set(trial["changed"]) for trial in trials} == {0: set(), 1: {"gamma"}}
    assert {trial["seed"] for trial in trials} == {4}
    assert all(trial["seconds"] > 0 and trial["error"] is None for trial in trials)
    assert not (finished.parent / "models").exists()  # policies are made by a training


def test_a_sweep_that_is_gone_on_with_runs_only_what_has_no_result(sweep):
    first = json.loads((sweep.folder / "sweep.json").read_text())
    asked = []

    def watched(learners, on_progress=None):
        asked.extend(learners)
        return run_learners(learners, on_progress)

    result = run_sweep(replace(sweep, trials=3), watched)
    assert asked == ["trial 2"]
    assert [trial for trial in result["trials"] if trial["trial"] < 2] == first["trials"]
    assert json.loads((sweep.folder / "sweep.json").read_text()) == result


def test_a_sweep_is_not_written_over_unless_it_is_gone_on_with(sweep):
    with pytest.raises(SweepError, match="--resume"):
        run_sweep(replace(sweep, training=replace(sweep.training, resume=False)), none_run)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"task": "tuning"}, "task 'allocation'"), ({"config": TINY.model_copy(update={"episode_periods": 30})}, "base")],
)
def test_another_sweep_is_not_gone_on_with(sweep, change, named):
    with pytest.raises(SweepError, match=named):
        run_sweep(replace(sweep, training=replace(sweep.training, **change)), none_run)


def test_a_trial_that_failed_is_listed_last_with_its_reason_and_run_again_later(sweep):
    (sweep.folder / "trials" / "0" / "result.json").unlink()
    asked = []

    def killed(learners, on_progress=None):
        asked.append(list(learners))
        return dict.fromkeys(learners, "killed by SIGKILL")

    for _ in range(2):
        failed = run_sweep(sweep, killed)["trials"][-1]
        assert (failed["trial"], failed["score"], failed["error"]) == (0, None, "killed by SIGKILL")
    assert asked == [["trial 0"], ["trial 0"]]
    assert best_as_toml({"trials": [failed]}) == "# no trial gave a score"


def test_the_table_and_the_best_trial_are_shown_for_people(finished: Path):
    result = json.loads((finished / "sweep.json").read_text())
    best = dict(result["trials"][0], trial=7, changed={"gamma": 0.9, "hidden": [8, 8]})
    assert sweep_table(result).row_count == 2
    assert best_as_toml(result | {"trials": [best]}) == "# trial 7 is the best:\n[ppo]\ngamma = 0.9\nhidden = [8, 8]"
