"""The last sweeps in memory, while series come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

HEADROOM = 1.25
"""Columns that are made when there are too few, relative to what is needed: processes come in twos and threes."""


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive sweeps.

    Attributes:
        times: (R,) seconds on the store's axis, increasing.
        wall_offsets: (R,) seconds to add for the wall clock.
        names: (C,) full series names.
        values: (R, C) float64, NaN where missing.
    """

    times: np.ndarray
    wall_offsets: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray


class Ring:
    """The last `capacity` sweeps of all series, 8 bytes a value.

    A series keeps its column while any of its values is held; then another series may have it.

    Args:
        capacity: sweeps, at least 1.

    Raises:
        ValueError: on a smaller capacity.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"ring of {capacity} sweeps; at least 1 is needed")
        self.capacity, self.count = capacity, 0
        self._values = np.full((capacity, 0), np.nan)
        self._times, self._offsets = np.full(capacity, np.nan), np.zeros(capacity)
        self._column_of: dict[str, int] = {}
        self._last_seen = np.empty(0, dtype=np.int64)  # count at which each column was last in a sweep
        self._names: tuple[str, ...] = ()
        self._found: tuple[str, ...] = ()
        self._columns = np.empty(0, dtype=np.intp)  # of `_names`

    def __len__(self) -> int:
        return min(self.count, self.capacity)

    @property
    def nbytes(self) -> int:
        """Bytes held for values."""
        return self._values.nbytes

    def append(self, time: float, wall_offset: float, names: tuple[str, ...], row: np.ndarray) -> None:
        """Add a sweep over the oldest.

        Args:
            time: seconds on the axis.
            wall_offset: seconds to add for the wall clock.
            names: (n,) series; quickest when it is the tuple of the sweep before.
            row: (n,), NaN where missing.
        """
        if names is not self._names:
            self._columns = self._columns_of(names)
            self._names = names
        at = self.count % self.capacity
        self._times[at], self._offsets[at] = time, wall_offset
        self._values[at] = np.nan
        self._values[at, self._columns] = row
        self.count += 1

    def last(self, sweeps: int, names: Sequence[str] | None = None) -> Block:
        """The newest sweeps, oldest first; fewer where fewer are held.

        Args:
            sweeps: how many at most.
            names: series wanted, NaN where unknown; None: all that have a value in these sweeps, the same tuple as
                before if they are the same.
        """
        rows = np.arange(self.count - min(sweeps, len(self)), self.count) % self.capacity
        if names is None:
            held = np.array(list(self._column_of.values()), dtype=np.intp)
            values = self._values[np.ix_(rows, held)]
            known = ~np.isnan(values).all(axis=0)
            found = tuple(compress(self._column_of, known.tolist()))
            if found != self._found:
                self._found = found
            values = values if known.all() else values[:, known]
            return Block(self._times[rows], self._offsets[rows], self._found, values)
        values = np.full((len(rows), len(names)), np.nan)
        for column, name in enumerate(names):
            if name in self._column_of:
                values[:, column] = self._values[rows, self._column_of[name]]
        return Block(self._times[rows], self._offsets[rows], tuple(names), values)

    def _columns_of(self, names: tuple[str, ...]) -> np.ndarray:
        """Column of each name, (n,); new ones take columns that hold nothing any more."""
        self._last_seen[self._columns] = self.count - 1
        new = [name for name in names if name not in self._column_of]
        if new:
            self._forget(set(names))
            free = sorted(set(range(self._values.shape[1])) - set(self._column_of.values()), reverse=True)
            if len(free) < len(new):
                width = self._values.shape[1]
                self._grow(max(int(HEADROOM * width), len(self._column_of) + len(new)))
                free = [*range(self._values.shape[1] - 1, width - 1, -1), *free]
            for name in new:
                self._column_of[name] = free.pop()
        return np.array([self._column_of[name] for name in names], dtype=np.intp)

    def _forget(self, wanted: set[str]) -> None:
        gone = self.count - self.capacity  # sweeps up to this one have been written over
        for name in [n for n, c in self._column_of.items() if n not in wanted and self._last_seen[c] < gone]:
            del self._column_of[name]

    def _grow(self, width: int) -> None:
        added = width - self._values.shape[1]
        self._values = np.concatenate([self._values, np.full((self.capacity, added), np.nan)], axis=1)
        self._last_seen = np.concatenate([self._last_seen, np.full(added, -1, dtype=np.int64)])
