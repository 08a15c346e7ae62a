import numpy as np
import pytest

from agents.network import MlpPolicy
from agents.policy import Policy

IDENTITY = (np.eye(2), np.zeros(2))


def test_network_equals_a_hand_calculation():
    policy = MlpPolicy([(np.array([[1.0, 2.0]]), np.array([0.5])), (np.array([[0.5]]), np.array([0.1]))])
    action = policy.act(np.array([0.25, -0.5], dtype=np.float32))
    assert action == pytest.approx([0.5 * np.tanh(0.25 - 1.0 + 0.5) + 0.1], abs=1e-6)


def test_action_is_clipped_to_the_unit_box():
    policy = MlpPolicy([IDENTITY])
    assert policy.act(np.array([3.0, -3.0])).tolist() == [1.0, -1.0]


def test_a_batch_gives_what_single_observations_give():
    rng = np.random.default_rng(0)
    policy = MlpPolicy([(rng.normal(size=(8, 5)), rng.normal(size=8)), (rng.normal(size=(3, 8)), rng.normal(size=3))])
    observations = rng.normal(size=(4, 7, 5)).astype(np.float32)
    single = np.array([[policy.act(row) for row in rows] for rows in observations])
    np.testing.assert_allclose(policy.act(observations), single, atol=1e-6)
    assert policy.sizes == (5, 8, 3)
    assert isinstance(policy, Policy)


def test_a_missing_reading_makes_the_action_missing_and_not_a_number_of_its_own():
    assert np.isnan(MlpPolicy([(np.ones((2, 2)), np.zeros(2)), IDENTITY]).act(np.array([np.nan, 0.0]))).all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one layer"),
        ([(np.eye(2), np.zeros(3))], "layer 0"),
        ([IDENTITY, (np.eye(3), np.zeros(3))], "layer 1"),
        ([(np.array([[np.inf]]), np.zeros(1))], "not finite"),
    ],
)
def test_layers_that_make_no_network_are_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        MlpPolicy(layers)
