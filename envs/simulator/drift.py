"""The world that the model must follow: how fast it turns, how hard it is, when meanings change; (N,) arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulator.columns import Columns

TRADES_SECONDS = (80.0, 110.0)
"""Every so often a pair of classes trades meanings."""
BLUR_SECONDS = 61.0
"""Period with which all is harder and easier to tell apart, whatever the model."""
WORLD_SECONDS = 13_200.0
"""A system's `drift_phase`, in radians, is where it begins in so long a piece of the world's time."""


class World(NamedTuple):
    """The world in one period."""

    turning: np.ndarray
    """How fast it turns to and fro, relative to its mean speed."""
    blur: np.ndarray
    """How hard it is, in [-1, 1]."""
    trades: np.ndarray
    """Whether meanings change, 0 or 1."""


def phase(seconds: float) -> float:
    """The `drift_phase`, in radians, of a system that begins at `seconds` of the world's time."""
    return 2.0 * np.pi * (seconds % WORLD_SECONDS) / WORLD_SECONDS


def world(p: Columns, state: Columns, seconds: float) -> World:
    """The world in the next `seconds`. Parabolas stand for the waves: they are within 0.06 of them, and cost less."""
    now = state.elapsed + state.drift_phase * (WORLD_SECONDS / (2.0 * np.pi))
    swing = now * (2.0 / p.accuracy_drift_period_seconds)
    swing = swing - np.rint(swing)
    wave = now * (1.0 / BLUR_SECONDS)
    wave = wave - np.rint(wave)
    first, second = (np.floor((now + seconds) / each) - np.floor(now / each) for each in TRADES_SECONDS)
    return World(1.5 - 6.0 * swing * swing, 8.0 * wave * (1.0 - 2.0 * np.abs(wave)), np.minimum(first + second, 1.0))
