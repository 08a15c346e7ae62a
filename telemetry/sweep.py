"""One reading of all sources, as a row of numbers and as a mapping by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np


class RowValues(Mapping[str, float]):
    """Names and their numbers as a mapping; what is NaN was not read, and is absent.

    The dictionary is built at its first use: most readers (ring, storage, exposition) take the row, and never ask.

    Args:
        names: (n,) full series names, each once.
        row: (n,) float64, not changed afterwards.
    """

    def __init__(self, names: tuple[str, ...], row: np.ndarray) -> None:
        self.names, self.row = names, row

    @cached_property
    def _dict(self) -> dict[str, float]:
        return {name: value for name, value in zip(self.names, self.row.tolist(), strict=True) if value == value}

    def __getitem__(self, name: str) -> float:
        return self._dict[name]

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dictionary; `Mapping` would do it by an exception."""
        return self._dict.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def __contains__(self, name: object) -> bool:
        return name in self._dict

    def __repr__(self) -> str:
        return repr(self._dict)


@dataclass(frozen=True)
class Sweep:
    """One reading of all sources.

    Attributes:
        time: seconds on the sampler's clock, when the sweep began.
        values: by full series name; what could not be read is absent.
        errors: source name -> one line, for the sources that failed.
    """

    time: float
    values: Mapping[str, float]
    errors: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Full series names, (n,); the same tuple object in one sweep after the other while the set has not changed."""
        return self.values.names if isinstance(self.values, RowValues) else tuple(self.values)

    @cached_property
    def row(self) -> np.ndarray:
        """Values in the order of `names`, (n,) float64, NaN where missing."""
        if isinstance(self.values, RowValues):
            return self.values.row
        return np.array(list(self.values.values()), dtype=np.float64)
