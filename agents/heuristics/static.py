"""The policy that always asks for the same setting."""

from __future__ import annotations

import numpy as np

from envs.task import Task


class StaticPolicy:
    """Do-nothing, the best static setting, and the knobs that another heuristic leaves alone."""

    def __init__(self, task: Task, setting: np.ndarray, name: str = "static") -> None:
        """Keep the task's knobs at their values in `setting`.

        Args:
            task: whose knobs are set.
            setting: (n_knobs,), or (..., n_knobs) to give each system its own; all knobs, in natural units.
            name: what tables call the policy.
        """
        self.name = name
        self._action = task.encode(np.asarray(setting, dtype=float))  # (..., n_action)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action), the same whatever is observed."""
        return np.broadcast_to(self._action, (*observation.shape[:-1], self._action.shape[-1])).copy()

    def reset(self) -> None:
        """Nothing is remembered."""
