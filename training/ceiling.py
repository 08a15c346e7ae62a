"""The best balanced accuracy that any forecast of a given R2 can reach: what is unknown ahead bounds every method."""

from __future__ import annotations

import numpy as np


def best_balanced_accuracy(r2: float, base_rate: float) -> float:
    """For a Gaussian level whose forecast explains `r2` of its variance, and the best threshold on the probability.

    Args:
        r2: of the forecast; 0 or less knows nothing, 1 everything.
        base_rate: share of hours over the limit, in (0, 1).

    Returns:
        In [0.5, 1]; e.g. 0.79 for r2 0.49 at a base rate of 0.1, 0.955 for 0.95.
    """
    from scipy.stats import norm

    if r2 <= 0.0 or not 0.0 < base_rate < 1.0:
        return 0.5
    if r2 >= 1.0:
        return 1.0
    limit = norm.isf(base_rate)
    forecast = np.linspace(-8.0, 8.0, 4001)  # in deviations of the forecast itself
    density = norm.pdf(forecast) * (forecast[1] - forecast[0])
    chance = norm.sf((limit - np.sqrt(r2) * forecast) / np.sqrt(1.0 - r2))
    alarm = chance > base_rate  # balanced accuracy weighs an issue by 1 / base rate, so this is its best rule
    recall = (density * chance)[alarm].sum() / base_rate
    false = (density * (1.0 - chance))[alarm].sum() / (1.0 - base_rate)
    return float((recall + 1.0 - false) / 2.0)
