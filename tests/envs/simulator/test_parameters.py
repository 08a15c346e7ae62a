"""Parameters: kept in a readable file, checked when read, randomised around their values."""

import json

import numpy as np
import pytest

from envs.simulator.parameters import FIXED, PARAMETER_NAMES, Parameters, ParametersError


def test_shipped_parameters_load():
    assert Parameters.load("reference").metadata["source"]


def test_what_is_saved_is_loaded(tmp_path):
    parameters = Parameters(parallel_gain_ratio=0.5, spread={"other_cores": 0.3}, metadata={"source": "test"})
    parameters.save(tmp_path / "p.json")
    assert Parameters.load(tmp_path / "p.json") == parameters


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"values": {"serving_speed": 1.0}}, "unknown parameter 'serving_speed'"),
        ({"values": {"other_cores": -1.0}}, "other_cores is -1.0"),
        ({"values": {"parallel_gain_ratio": 1.5}}, "from 0 to 1.0"),
        ({"values": {"other_cores": "much"}}, "other_cores is 'much'"),
        ({"values": {}, "spread": {"speed": 0.1}}, "in spread"),
        ({}, "cannot read"),
    ],
)
def test_a_mistake_is_named(tmp_path, content, message):
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(ParametersError, match=message.replace("(", r"\(")):
        Parameters.load(tmp_path / "p.json")


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ParametersError, match="nowhere"):
        Parameters.load("nowhere")


def test_randomised_parameters_lie_around_their_values_and_fixed_ones_stay():
    parameters = Parameters(spread={"other_cores": 0.2})
    drawn = parameters.randomized(np.random.default_rng(0), 2000)
    assert np.std(np.log(drawn.other_cores)) == pytest.approx(0.2, rel=0.15)
    assert np.median(drawn.other_cores) == pytest.approx(parameters.other_cores, rel=0.05)
    for name in PARAMETER_NAMES:
        assert (drawn[name] <= 1.0).all() or not name.endswith("_ratio")
        assert (drawn[name] == getattr(parameters, name)).all() == (name in FIXED)
