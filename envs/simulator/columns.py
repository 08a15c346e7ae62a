"""Columns: named quantities of N systems in one array, so that systems can be copied by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np


class Columns:
    """A row for each name, a column for each system: `columns.name` is a contiguous (N,) view of `columns.array`.

    Write with `columns.name[:] = values`; a plain assignment is refused, since it would cut the name off the array.
    """

    array: np.ndarray
    names: tuple[str, ...]

    def __init__(self, names: Sequence[str], n: int) -> None:
        self._bind(tuple(names), np.zeros((len(names), n)))

    def _bind(self, names: tuple[str, ...], array: np.ndarray) -> None:
        self.__dict__.update(zip(names, array, strict=True))
        self.__dict__.update(names=names, array=array)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"write {name}[:] = ..., not {name} = ...")

    def __getstate__(self) -> tuple[tuple[str, ...], np.ndarray]:
        return self.names, self.array

    def __setstate__(self, state: tuple[tuple[str, ...], np.ndarray]) -> None:
        self._bind(*state)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.__dict__[name]

    def select(self, rows: np.ndarray) -> Columns:
        """A copy of some systems."""
        chosen = Columns((), len(rows))
        chosen._bind(self.names, np.ascontiguousarray(self.array[:, rows]))
        return chosen

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> np.ndarray: ...
