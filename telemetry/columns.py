"""A source's values as columns of the sampler's row, whichever way the source tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from telemetry.collectors.source import ArraySource, Source, read_row


class Columns(Protocol):
    """Names and values of one source, kept from sweep to sweep.

    Attributes:
        name: of the source.
        names: (n,) full series names; another tuple object only if the set changed.
        values: (n,) float64 of the last reading.
        missing: reason -> how many values could not be read for it.
    """

    name: str
    names: tuple[str, ...]
    values: np.ndarray

    @property
    def missing(self) -> Mapping[str, int]: ...

    def read(self) -> None:
        """Read the source; raises whatever it raises."""
        ...

    def clear(self) -> None:
        """Nothing is known now: all values NaN, the names stay."""
        ...


def columns_of(source: Source | ArraySource) -> Columns:
    """The columns of a source; the array road is taken where the source has it."""
    return _ArrayColumns(source) if isinstance(source, ArraySource) else _NamedColumns(source)


class _ArrayColumns:
    def __init__(self, source: ArraySource) -> None:
        self.name, self._source = source.name, source
        self.names: tuple[str, ...] = ()
        self.values = np.empty(0)

    @property
    def missing(self) -> Mapping[str, int]:
        return getattr(self._source, "missing", {})

    def read(self) -> None:
        self.names, self.values = read_row(self._source, self.values, self.names)

    def clear(self) -> None:
        self.values[:] = np.nan


class _NamedColumns:
    """Series that are absent keep their column, until most of the columns are such while others have values."""

    missing: Mapping[str, int] = {}

    def __init__(self, source: Source) -> None:
        self.name, self._source = source.name, source
        self.names: tuple[str, ...] = ()
        self.values = np.empty(0)
        self._index: dict[str, int] = {}

    def read(self) -> None:
        found = self._source.collect()
        if tuple(found) == self.names:  # nearly always; the strings are the same objects, so this is quick
            self.values[:] = list(found.values())
            return
        if not self._index.keys() >= found.keys():
            self._set_names((*self.names, *(name for name in found if name not in self._index)))
        if found and len(self.names) > 2 * len(found):
            self._set_names(tuple(found))
        self.values[:] = np.nan
        self.values[[self._index[name] for name in found]] = list(found.values())

    def clear(self) -> None:
        self.values[:] = np.nan

    def _set_names(self, names: tuple[str, ...]) -> None:
        self.names, self.values = names, np.empty(len(names))
        self._index = {name: i for i, name in enumerate(names)}
