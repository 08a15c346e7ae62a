"""Which sample is trained on next: each labelled sample may be used a few times, and only while it is recent."""

import numpy as np

from testbed.shards import Samples

REPLAY = 3
"""Uses of each labelled sample. At 80 events/s that asks for 240 samples/s, about 0.35 of a core with good settings."""

WINDOW_SAMPLES = 2048
"""Samples kept, 25 s of them at 80 events/s; older ones would teach a world that is gone."""

BASE_BATCH = 32
GRADIENT_NOISE_SCALE = 128.0
"""The batch size, in samples, at which doubling the batch begins to be more waste than gain. A constant here; Pollux
measures it while training."""


def statistical_efficiency(batch: int) -> float:
    """Progress per sample at this batch size, relative to that at 32 (Pollux, OSDI 2021, equation 6); at most 1."""
    return min(1.0, (GRADIENT_NOISE_SCALE + BASE_BATCH) / (GRADIENT_NOISE_SCALE + batch))


class ReplayWindow:
    """The most recent samples and how often each may still be used."""

    def __init__(self, capacity: int = WINDOW_SAMPLES, replay: int = REPLAY) -> None:
        self._replay = replay
        self._images = np.zeros((capacity, 8, 8), dtype=np.float32)
        self._labels = np.zeros(capacity, dtype=np.int64)
        self._sent_time = np.zeros(capacity)
        self._uses = np.zeros(capacity, dtype=np.int64)
        self._next = 0

    @property
    def backlog(self) -> int:
        """Uses allowed and not yet made."""
        return int(self._uses.sum())

    def add(self, samples: Samples) -> int:
        """Take in samples, pushing out the oldest with whatever uses they had left.

        Returns:
            The uses asked for.
        """
        rows = (self._next + np.arange(len(samples))) % len(self._uses)  # a later sample wins a row, as it must
        self._images[rows] = samples.images
        self._labels[rows] = samples.labels
        self._sent_time[rows] = samples.sent_time
        self._uses[rows] = self._replay
        self._next = int((self._next + len(samples)) % len(self._uses))
        return len(samples) * self._replay

    def draw(self, rng: np.random.Generator, batch: int) -> tuple[Samples, np.ndarray] | None:
        """A batch of distinct samples, the least used first; at random among equals, but of the never-used the newest.

        Returns:
            The samples and which of them are used for the first time (batch,), or None where too few may be used.
        """
        usable = np.flatnonzero(self._uses)
        if len(usable) < batch:
            return None
        fresh = self._uses[usable] == self._replay  # (n_usable,)
        age = (self._next - 1 - usable) % len(self._uses)
        order = self._replay - self._uses[usable] + np.where(fresh, age / len(self._uses), rng.random(len(usable)))
        chosen = usable[np.argpartition(order, batch - 1)[:batch]]
        first_use = self._uses[chosen] == self._replay
        self._uses[chosen] -= 1
        sent_time = self._sent_time[chosen]
        return Samples(self._images[chosen], self._labels[chosen], sent_time, sent_time), first_use
