"""The last readings of a catalogue, oldest first: what a policy may look back on."""

from __future__ import annotations

import numpy as np

from telemetry.metrics import Snapshot


class History:
    """A ring of snapshots in two arrays that never grow.

    Args:
        n_metrics: length of each snapshot's values.
        capacity: snapshots kept.

    Raises:
        ValueError: on sizes below 1.
    """

    def __init__(self, n_metrics: int, capacity: int) -> None:
        if n_metrics < 1 or capacity < 1:
            raise ValueError(f"history of {n_metrics} metrics and {capacity} snapshots; both must be at least 1")
        self.n_metrics, self.capacity = n_metrics, capacity
        self._values = np.full((capacity, n_metrics), np.nan)
        self._times = np.full(capacity, np.nan)
        self._count = 0  # of all snapshots ever appended

    def __len__(self) -> int:
        return min(self._count, self.capacity)

    def append(self, snapshot: Snapshot) -> History:
        """Add a reading, dropping the oldest when full; returns itself, so that it can be passed on in one line.

        Raises:
            ValueError: on values of another shape or a time that is not later than the last.
        """
        if snapshot.values.shape != (self.n_metrics,):
            raise ValueError(f"snapshot has values {snapshot.values.shape}; this history holds ({self.n_metrics},)")
        last_time = self._times[(self._count - 1) % self.capacity]
        if not np.isfinite(snapshot.time) or snapshot.time <= last_time:  # last_time is NaN at first: False
            raise ValueError(f"snapshot at {snapshot.time} s follows one at {last_time} s; times must grow")
        row = self._count % self.capacity
        self._values[row], self._times[row] = snapshot.values, snapshot.time
        self._count += 1
        return self

    def window(self, periods: int) -> np.ndarray:
        """The last readings, (periods, n_metrics), oldest first; rows of NaN in front where there are fewer.

        Raises:
            ValueError: if `periods` is below 1 or above the capacity.
        """
        if not 1 <= periods <= self.capacity:
            raise ValueError(f"window of {periods} periods; allowed is 1 to {self.capacity}, the capacity")
        # Rows that were never written are NaN already, so wrapping around gives the padding.
        return self._values[np.arange(self._count - periods, self._count) % self.capacity]

    @property
    def last(self) -> Snapshot | None:
        """The newest reading; None before the first."""
        if not self._count:
            return None
        row = (self._count - 1) % self.capacity
        return Snapshot(float(self._times[row]), self._values[row].copy())

    @property
    def times(self) -> np.ndarray:
        """Times of the readings held, (len,) seconds, oldest first."""
        return self._times[np.arange(self._count - len(self), self._count) % self.capacity]

    def ages(self, now: float) -> np.ndarray:
        """Seconds since each metric was last finite, (n_metrics,); infinite where it never was in this history.

        Args:
            now: seconds on the clock of the snapshots.
        """
        finite = np.isfinite(self.window(len(self))) if len(self) else np.zeros((1, self.n_metrics), dtype=bool)
        newest = finite.shape[0] - 1 - finite[::-1].argmax(axis=0)  # (n_metrics,) row of the last finite value
        times = self.times if len(self) else np.zeros(1)
        return np.where(finite.any(axis=0), now - times[newest], np.inf)
