"""Wrappers for methods that want the parts of the reward apart."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.learning_system import LearningSystemEnv


class VectorReward(gymnasium.Wrapper[np.ndarray, Any, np.ndarray, Any]):
    """The objective vector as the reward, as multi-objective methods want it.

    The interface is MO-Gymnasium's (Felten et al. 2023): `step` returns a reward (n_objectives,) float32 that lies in
    `reward_space`. The entries are named by `objective_names`; more is better.

    Raises:
        TypeError: not a learning system.
    """

    def __init__(self, env: gymnasium.Env[np.ndarray, Any]) -> None:
        super().__init__(env)
        if not isinstance(env.unwrapped, LearningSystemEnv):
            raise TypeError(f"VectorReward takes a LearningSystemEnv; given {type(env.unwrapped).__name__}")
        objective = env.unwrapped.task.objective
        self.objective_names = objective.objective_names
        most = [workload.catch_up for workload in objective.spec.workloads.values()]
        low = np.array([*(0.0 for _ in most), -np.inf, -1.0], dtype=np.float32)
        high = np.array([*most, 0.0, 0.0], dtype=np.float32)
        self.reward_space = Box(low, high, dtype=np.float32)

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """One period; the scalar reward stands in `info["reward"]`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, info["objectives"].astype(np.float32), terminated, truncated, info | {"reward": reward}
