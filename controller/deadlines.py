"""Ends that operators set as times of the day, followed on a clock that no change of the time of day moves."""

from __future__ import annotations

import time
from collections.abc import Callable

from telemetry.processes import boot_seconds


class Deadlines:
    """When pauses and pins end. Each end is taken over once, when it is first asked for: what the wall clock does after
    that moves nothing. A restart of the controller takes it over anew, since no other clock lives as long.

    Args:
        clock: seconds since the host was started.
        wall_clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = boot_seconds, wall_clock: Callable[[], float] = time.time) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._ends: dict[str, tuple[float, float]] = {}

    def still_to_come(self, name: str, until: float | None) -> bool:
        """Whether something is still in force.

        Args:
            name: of what ends; it has one end at a time.
            until: seconds since 1970, as in the file; None for never.
        """
        if until is None:
            return True
        if name not in self._ends or self._ends[name][0] != until:
            self._ends[name] = (until, self._clock() + until - self._wall_clock())
        return self._clock() < self._ends[name][1]
