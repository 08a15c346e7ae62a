"""How many optimizations succeeded, counted strictly: kept, and better than before beyond the noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from controller.trial import Outcome

NORMAL_95 = 1.959964
JUDGED = (Outcome.KEEP, Outcome.ROLLED_BACK, Outcome.INCONCLUSIVE, Outcome.UNDONE)
"""Outcomes that count; one that was superseded was not judged."""


class SuccessRate(NamedTuple):
    """A share with its 95 % interval (Wilson 1927), NaN where nothing was judged."""

    rate: float
    low: float
    high: float
    counts: dict[str, int]
    """By outcome, and `proven`: kept with a lower bound of the gain above zero. `rate` is proven over judged."""


def success_rate(records: Iterable[Mapping[str, Any]]) -> SuccessRate:
    """Of the optimizations in the records of a journal: success is the verdict keep with a proven gain.

    Args:
        records: of a journal; others than decisions are passed over.
    """
    counts: Counter[str] = Counter()
    for record in records:
        for verdict in record.get("verdicts", []):
            counts[verdict["outcome"]] += 1
            low = (verdict.get("gain_interval") or (None,))[0]
            counts["proven"] += verdict["outcome"] == Outcome.KEEP and low is not None and low > 0.0
    return success_of(counts)


def success_of(counts: Mapping[str, int]) -> SuccessRate:
    """The rate of counted outcomes; `proven` is the number of successes."""
    judged, proven = sum(counts.get(outcome, 0) for outcome in JUDGED), counts.get("proven", 0)
    found = {name: counts.get(name, 0) for name in (*Outcome, "proven")}
    return SuccessRate(proven / judged if judged else math.nan, *wilson(proven, judged), found)


def not_rolled_back(counts: Mapping[str, int]) -> SuccessRate:
    """The weaker figure that other systems publish: judged, and not taken back, for harm or for want of proof."""
    judged = sum(counts.get(outcome, 0) for outcome in JUDGED)
    stayed = judged - counts.get(Outcome.ROLLED_BACK, 0) - counts.get(Outcome.UNDONE, 0)
    found = {name: counts.get(name, 0) for name in (*Outcome, "proven")}
    return SuccessRate(stayed / judged if judged else math.nan, *wilson(stayed, judged), found)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share; NaN without trials."""
    if not trials:
        return math.nan, math.nan
    share, z2 = successes / trials, NORMAL_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = NORMAL_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))  # rounding puts 0 of 48 below 1e-17
