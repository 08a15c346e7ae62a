from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ppo_config import PpoConfig
from training.config import ConfigError
from training.sweep_space import Range, Space

BASE = PpoConfig()
SPACE = Space({"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "hidden": [[8, 8], [16, 16]]})


@given(seed=st.integers(0, 10**6), trial=st.integers(1, 10**4))
def test_what_is_drawn_is_a_valid_configuration_from_the_space(seed, trial):
    drawn = SPACE.draw(BASE, seed, trial)
    assert 1e-4 <= drawn.learning_rate <= 1e-2
    assert drawn.hidden in ((8, 8), (16, 16))
    assert drawn == SPACE.draw(BASE, seed, trial)
    assert drawn.model_copy(update={"learning_rate": BASE.learning_rate, "hidden": BASE.hidden}) == BASE


def test_the_first_trial_is_the_configuration_itself_and_all_others_differ():
    drawn = [SPACE.draw(BASE, 0, trial) for trial in range(20)]
    assert drawn[0] == BASE
    assert len({config.learning_rate for config in drawn}) == 20


def test_what_has_only_one_choice_holds_for_the_first_trial_too():
    space = Space({"total_steps": [1000], "hidden": [[8, 8], [16, 16]]})
    assert [space.draw(BASE, 0, trial).total_steps for trial in range(3)] == [1000] * 3
    assert space.draw(BASE, 0, 0).hidden == BASE.hidden


def test_a_logarithmic_range_is_as_often_in_one_decade_as_in_another():
    axis, rng = Range(low=1e-4, high=1e-2, log=True), np.random.default_rng(0)
    assert np.mean([axis.draw(rng) < 1e-3 for _ in range(1000)]) == pytest.approx(0.5, abs=0.05)


def test_the_shipped_space_gives_valid_configurations_for_every_shipped_training():
    space = Space.load(None)
    assert {"learning_rate", "gamma", "change_weight", "n_steps", "initial_log_std", "hidden"} <= set(space.describe())
    assert all(space.draw(BASE, 0, trial) for trial in range(50))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gama = [0.9]", "unknown hyperparameter 'gama'; known: n_envs"),
        ("gamma = []", "gamma: no choices"),
        ("gamma = 0.9", r"gamma: .*give \[a, b, ...\]"),
        ("gamma = { low = 0.9, high = 0.8 }", "low must be less than high"),
        ("gamma = { low = 0, high = 1, log = true }", "above 0 with log"),
        ("gamma = ", "search space"),
    ],
)
def test_a_wrong_space_is_explained_in_one_line(tmp_path: Path, text, message):
    file = tmp_path / "space.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as refused:
        Space.load(file)
    assert "\n" not in str(refused.value)


def test_a_space_that_gives_impossible_configurations_is_refused_with_what_it_gave():
    with pytest.raises(ConfigError, match=r"'gamma': 7.*gamma"):
        Space({"gamma": [7]}).draw(BASE, 0, 1)
