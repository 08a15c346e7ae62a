"""How much more arrivals vary than a Poisson process at the same mean rate would: dispersion of counts.

Two laws are told apart. Where requests come in clumps, or each client is bursty, the variance is `ratio` times
the mean, whatever the mean. Where the rate itself flickers (a Gamma-mixed Poisson process), the variance is
mean + mean^2 / shape: next to nothing at a low rate, and all that matters at a high one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dispersion:
    """Counts in steps of equal length, block by block, each block freed of its own straight line.

    Attributes:
        means: (B,) mean count of each block.
        variances: (B,) variance of the counts around the block's line.
        trend: (T,) the lines, >= 0, the expected count of each step.
        counts: (T,) the counts of these steps.
    """

    means: np.ndarray
    variances: np.ndarray
    trend: np.ndarray
    counts: np.ndarray

    @property
    def ratio(self) -> float:
        """Variance over mean; 1 for Poisson."""
        return float(self.variances.sum() / self.means.sum())

    @property
    def shape(self) -> float:
        """Shape k of the Gamma mixing, where variance = mean + mean^2 / k; infinite for Poisson or steadier."""
        excess = float((self.variances - self.means).sum())
        return float((self.means**2).sum() / excess) if excess > 0 else float("inf")


def dispersion(counts: np.ndarray, block: int) -> Dispersion:
    """Variance of counts around a straight line in each block of `block` steps; a last part of a block is left out.

    Args:
        counts: (T,) arrivals in each step, >= 0.
        block: steps; at least 3. What varies more slowly than a block counts as demand, what varies faster as noise.

    Raises:
        ValueError: on a block below 3 steps, or fewer counts than a block.
    """
    if block < 3 or len(counts) < block:
        raise ValueError(f"{len(counts)} counts in blocks of {block} steps; at least one block of at least 3 is needed")
    rows = counts[: len(counts) // block * block].reshape(-1, block).astype(np.float64)  # (B, block)
    position = np.linspace(-1.0, 1.0, block)
    slope = rows @ position / (position @ position)  # (B,)
    lines = rows.mean(axis=1, keepdims=True) + slope[:, None] * position  # (B, block)
    variances = ((rows - lines) ** 2).sum(axis=1) / (block - 2)  # two degrees of freedom went into the line
    return Dispersion(rows.mean(axis=1), variances, np.maximum(lines, 0.0).ravel(), rows.ravel())
