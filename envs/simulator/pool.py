"""A pool of identical hosts: those that are provisioned become ready after a start-up time."""

from __future__ import annotations

import numpy as np

BUCKETS = 16
"""A power of two. A host is ready at most 1/15 of the start-up time late."""
_SLOTS = np.arange(BUCKETS)[:, None]


class Pool:
    """How many hosts of N pools are ready.

    Whoever provisions less takes away the youngest first, those that are still starting before any that is ready. So
    what is ready is the least that was provisioned at any time of the last start-up time: a minimum over a sliding
    window, kept in buckets.

    Args:
        n: number of pools.
    """

    def __init__(self, n: int) -> None:
        self.array = np.ones((BUCKETS + 3, n))  # the least of each bucket, the newest bucket's number, wanted, ready

    @property
    def ready(self) -> np.ndarray:
        """(N,) hosts, at least 1."""
        return self.array[-1]

    def begin(self, hosts: np.ndarray, systems: np.ndarray) -> None:
        """Let some pools begin with all their hosts, (n_systems,), ready."""
        self.array[:, systems] = hosts
        self.array[BUCKETS, systems] = 0.0

    def advance(self, wanted: np.ndarray, now: np.ndarray, startup_seconds: np.ndarray) -> np.ndarray:
        """What is ready in the period that begins now.

        Args:
            wanted: (N,) hosts provisioned from now on.
            now: (N,) seconds since the pool began.
            startup_seconds: (N,).

        Returns:
            (N,) factor on what each ready host has to do and has done: hosts that were ready over hosts that are.
        """
        least, (newest, before, ready) = self.array[:BUCKETS], self.array[BUCKETS:]
        number = np.floor(now * (BUCKETS - 1) / np.maximum(startup_seconds, 1e-9))
        age = (number.astype(np.int64) - _SLOTS) & (BUCKETS - 1)  # (BUCKETS, N), 0 for the bucket of now
        np.copyto(least, before, where=age < number - newest)  # begun since: until now, as before
        np.minimum(least, wanted, out=least, where=age == 0)
        newest[:], before[:] = number, wanted
        now_ready = least.min(axis=0)
        factor = ready / now_ready
        ready[:] = now_ready
        return factor
