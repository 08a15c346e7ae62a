"""The hour-of-day table: what was, at this hour, on the days before. Needs no model, and is hard to beat far ahead.

Every function takes `past` (N, PAST_HOURS): in each row the newest hours of one metric, newest first, NaN where
unknown.
"""

from __future__ import annotations

import numpy as np

from telemetry.issues import DAY_HOURS, Target, issues

DAYS = 14
"""Days that the table remembers. Default: two of each weekday; longer memory was no better on real traces."""
PAST_HOURS = DAYS * DAY_HOURS + 1
"""The newest hour, and all that the table compares it with."""


def past_of(levels: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """The hours up to and including each origin, newest first.

    Args:
        levels: (H,) hourly.
        origins: (N,) int, index of the newest hour that may be known.

    Returns:
        (N, PAST_HOURS); NaN before the first hour.
    """
    padded = np.concatenate([np.full(PAST_HOURS - 1, np.nan), levels])
    windows = np.lib.stride_tricks.sliding_window_view(padded, PAST_HOURS)
    return windows[origins, ::-1]


def same_hours(past: np.ndarray, target: Target) -> np.ndarray:
    """Level at the target's hour, or the highest within its hours, 1, 2, ... `DAYS` days earlier, (N, DAYS)."""
    ends = np.arange(1, DAYS + 1) * DAY_HOURS - target.lead  # of the day before: 24 - lead hours ago
    found = past[:, ends]
    for later in range(1, target.lead if target.within else 1):
        found = np.fmax(found, past[:, ends + later])
    return found


def issue_frequency(past: np.ndarray, limit: np.ndarray, target: Target, days: int = DAYS) -> np.ndarray:
    """Share of the last days on which the target's hours had an issue, (N,) in (0, 1).

    It is drawn towards the share of all hours as if that were one more day, so that few days do not make certainties.
    For "within" the level is the highest of the hours that are known.
    """
    seen = issues(same_hours(past, target)[:, :days], limit[:, None])
    known = ~np.isnan(seen)
    every = issues(past, limit[:, None])
    known_hours = (~np.isnan(every)).sum(axis=1)
    overall = (np.nansum(every, axis=1) + 0.5) / (known_hours + 1.0)
    prior = 1.0 - (1.0 - overall) ** (target.lead if target.within else 1)
    return (np.nansum(seen, axis=1) + prior) / (known.sum(axis=1) + 1.0)
