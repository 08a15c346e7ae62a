import gymnasium
import numpy as np
import pytest

from envs.registration import ENVIRONMENTS
from envs.wrappers import VectorReward


def test_the_reward_is_the_objective_vector_and_lies_in_its_space():
    env = VectorReward(gymnasium.make("trimtab/Joint-v1"))
    env.reset(seed=0)
    for _ in range(5):
        _, reward, _, _, info = env.step(env.action_space.sample())
        assert env.reward_space.contains(reward)
        assert len(env.objective_names) == len(reward)
        assert np.isscalar(info["reward"])
    assert env.objective_names == ("serving", "training", "ingest", "resources", "slo")
    assert "trimtab/Joint-v1" in ENVIRONMENTS


def test_another_environment_is_refused():
    with pytest.raises(TypeError, match="CartPoleEnv"):
        VectorReward(gymnasium.make("CartPole-v1"))
