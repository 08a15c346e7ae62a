"""Columns: named quantities of N systems in one array, so that systems can be copied by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np


class Columns:
    """A row for each name, a column for each system: `columns.name` is a contiguous (N,) view of `columns.array`.

    Write with `columns.name[:] = values`, or in place with `columns.name += values`; a plain assignment is refused,
    since it would cut the name off the array.
    """

    array: np.ndarray
    names: tuple[str, ...]
    _row: dict[str, int]

    def __init__(self, names: Sequence[str], n: int) -> None:
        self._bind(tuple(names), np.zeros((len(names), n)))

    def _bind(self, names: tuple[str, ...], array: np.ndarray) -> None:
        self.__dict__.update(zip(names, array, strict=True))
        self.__dict__.update(names=names, array=array, _row={name: i for i, name in enumerate(names)})

    def __setattr__(self, name: str, value: object) -> None:
        if value is not self.__dict__.get(name):  # the row itself comes back after an operation in place
            raise AttributeError(f"write {name}[:] = ..., not {name} = ...")

    def __getstate__(self) -> tuple[tuple[str, ...], np.ndarray]:
        return self.names, self.array

    def __setstate__(self, state: tuple[tuple[str, ...], np.ndarray]) -> None:
        self._bind(*state)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.__dict__[name]

    def __contains__(self, name: object) -> bool:
        return name in self._row

    def get(self, name: str, otherwise: float) -> np.ndarray | float:
        """(N,), or a number where there is no such row."""
        return self.__dict__.get(name, otherwise)

    def put(self, name: str, values: np.ndarray | float) -> None:
        """Write a row, where there is one of that name: not every spec looks at everything."""
        row = self.__dict__.get(name)
        if row is not None:
            row[:] = values

    def between(self, first: str, last: str) -> np.ndarray:
        """The rows from one name to another, (k, N), a view."""
        return self.array[self._row[first] : self._row[last] + 1]

    def select(self, rows: np.ndarray) -> Columns:
        """A copy of some systems."""
        chosen = Columns((), len(rows))
        chosen._bind(self.names, np.ascontiguousarray(self.array[:, rows]))
        return chosen

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> np.ndarray: ...


class Systems(NamedTuple):
    """N systems, by name."""

    p: Columns
    """Parameters."""
    state: Columns
    knobs: Columns
    """In force; optional ones only where the spec has them."""
    out: Columns
    """Readings of the last period; optional ones likewise."""
