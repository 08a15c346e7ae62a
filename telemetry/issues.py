"""What an issue is, hour by hour, and when one is to be foretold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

HOUR = 3600.0
DAY_HOURS = 24
ISSUE_SECONDS = 900.0
"""How long of an hour a metric must be over its limit. Default: a quarter of an hour; single peaks are no issue."""
CALM_HOURS = 6
"""Hours without issue before an onset. Default 6: shorter pauses belong to the same incident."""
KNOWN_SHARE = 0.5
"""An hour with fewer of its readings than this tells nothing, and is NaN."""
STRONG, SEASONAL = 0.9, 0.6
"""Seasonal skill from which a metric counts as strongly daily, and as seasonal."""
SKILL_DAYS = 14
MIN_SKILL_DAYS = 3


class IssueError(ValueError):
    """Readings in which no issue can be seen; one line."""


@dataclass(frozen=True)
class Target:
    """What is foretold at hour t.

    Attributes:
        name: as in reports and artifacts.
        lead: hours.
        within: whether any issue in t+1 .. t+lead counts; else that very hour, t+lead.
    """

    name: str
    lead: int
    within: bool = False


TARGETS = (
    Target("1h", 1),
    Target("6h", 6),
    Target("24h", 24),
    Target("within_6h", 6, within=True),
    Target("within_24h", 24, within=True),
)


def hourly_levels(values: np.ndarray, step_seconds: float, start: float = 0.0) -> np.ndarray:
    """Readings -> the level that was held for `ISSUE_SECONDS` of each whole hour of the clock.

    It is over a limit exactly when the metric was over it for that long, so one array serves every limit.

    Args:
        values: (T,) readings, NaN where missing.
        step_seconds: distance of two readings.
        start: time of the first; hours begin at multiples of `HOUR`, and the first and last broken ones are left out.

    Returns:
        (H,) float64 in the metric's unit; NaN for hours of which too little is known.

    Raises:
        IssueError: readings that are more than an hour apart or do not divide it.
    """
    per_hour = round(HOUR / step_seconds) if 0 < step_seconds <= HOUR else 0
    if not per_hour or abs(per_hour * step_seconds - HOUR) > 1e-6 * HOUR:
        raise IssueError(f"readings every {step_seconds:g} s; needed is a whole number of them in an hour of 3600 s")
    skip = math.ceil(round((-start % HOUR) / step_seconds, 6))
    hours = max(len(values) - skip, 0) // per_hour
    table = np.asarray(values, dtype=np.float64)[skip : skip + hours * per_hour].reshape(hours, per_hour)
    held = max(1, math.ceil(ISSUE_SECONDS / step_seconds))
    unknown = np.isnan(table)
    ordered = np.sort(np.where(unknown, -np.inf, table), axis=1)  # missing readings cannot show that it was over
    levels = ordered[:, per_hour - held]
    few = (~unknown).sum(axis=1) < max(KNOWN_SHARE * per_hour, held)
    return np.where(few | ~np.isfinite(levels), np.nan, levels)


def first_hour(start: float) -> float:
    """Time at which the first whole hour of readings from `start` begins, seconds."""
    return math.ceil(round(start / HOUR, 9)) * HOUR


def issues(levels: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """1.0 in hours with an issue, 0.0 without, NaN where not known; the shape of `levels`."""
    return np.where(np.isnan(levels), np.nan, (levels > limit).astype(np.float64))


def labels(issue: np.ndarray, target: Target) -> np.ndarray:
    """What comes true of `target`, seen from each hour.

    Args:
        issue: (H,) as `issues` gives it.
        target: what is foretold.

    Returns:
        (H,) 1.0, 0.0, or NaN where the hours ahead are unknown or beyond the end. One issue settles "within", however
        much else is unknown.
    """
    found = np.full(len(issue), np.nan)
    if not target.within:
        found[: max(len(issue) - target.lead, 0)] = issue[target.lead :]
        return found
    if len(issue) <= target.lead:
        return found
    ahead = np.lib.stride_tricks.sliding_window_view(issue[1:], target.lead)  # (H - lead, lead)
    any_issue = (ahead == 1.0).any(axis=1)
    found[: len(ahead)] = np.where(any_issue, 1.0, np.where(np.isnan(ahead).any(axis=1), np.nan, 0.0))
    return found


def onsets(issue: np.ndarray) -> np.ndarray:
    """(H,) bool: hours in which an issue begins after `CALM_HOURS` known to be calm."""
    found = np.zeros(len(issue), dtype=bool)
    if len(issue) > CALM_HOURS:
        before = np.lib.stride_tricks.sliding_window_view(issue[:-1], CALM_HOURS)  # hours t-6 .. t-1 of t
        found[CALM_HOURS:] = (before == 0.0).all(axis=1) & (issue[CALM_HOURS:] == 1.0)
    return found


def widened(marks: np.ndarray) -> np.ndarray:
    """(H,) bool: hours that are marked, or whose neighbour is: one hour of tolerance."""
    found = marks.copy()
    found[1:] |= marks[:-1]
    found[:-1] |= marks[1:]
    return found


def seasonal_skill(levels: np.ndarray) -> float:
    """Share of the variance that the same hour of the days before explains a day ahead (R2).

    Args:
        levels: (H,) hourly; for a verdict on a forecast only those that were known before it was made.

    Returns:
        At most 1; below 0 where yesterday misleads; NaN with less than `MIN_SKILL_DAYS` + 1 days or no variation.
    """
    days = np.stack([_delayed(levels, DAY_HOURS * day) for day in range(1, SKILL_DAYS + 1)])  # (days, H)
    known = ~np.isnan(days)
    count = known.sum(axis=0)
    expected = np.where(known, days, 0.0).sum(axis=0) / np.maximum(count, 1)
    usable = (count >= MIN_SKILL_DAYS) & ~np.isnan(levels)
    if usable.sum() < DAY_HOURS:
        return float("nan")
    variance = float(np.var(levels[usable]))
    return 1.0 - float(np.mean((levels - expected)[usable] ** 2)) / variance if variance > 0 else float("nan")


def predictability(skill: float) -> str:
    """`strong`, `seasonal` or `weak`, by seasonal skill; what is not known is weak."""
    if skill > STRONG:
        return "strong"
    return "seasonal" if skill > SEASONAL else "weak"


def _delayed(values: np.ndarray, hours: int) -> np.ndarray:
    return np.concatenate([np.full(min(hours, len(values)), np.nan), values[: max(len(values) - hours, 0)]])
