"""What anybody could foretell: frequencies, by what is known at the hour. Every forecast is shown beside them."""

from __future__ import annotations

import numpy as np

from telemetry.issues import DAY_HOURS, Target, labels

CLIMATOLOGY, PERSISTENCE, SEASONAL_NAIVE = "climatology", "persistence", "seasonal_naive"
PERSISTENCE_AND_SEASON = "persistence_and_season"
PRIOR_HOURS = 4.0
"""Weight of a metric's own base rate in each cell, in hours."""


def baselines(issue: np.ndarray, target: Target, train_end: int, origins: np.ndarray) -> dict[str, np.ndarray]:
    """Frequencies in the first hours of a metric, by nothing, the state now, yesterday's then, or both.

    Args:
        issue: (H,) of the metric, see `issues`.
        target: what is foretold.
        train_end: the frequencies are of the hours before this one.
        origins: (N,) hours at which it is foretold.

    Returns:
        (N,) probabilities by name; where the state is unknown, the frequency over all hours.
    """
    truth = np.full(len(issue), np.nan)
    truth[:train_end] = labels(issue[:train_end], target)
    yesterday = np.full(len(issue), np.nan)
    yesterday[DAY_HOURS:] = labels(issue, target)[:-DAY_HOURS]
    known = ~np.isnan(truth)
    rate = (truth[known].sum() + 0.5) / (known.sum() + 1.0)
    both = issue + 2.0 * yesterday
    states = {PERSISTENCE: issue, SEASONAL_NAIVE: yesterday, PERSISTENCE_AND_SEASON: both}
    found = {CLIMATOLOGY: np.full(len(origins), rate)}
    for name, state in states.items():
        found[name] = np.full(len(origins), rate)
        for value in np.unique(state[known & ~np.isnan(state)]):
            cell = known & (state == value)
            frequency = (truth[cell].sum() + PRIOR_HOURS * rate) / (cell.sum() + PRIOR_HOURS)
            found[name][state[origins] == value] = frequency
    return found
