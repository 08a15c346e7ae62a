import re

import pytest

from envs.spec import Role
from training.config import ConfigError, TrainingConfig


@pytest.mark.parametrize("role", list(Role))
def test_shipped_configurations_are_valid_and_validate_on_other_seeds(role):
    config = TrainingConfig.load(None, role)
    assert not set(config.demands.seeds) & set(config.validation.seeds)


def test_values_come_from_the_file_and_defaults_fill_the_rest(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("episode_periods = 99\n[ppo]\ngamma = 0.5\n")
    config = TrainingConfig.load(file, Role.TUNING)
    assert (config.episode_periods, config.ppo.gamma, config.ppo.n_epochs) == (99, 0.5, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("episode = 3", "unknown key 'episode'; did you mean 'episode_periods'. known keys: ppo, demands"),
        ("[ppo]\ngama = 3", r"ppo: unknown key 'gama'; did you mean 'gamma'. known keys: n_envs"),
        ("[ppo]\ngamma = 3", r"ppo\.gamma: .*given 3"),
        ("ppo = ", "not valid TOML"),
        ("seeds = []", "seeds: must be a list of length >= 1"),
        ("seeds = [1, 1]", "seeds: .*each seed once"),
    ],
)
def test_a_wrong_file_is_explained_in_one_line(tmp_path, text, message):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as refused:
        TrainingConfig.load(file, Role.ALLOCATION)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        TrainingConfig.load(tmp_path / "nowhere.toml", Role.ALLOCATION)


def test_seeds_are_taken_from_the_command_line():
    config = TrainingConfig(episode_periods=99).with_seeds("3,1, 4")
    assert (config.seeds, config.episode_periods) == ((3, 1, 4), 99)


@pytest.mark.parametrize("listed", ["", "1,", "1,1", "-1", "a", "1.5", "1;2"])
def test_seeds_that_are_none_are_refused_in_one_line(listed):
    with pytest.raises(ConfigError, match=rf"as in 0,1,2; given {re.escape(repr(listed))}"):
        TrainingConfig().with_seeds(listed)


@pytest.mark.parametrize("task", ["allocation", "tuning", "joint"])
def test_shipped_trainings_have_five_seeds(task):
    assert len(TrainingConfig.load(None, task).seeds) >= 5
