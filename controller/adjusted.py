"""Efficiency around a change, adjusted for what is known not to be its doing.

What is reserved is known exactly, so that only useful work is uncertain; what other workloads are granted meanwhile is
priced as before the change, and the useful work of those that were changed or restarted meanwhile counts as before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.trial import Period, Trial


def useful_work(trial: Trial, watched: Sequence[Period], own: int, aside: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Useful work at the price before a change: before it and since, (len(trial.baseline),) and (len(watched),).

    It is a share of what was wanted, and so adjusted to the load by itself. Where capacity was added, no price is
    charged: paying more was the intention, and only a loss of useful work speaks against it.

    Args:
        trial: with a baseline.
        watched: periods since, complete.
        own: position of the changed workload.
        aside: positions of workloads whose useful work is not the change's doing.
    """
    before, after = (np.array([period.value for period in periods]) for periods in (trial.baseline, watched))
    told = all(len(period.shares) for period in (*trial.baseline, *watched))
    if told and aside:
        usual, since = (np.array([p.shares for p in periods])[:, list(aside)] for periods in (trial.baseline, watched))
        after = after + (usual.mean(axis=0) - since).sum(axis=1)
    if trial.adds:
        return before, after
    price = _mean_cost(trial.baseline)
    if not told:
        return before, after * price / _mean_cost(watched)
    granted, granted_before = (np.mean([p.prices[own] for p in periods]) for periods in (watched, trial.baseline))
    paid = price + float(granted - granted_before) + _rest(watched) - _rest(trial.baseline)
    return before, after * price / paid


def _mean_cost(periods: Sequence[Period]) -> float:
    return float(np.mean([period.cost for period in periods]))


def _rest(periods: Sequence[Period]) -> float:
    """What is paid besides CPU: the lower median, since one period of writing a checkpoint is no lasting price."""
    rest = np.sort([period.cost - float(period.prices.sum()) for period in periods])
    return float(rest[(len(rest) - 1) // 2])
