"""How fast an SLO's error budget burns, in a short and a long window at once.

One window alone either reacts to a single bad period or takes long to notice; both together do neither (Beyer et al.
2018, "The Site Reliability Workbook", chapter 5: multiwindow, multi-burn-rate alerts, 14.4 and 6 there too).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-9


@dataclass(frozen=True)
class BurnConfig:
    """When an SLO burns its budget too fast; rates are multiples of what just uses it up."""

    budget: float = 0.05
    """Share of the periods in which an SLO may be broken."""
    fast_periods: int = 2
    """Short window. Default 2: with 50 requests a second, a tail of 3 % breaks a 95 % objective in every fifth period,
    two in a row in every twenty-fifth."""
    fast_rate: float = 14.4
    slow_periods: int = 10
    """Long window; shorter while there are fewer periods since the change."""
    slow_rate: float = 6.0


def burning(broken: np.ndarray, config: BurnConfig) -> np.ndarray:
    """Which SLOs burn too fast in both windows, (n_slos,) bool; none before the short window is full.

    Args:
        broken: (T, n_slos) bool, oldest first.
        config: windows and rates.
    """
    if len(broken) < config.fast_periods:
        return np.zeros(broken.shape[-1], dtype=bool)
    fast, slow = (broken[-periods:].mean(axis=0) for periods in (config.fast_periods, config.slow_periods))
    least_fast, least_slow = (rate * config.budget - ROUNDING for rate in (config.fast_rate, config.slow_rate))
    return (fast >= least_fast) & (slow >= least_slow)
