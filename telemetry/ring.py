"""The last sweeps in memory, while series come and go."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np


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
    """The last `capacity` sweeps as they came: memory goes by what each holds, not by all series that ever came by.

    Args:
        capacity: sweeps, at least 1.

    Raises:
        ValueError: on a smaller capacity.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"ring of {capacity} sweeps; at least 1 is needed")
        self.capacity = capacity
        self._sweeps: deque[_Swept] = deque(maxlen=capacity)
        self._found: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._sweeps)

    @property
    def nbytes(self) -> int:
        """Bytes held for values."""
        return sum(swept.row.nbytes for swept in self._sweeps)

    def append(self, time: float, wall_offset: float, names: tuple[str, ...], row: np.ndarray) -> None:
        """Add a sweep over the oldest.

        Args:
            time: seconds on the axis.
            wall_offset: seconds to add for the wall clock.
            names: (n,) series; held once where it is the tuple of the sweep before.
            row: (n,) float64, NaN where missing; held, so not to be changed afterwards.
        """
        self._sweeps.append(_Swept(time, wall_offset, names, row))

    def last(self, sweeps: int, names: Sequence[str] | None = None) -> Block:
        """The newest sweeps, oldest first; fewer where fewer are held.

        Args:
            sweeps: how many at most.
            names: series wanted, NaN where unknown; None: all that have a value in these sweeps, the same tuple as
                before if they are the same.
        """
        held = list(self._sweeps)[max(len(self) - sweeps, 0) :]
        times, offsets = np.array([[swept.time, swept.wall_offset] for swept in held]).reshape(-1, 2).T
        if names is not None:
            return Block(times, offsets, tuple(names), _values(held, tuple(names)))
        every = _union(held)
        values = _values(held, every)
        known = ~np.isnan(values).all(axis=0)
        if not known.all():
            every, values = tuple(compress(every, known.tolist())), values[:, known]
        if every != self._found:
            self._found = every
        return Block(times, offsets, self._found, values)


class _Swept(NamedTuple):
    time: float
    wall_offset: float
    names: tuple[str, ...]
    row: np.ndarray


def _union(held: Sequence[_Swept]) -> tuple[str, ...]:
    """All series of these sweeps, each once."""
    if held and all(swept.names is held[0].names for swept in held):
        return held[0].names
    every: dict[str, None] = {}
    for swept, before in zip(held, [None, *held], strict=False):
        if before is None or swept.names is not before.names:
            every.update(dict.fromkeys(swept.names))
    return tuple(every)


def _values(held: Sequence[_Swept], names: tuple[str, ...]) -> np.ndarray:
    """Values of these sweeps in the order of `names`, (R, C); NaN where a sweep lacks a series.

    A series lies in one piece, since they are written one series after the other: a fifth less CPU.
    """
    if held and all(swept.names is names for swept in held):
        return np.stack([swept.row for swept in held], axis=1).T
    column_of = {name: column for column, name in enumerate(names)}
    values = np.full((len(names), len(held)), np.nan).T
    placed: tuple[str, ...] | None = None
    for to, swept in zip(values, held, strict=True):
        if swept.names is not placed:
            placed = swept.names
            columns = np.array([column_of.get(name, -1) for name in placed], dtype=np.intp)
            wanted = columns >= 0
        to[columns[wanted]] = swept.row[wanted]
    return values
