"""Issues that need no model: what grows steadily, as leaks, full disks and backlogs do, reaches its limit in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from telemetry.issues import HOUR

WINDOW_HOURS = 48
"""Of the trend. Default: two days, so that half of a daily swing is not taken for a trend."""
MIN_HOURS = 12
LEAST_ORDER = 0.6
"""Kendall's tau from which growth counts as steady; a daily swing over two days stays below 0.2."""
Z = 1.96
SLOWEST_HOURS = 30 * 24.0
"""A limit further away than that is no news."""


@dataclass(frozen=True)
class TimeToLimit:
    """When a growing metric reaches its limit.

    Attributes:
        seconds: from the newest hour, by the median slope.
        earliest: seconds, by the steepest slope of the 95 % interval.
        latest: seconds, by the flattest.
        slope_per_hour: growth, in the metric's unit.
    """

    seconds: float
    earliest: float
    latest: float
    slope_per_hour: float


def time_to_limit(levels: np.ndarray, limit: float) -> TimeToLimit | None:
    """Theil and Sen's slope of the newest hours, with Sen's interval.

    Args:
        levels: (H,) hourly, NaN where unknown, newest last.
        limit: of the metric; growth upwards only.

    Returns:
        None where it does not grow steadily, is over the limit already, or takes longer than `SLOWEST_HOURS`.
    """
    recent = levels[-WINDOW_HOURS:]
    hours = np.flatnonzero(~np.isnan(recent)).astype(np.float64)
    values = recent[~np.isnan(recent)]
    if len(values) < MIN_HOURS or values[-1] >= limit:
        return None
    first, second = np.triu_indices(len(values), k=1)
    rise = values[second] - values[first]
    if np.sign(rise).mean() < LEAST_ORDER:
        return None
    slopes = np.sort(rise / (hours[second] - hours[first]))
    n = len(values)
    spread = Z * np.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
    low = slopes[max(int((len(slopes) - spread) / 2), 0)]
    high = slopes[min(int((len(slopes) + spread) / 2) + 1, len(slopes) - 1)]
    slope = float(np.median(slopes))
    level = float(np.median(values - slope * hours)) + slope * (len(recent) - 1)  # where the line stands now
    left = max(limit - level, 0.0)
    if low <= 0.0 or left / slope > SLOWEST_HOURS:
        return None
    return TimeToLimit(left / slope * HOUR, left / float(high) * HOUR, left / float(low) * HOUR, slope)
