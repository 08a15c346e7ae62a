import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.cli import app
from training.config import ConfigError
from training.train import TrainingError
from training.training_runs import Outcome, TrainingRequest, refit_guards

CONFIG = """
episode_periods = 20
validation_periods = 20
seeds = [0, 1, 2]
[ppo]
n_envs = 16
n_steps = 8
batch_size = 64
total_steps = 256
hidden = [8, 8]
evaluations = 1
[demands]
families = ["smd"]
seeds = [1]
episode_seconds = 60.0
[validation]
families = ["smd"]
seeds = [9]
episode_seconds = 60.0
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(CONFIG)
    return file


def request(tmp_path: Path, **options) -> TrainingRequest:
    given = dict(task="tuning", out=tmp_path, config=None, spec="reference", parameters=None)
    rest = dict(seeds=None, jobs=None, folder=tmp_path, resume=False)
    return TrainingRequest(**(given | rest | options))


def run(tmp_path: Path, *options: str):
    folders = ["--out", str(tmp_path / "models"), "--logs", str(tmp_path / "logs")]
    return CliRunner().invoke(app, ["train", "--task", "allocation", *folders, *options])


def test_a_training_ends_with_one_object_of_json_on_stdout(tmp_path: Path, config: Path):
    done = run(tmp_path, "--config", str(config), "--seeds", "2", "--json")
    result = json.loads(done.stdout)
    assert result["directory"] == str(tmp_path / "models" / "allocation")
    assert "ppo seed 2" in result["scores"]
    assert "ppo seed 0" not in result["scores"]
    assert (tmp_path / "models" / "seeds" / "2" / "allocation" / "policy.npz").is_file()


def test_a_sweep_ends_with_a_table_and_the_best_hyperparameters(tmp_path: Path, config: Path):
    space = tmp_path / "space.toml"
    space.write_text("gamma = [0.9]")
    done = run(tmp_path, "--config", str(config), "--sweep", "1", "--space", str(space))
    assert done.exit_code == 0
    assert "1 trials, seed 0" in done.stdout
    assert "[ppo]" in done.stdout
    assert json.loads((tmp_path / "logs" / "sweep.json").read_text())["trials"][0]["trial"] == 0


@pytest.mark.parametrize("wrong", [["--space", "x.toml"], ["--ray", "local"]])
def test_options_of_a_sweep_are_refused_without_one(tmp_path: Path, wrong: list[str]):
    done = run(tmp_path, *wrong)
    assert done.exit_code == 2
    assert "--sweep" in done.stderr


def test_to_go_on_needs_the_folder_to_go_on_in():
    done = CliRunner().invoke(app, ["train", "--task", "tuning", "--resume"])
    assert done.exit_code == 2
    assert "--logs" in done.stderr


def test_guards_are_fitted_only_where_there_is_a_policy(tmp_path: Path):
    with pytest.raises(TrainingError, match="no policy for this spec"):
        refit_guards(request(tmp_path))


@pytest.mark.parametrize("training", [["--sweep", "3"], ["--resume", "--logs", "there"]])
def test_who_wants_guards_only_wants_no_training(tmp_path: Path, training: list[str]):
    done = CliRunner().invoke(app, ["train", "--task", "tuning", "--guard-only", *training])
    assert done.exit_code == 2
    assert "--guard-only" in done.output


def test_one_learner_runs_in_this_process_and_several_in_no_more_than_there_are(tmp_path: Path):
    assert request(tmp_path).processes(1) == 0
    assert request(tmp_path, jobs=4).processes(3) == 3
    assert request(tmp_path, jobs=2).processes(5) == 2
    assert request(tmp_path).processes(5) >= 1


def test_seeds_on_the_command_line_take_the_place_of_the_configurations(tmp_path: Path, config: Path):
    assert request(tmp_path, config=config).training().config.seeds == (0, 1, 2)
    assert request(tmp_path, config=config, seeds="7,8").training().config.seeds == (7, 8)
    with pytest.raises(ConfigError, match="0,1,2"):
        request(tmp_path, config=config, seeds="").training()


def test_failures_are_told_with_what_to_do_about_them():
    with pytest.raises(TrainingError, match=r"seed 3: killed by SIGKILL\. Do it again"):
        Outcome({}, [], {"seed 3": "killed by SIGKILL"}, "Do it again").check()
    Outcome({}, [], {}, "").check()
