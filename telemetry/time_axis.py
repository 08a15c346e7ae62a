"""Time that neither jumps nor goes back, with the wall clock as a label."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from telemetry.store_files import StoreError

STEP_SECONDS = 0.5
"""A wall clock further away than this was set. Below it is a sweep that took long before the clock was read."""
GAP_SECONDS = 0.001
"""From the last time of an earlier session to the first of the next, where the clock was set back between them."""


class TimeAxis:
    """Places monotonic seconds on an axis that goes on over restarts, reboots and set clocks.

    The axis is seconds since 1970 when a session begins, and follows the monotonic clock from there; it begins later
    where an earlier session went further. What the wall clock says beside it is kept as an offset, which is 0 unless
    somebody set the clock or the host slept.

    Args:
        last: last time on the axis of earlier sessions; -inf without one.
        wall: seconds since 1970.
    """

    def __init__(self, last: float = float("-inf"), wall: Callable[[], float] = time.time) -> None:
        self._last, self._wall = last, wall
        self._begin: float | None = None  # axis minus monotonic
        self._offset = 0.0

    def place(self, monotonic: float) -> tuple[float, float]:
        """The time on the axis now, and the seconds to add to it for the wall clock.

        Args:
            monotonic: seconds, later than before.

        Raises:
            StoreError: on a time that is not finite or not later.
        """
        wall = self._wall()
        begin = max(wall, self._last + GAP_SECONDS) - monotonic if self._begin is None else self._begin
        time_now = round(begin + monotonic, 6)
        if not self._last < time_now < math.inf:  # NaN is neither
            raise StoreError(f"sweep at {monotonic} s (monotonic) is not later than the one before; times must grow")
        self._begin, self._last = begin, time_now
        if abs(wall - time_now - self._offset) > STEP_SECONDS:
            self._offset = round(wall - time_now, 3)
        return time_now, self._offset
