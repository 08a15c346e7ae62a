"""Policy: what chooses a setting. PPO exports, heuristics and static settings are interchangeable."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Policy(Protocol):
    """Chooses an action from an observation of its Task.

    Policies with memory (stabilisation windows, integrators) keep it per system and forget it in `reset`.
    """

    name: str

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) float32 -> (..., n_action) float32 in [-1, 1]; leading shape constant between resets."""
        ...

    def reset(self) -> None:
        """Forget everything remembered about earlier observations."""
        ...
