"""PPO's network, clipped loss and gradient in numpy: what takes torch's place in the hot loop of training.

Networks this small keep torch busy with dispatch, and its tanh runs at an eighth of numpy's speed (measured on this
build). The formulas are stable-baselines3's, and a test holds the gradient against its autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Layers = Sequence[tuple[np.ndarray, np.ndarray]]
"""Weight (n_out, n_in) and bias (n_out,) of each layer, first to last; tanh after each but the last."""

CHUNK = 512
"""Rows worked on at a time, so that activations stay in the second-level cache."""
HALF_LOG_2_PI = 0.5 * float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class ActorCritic:
    """A Gaussian policy and a value network without shared layers; or, in the same shapes, the gradient of one."""

    policy: Layers
    """From observation to the action's mean."""
    value: Layers
    """From observation to value (n, 1)."""
    log_std: np.ndarray
    """(n_action,) logarithm of the actions' standard deviation."""

    def sample(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Actions (n, n_action), not clipped, and their log-probability (n,), for observations (n, n_observation)."""
        mean = forward(self.policy, observation)[-1]
        noise = rng.standard_normal(mean.shape, dtype=np.float32)
        return mean + np.exp(self.log_std) * noise, self.log_probability(noise)

    def values(self, observation: np.ndarray) -> np.ndarray:
        """(n,) expected returns."""
        return forward(self.value, observation)[-1][:, 0]

    def entropy(self) -> float:
        """Of the action distribution, which is equally wide everywhere."""
        return float(self.log_std.sum()) + len(self.log_std) * (0.5 + HALF_LOG_2_PI)

    def log_probability(self, noise: np.ndarray) -> np.ndarray:
        """(n,) of actions that lie `noise` (n, n_action) standard deviations from their mean."""
        return -0.5 * np.square(noise).sum(axis=1) - (self.log_std.sum() + len(self.log_std) * HALF_LOG_2_PI)


class Samples(NamedTuple):
    """n steps of a rollout, in any order."""

    observation: np.ndarray
    """(n, n_observation)."""
    action: np.ndarray
    """(n, n_action), as sampled."""
    log_probability: np.ndarray
    """(n,) of the action when it was sampled."""
    advantage: np.ndarray
    """(n,)."""
    returns: np.ndarray
    """(n,), what the value network is to predict."""

    def rows(self, which: np.ndarray | slice) -> Samples:
        """Some of the steps."""
        return Samples(*(column[which] for column in self))

    def normalized(self) -> Samples:
        """The same with advantages of mean 0 and standard deviation 1."""
        advantage = self.advantage
        return self._replace(advantage=(advantage - advantage.mean()) / (advantage.std(ddof=1) + np.float32(1e-8)))


class LossWeights(NamedTuple):
    """What the loss is made of."""

    clip_range: float
    entropy: float
    value: float


class LossFigures(NamedTuple):
    """Means over the samples of a minibatch."""

    policy_loss: float
    value_loss: float
    kl: float
    """Approximate Kullback-Leibler divergence from the policy that sampled."""
    clip_fraction: float
    """Share of samples whose probability ratio lies outside the clip range."""


def forward(layers: Layers, inputs: np.ndarray) -> list[np.ndarray]:
    """The inputs (n, n_in), then what comes out of each layer; the last is the network's output (n, n_out)."""
    outputs = [inputs]
    for i, (weight, bias) in enumerate(layers):
        output = outputs[-1] @ weight.T
        output += bias
        outputs.append(np.tanh(output, out=output) if i + 1 < len(layers) else output)
    return outputs


def backward(layers: Layers, outputs: list[np.ndarray], slope: np.ndarray, gradient: Layers) -> None:
    """Add the gradient by the layers' parameters to `gradient`.

    Args:
        layers: of the network.
        outputs: what `forward` gave.
        slope: (n, n_out) of the loss by the network's output.
        gradient: arrays of the layers' shapes.
    """
    for i in reversed(range(len(layers))):
        by_weight, by_bias = gradient[i]
        by_weight += slope.T @ outputs[i]
        by_bias += slope.sum(axis=0)
        if i:
            slope = slope @ layers[i][0]  # (n, n_in)
            slope *= 1.0 - np.square(outputs[i])  # of tanh


def add_gradient(network: ActorCritic, samples: Samples, weights: LossWeights, gradient: ActorCritic) -> LossFigures:
    """Add the gradient of PPO's loss on a minibatch to `gradient`.

    Args:
        network: the policy and value network as they are now.
        samples: the minibatch, advantages already normalized.
        weights: of the loss's parts.
        gradient: arrays of the network's shapes, 0 to get the gradient itself.
    """
    n = len(samples.advantage)
    chunks = [samples.rows(slice(start, start + CHUNK)) for start in range(0, n, CHUNK)]
    sums = [_add_gradient(network, chunk, weights, gradient, n) for chunk in chunks]
    gradient.log_std[:] -= weights.entropy
    return LossFigures(*(float(total) / n for total in np.sum(sums, axis=0)))


def _add_gradient(
    network: ActorCritic, samples: Samples, weights: LossWeights, gradient: ActorCritic, n: int
) -> tuple[float, float, float, float]:
    """Of some of a minibatch's n samples; returns the sums that make `LossFigures`."""
    policy, value = forward(network.policy, samples.observation), forward(network.value, samples.observation)
    inverse_std = np.exp(-network.log_std)
    noise = (samples.action - policy[-1]) * inverse_std  # (n, n_action)
    log_ratio = network.log_probability(noise) - samples.log_probability
    ratio = np.exp(log_ratio)
    gain = samples.advantage * ratio
    clipped_gain = samples.advantage * np.clip(ratio, 1.0 - weights.clip_range, 1.0 + weights.clip_range)
    # A clipped sample has no slope; d ratio = ratio d log-probability.
    by_log_probability = (np.where(gain <= clipped_gain, gain, 0.0) / -n)[:, None]  # (n, 1)
    backward(network.policy, policy, by_log_probability * noise * inverse_std, gradient.policy)
    gradient.log_std[:] += (by_log_probability * (np.square(noise) - 1.0)).sum(axis=0)
    miss = value[-1][:, 0] - samples.returns
    backward(network.value, value, (2.0 * weights.value / n * miss)[:, None], gradient.value)
    outside = np.abs(ratio - 1.0) > weights.clip_range
    return (
        -float(np.minimum(gain, clipped_gain).sum()),
        float(np.square(miss).sum()),
        float((ratio - 1.0 - log_ratio).sum()),
        float(outside.sum()),
    )
