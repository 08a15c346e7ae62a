"""Costly readings, done only as often as a share of a processor pays for them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


class Budget:
    """Lets something happen again when what it cost the last time is paid off: after cost / share seconds.

    Args:
        share: of one processor that it may take on average.
        shortest: seconds between two times, however cheap it is.
        clock: seconds, monotonic.
        cpu_clock: seconds of processor time of this thread.
    """

    def __init__(
        self,
        share: float,
        shortest: float = 0.9,  # a little below a second: a sweep that comes early by its jitter is not put off
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._share, self._shortest, self._clock, self._cpu_clock = share, shortest, clock, cpu_clock
        self._next = -float("inf")

    def due(self) -> bool:
        """Whether it may happen now."""
        return self._clock() >= self._next

    def at_once(self) -> None:
        """It may happen now, whatever it costs."""
        self._next = -float("inf")

    @contextlib.contextmanager
    def spend(self) -> Iterator[None]:
        """Around what happens: measures what it costs."""
        begin = self._cpu_clock()
        try:
            yield
        finally:
            self._next = self._clock() + max(self._shortest, (self._cpu_clock() - begin) / self._share)
