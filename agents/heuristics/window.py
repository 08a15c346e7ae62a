"""What was seen lately: the last values of each system, as many as its own window holds."""

from __future__ import annotations

import numpy as np

from agents.heuristics.knobs import Number


class Window:
    """The last values of N systems. Missing ones (NaN) take a place and count for nothing.

    Args:
        periods: how many values are looked back at, at least one; a number, or (N,) for each system its own.
    """

    def __init__(self, periods: Number) -> None:
        self._periods = np.maximum(np.asarray(periods), 1.0)
        self.clear()

    def clear(self) -> None:
        """Forget all values."""
        self._ring: np.ndarray | None = None  # (longest, ...), NaN where nothing is
        self._next = 0

    def add(self, value: np.ndarray) -> None:
        """Add a value of each system, (..., N)."""
        longest = int(np.ceil(self._periods.max()))
        if self._ring is None:
            self._ring = np.full((longest, *np.shape(value)), np.nan)
        self._ring[self._next % longest] = value
        self._next += 1

    def largest(self) -> np.ndarray:
        """(..., N); NaN where there is no value."""
        values, there = self._seen()
        most = np.where(there, values, -np.inf).max(axis=0)
        return np.where(most > -np.inf, most, np.nan)

    def mean(self) -> np.ndarray:
        """(..., N); NaN where there is no value."""
        return self._moments()[0]

    def deviation(self) -> np.ndarray:
        """Standard deviation (of the values as a whole population), (..., N); NaN where there is no value."""
        mean, square = self._moments()
        return np.sqrt(np.maximum(square - mean * mean, 0.0))

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the values and of their squares, (..., N) each; NaN where there is no value."""
        values, there = self._seen()
        count = there.sum(axis=0)
        values, known = np.where(there, values, 0.0), np.where(count > 0, 1.0, np.nan) / np.maximum(count, 1)
        return values.sum(axis=0) * known, np.einsum("i...,i...->...", values, values) * known

    def _seen(self) -> tuple[np.ndarray, np.ndarray]:
        """The ring, (longest, ..., N), and which of its values count."""
        if self._ring is None:
            raise ValueError("a window without a value has no largest, mean or deviation; add one first")
        longest = len(self._ring)
        ages = (self._next - 1 - np.arange(longest)) % longest
        ages = ages.reshape(-1, *[1] * (self._ring.ndim - 1))
        return self._ring, (ages < self._periods) & np.isfinite(self._ring)
