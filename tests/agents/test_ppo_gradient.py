import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import VectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.ppo import BatchVecEnv, NumpyPPO
from agents.ppo_gradient import CHUNK, ActorCritic, LossWeights, Samples, add_gradient

N_OBSERVATION, N_ACTION = 7, 3


class Spaces(VectorEnv):
    """Only the spaces are used."""

    def __init__(self) -> None:
        self.num_envs = 2
        self.single_observation_space = gym.spaces.Box(-1, 1, (N_OBSERVATION,), np.float32)
        self.single_action_space = gym.spaces.Box(-1, 1, (N_ACTION,), np.float32)


def learner(seed: int = 0) -> NumpyPPO:
    kwargs = {"net_arch": [16, 8], "log_std_init": -0.7}
    model = NumpyPPO("MlpPolicy", BatchVecEnv(Spaces()), n_steps=2, batch_size=4, policy_kwargs=kwargs, seed=seed)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(50)  # starts at nearly 0: its own gradient would be all there is
    return model


def samples(n: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    observation = rng.uniform(-1, 1, (n, N_OBSERVATION)).astype(np.float32)
    action = rng.normal(0, 0.7, (n, N_ACTION)).astype(np.float32)
    return Samples(observation, action, *(rng.normal(-2, 1, (3, n)).astype(np.float32)))


def toy_network(scale: float) -> ActorCritic:
    rng = np.random.default_rng(1)

    def layers(n_out: int) -> list[tuple[np.ndarray, np.ndarray]]:
        sizes = [(8, N_OBSERVATION), (n_out, 8)]
        return [(scale * rng.normal(size=size), scale * rng.normal(size=size[0])) for size in sizes]

    return ActorCritic(layers(N_ACTION), layers(1), np.zeros(N_ACTION))


def autograd(model: NumpyPPO, batch: Samples, weights: LossWeights) -> np.ndarray:
    """The gradient as stable-baselines3's `train` gets it, all parameters in a row."""
    parameters = list(model.policy.parameters())
    observation, action, old, advantage, returns = (torch.from_numpy(column) for column in batch)
    value, log_probability, entropy = model.policy.evaluate_actions(observation, action)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = torch.exp(log_probability - old)
    clipped = torch.clamp(ratio, 1 - weights.clip_range, 1 + weights.clip_range)
    loss = -torch.min(advantage * ratio, advantage * clipped).mean() - weights.entropy * entropy.mean()
    loss = loss + weights.value * torch.nn.functional.mse_loss(returns, value.flatten())
    return np.concatenate([slope.numpy().ravel() for slope in torch.autograd.grad(loss, parameters)])


def in_numpy(model: NumpyPPO, batch: Samples, weights: LossWeights) -> np.ndarray:
    model.gradient(batch, weights)
    return np.concatenate([parameter.grad.numpy().ravel() for parameter in model.policy.parameters()])


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(2, 2 * CHUNK + 5),
    seed=st.integers(0, 1000),
    weights=st.builds(LossWeights, st.floats(0.05, 1.0), st.floats(0.0, 0.1), st.floats(0.1, 1.0)),
)
def test_the_gradient_is_the_one_that_autograd_gives(n: int, seed: int, weights: LossWeights):
    model, batch = learner(), samples(n, seed)
    expected = autograd(model, batch, weights)
    miss = np.linalg.norm(in_numpy(model, batch, weights) - expected)
    assert miss < 1e-5 * np.linalg.norm(expected)


def test_every_parameter_has_its_own_gradient():
    model = learner()
    model.gradient(samples(64), LossWeights(0.2, 0.01, 0.5))
    for parameter in model.policy.parameters():
        assert float(parameter.grad.abs().max()) > 0


def test_what_is_clipped_moves_only_the_value_network():
    network, gradient = toy_network(1.0), toy_network(0.0)
    ones = np.ones(20)
    good_and_far_more_probable_now = samples(20)._replace(advantage=ones, log_probability=-50.0 * ones)
    add_gradient(network, good_and_far_more_probable_now, LossWeights(0.2, 0.0, 0.5), gradient)
    assert all((slope == 0).all() for layer in gradient.policy for slope in layer)
    assert (gradient.log_std == 0).all()
    assert np.abs(gradient.value[0][0]).max() > 0


def test_figures_of_an_unmoved_policy_say_that_nothing_moved():
    model, rng = learner(), np.random.default_rng(0)
    observation = rng.uniform(-1, 1, (900, N_OBSERVATION)).astype(np.float32)
    action, log_probability = model.network.sample(observation, rng)
    column = rng.normal(size=900).astype(np.float32)
    figures = model.gradient(Samples(observation, action, log_probability, column, column), LossWeights(0.2, 0, 0.5))
    assert figures.kl == pytest.approx(0.0, abs=1e-6)
    assert figures.clip_fraction == 0.0
    assert figures.policy_loss == pytest.approx(0.0, abs=1e-5)
    expected = np.square(model.network.values(observation) - column).mean()
    assert figures.value_loss == pytest.approx(expected, rel=1e-5)


def test_gradients_of_two_minibatches_add_up():
    network, once, twice = toy_network(1.0), toy_network(0.0), toy_network(0.0)
    batch, weights = samples(20), LossWeights(0.2, 0.01, 0.5)
    add_gradient(network, batch, weights, once)
    for _ in range(2):
        add_gradient(network, batch, weights, twice)
    np.testing.assert_allclose(twice.policy[0][0], 2 * once.policy[0][0])
    np.testing.assert_allclose(twice.log_std, 2 * once.log_std)
