"""The learned policy as it runs: a small tanh network in numpy, without the framework that trained it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.novelty import NoveltyGuard


class MlpPolicy:
    """A multi-layer perceptron from observation to action mean, clipped to [-1, 1].

    Equals stable-baselines3's `predict(deterministic=True)` of the network it was exported from. A NaN reading makes
    every action of that system NaN, which `Task.decode` takes as "leave the knobs as they are".
    """

    def __init__(self, layers: Sequence[tuple[np.ndarray, np.ndarray]], name: str = "ppo") -> None:
        """Take copies of the layers.

        Args:
            layers: pairs of weight (n_out, n_in) and bias (n_out,), first to last; tanh after each but the last.
            name: what tables and journals call the policy.

        Raises:
            ValueError: no layer, shapes that do not fit together, or a weight that is not finite.
        """
        if not layers:
            raise ValueError("a policy network needs at least one layer, given none")
        self.name = name
        self.guard: NoveltyGuard | None = None
        """Tells observations unlike those that the policy was made with; comes with the artifact."""
        self.layers = tuple((np.array(w, dtype=np.float32), np.array(b, dtype=np.float32)) for w, b in layers)
        width = self.layers[0][0].shape[-1]
        for i, (weight, bias) in enumerate(self.layers):
            if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
                raise ValueError(f"layer {i}: weight {weight.shape} and bias {bias.shape} do not take {width} inputs")
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise ValueError(f"layer {i} holds a weight that is not finite")
            width = weight.shape[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Width of the input, of each hidden layer and of the output."""
        return (self.layers[0][0].shape[1], *(weight.shape[0] for weight, _ in self.layers))

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action) float32 in [-1, 1]."""
        hidden = np.asarray(observation, dtype=np.float32)
        for weight, bias in self.layers[:-1]:
            hidden = np.tanh(hidden @ weight.T + bias)  # (..., n_hidden)
        weight, bias = self.layers[-1]
        return np.clip(hidden @ weight.T + bias, -1.0, 1.0)

    def reset(self) -> None:
        """Nothing is remembered between observations."""
