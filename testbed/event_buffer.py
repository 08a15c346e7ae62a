"""Events between their arrival and their publication."""

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from testbed.events import EVENT

BUFFER_EVENTS = 8192
FLUSH_SECONDS = 1.0
"""A chunk is published when it is full, or this long after its first event arrived."""


class EventBuffer:
    """Events that wait to be published, in frames as they came; bounded.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, capacity: int = BUFFER_EVENTS, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._frames: deque[tuple[float, np.ndarray]] = deque()
        self._changed = threading.Condition()
        self.waiting = 0

    def add(self, events: np.ndarray) -> int:
        """Append as many of the events (n,) as there is room for; returns how many were dropped."""
        with self._changed:
            accepted = events[: self._capacity - self.waiting]
            if len(accepted):
                self._frames.append((self._clock(), accepted))
                self.waiting += len(accepted)
                self._changed.notify()
        return len(events) - len(accepted)

    def oldest_sent_time(self) -> float | None:
        """Unix time in seconds at which the first waiting event was sent."""
        with self._changed:
            return float(self._frames[0][1]["sent_time"][0]) if self._frames else None

    def due_in(self, chunk: int) -> float | None:
        """Seconds until a chunk of that many events should be taken; 0 when it is due, None when nothing waits."""
        if not self._frames:
            return None
        if self.waiting >= chunk:
            return 0.0
        return max(0.0, self._frames[0][0] + FLUSH_SECONDS - self._clock())

    def take(self, chunk: int) -> np.ndarray:
        """Up to `chunk` of the oldest events."""
        taken: list[np.ndarray] = []
        with self._changed:
            room = chunk
            while room and self._frames:
                arrival, events = self._frames.popleft()
                taken.append(events[:room])
                if len(events) > room:
                    self._frames.appendleft((arrival, events[room:]))
                room -= len(taken[-1])
            self.waiting -= chunk - room
        return np.concatenate(taken) if taken else np.empty(0, dtype=EVENT)

    def wait(self, seconds: float) -> None:
        """Return when events have been added, or after `seconds`."""
        with self._changed:
            self._changed.wait(seconds)
