"""How far a forecast of demand may be off: an upper quantile that learns from the forecasts that have come true."""

from __future__ import annotations

import copy

import numpy as np

QUANTILE = 0.9
"""Of the demand that is told as its upper end."""
RATE = 0.04
"""How far the quantile moves for each forecast that has come true, as a share of the expected demand. Default 0.04: it
finds its place within a minute or two, and afterwards errs by a few percent of the demand."""
START, LEAST = 0.4, 0.02
"""Margin before any forecast has come true, and the smallest; shares of the expected demand. Default: roughly
what nine of ten forecasts of generated days keep to, and the size of rounding."""


class Margin:
    """The margin over each forecast that nine of ten true values stay within, as a share of the forecast.

    Online quantile tracking: the margin grows when the truth is above it and shrinks when it is below, in such steps
    that in the long run the wanted share stays within, whatever the demand does (Gibbs and Candes 2021, Adaptive
    conformal inference; Angelopoulos et al. 2023, Conformal PID control).

    Args:
        leads: (n_leads,) int, how many periods ahead.
        workloads: how many are forecast.
        systems: N.
    """

    def __init__(self, leads: np.ndarray, workloads: int, systems: int) -> None:
        self._leads, self._step = leads, 0
        self._due = np.full((int(leads.max()) + 1, workloads, len(leads), systems), np.nan, dtype=np.float32)
        self.share = np.full((workloads, len(leads), systems), START)
        """(n_workloads, n_leads, N)."""

    def learn(self, seen: np.ndarray, expected: np.ndarray) -> None:
        """Compare what was seen with what had been expected of now, and remember what is expected next.

        Args:
            seen: (n_workloads, N), NaN where unknown.
            expected: (n_workloads, n_leads, N) from now on.
        """
        was = self._due[self._step % len(self._due)]  # (n_workloads, n_leads, N)
        now = seen[:, None]
        above = now > was * (1.0 + self.share)
        moved = np.maximum(self.share + RATE * (above - (1.0 - QUANTILE)), LEAST)
        self.share = np.where(np.isfinite(was) & np.isfinite(now), moved, self.share)
        was[:] = np.nan
        for i, lead in enumerate(self._leads):
            self._due[(self._step + int(lead)) % len(self._due), :, i] = expected[:, i]
        self._step += 1

    def assign(self, rows: np.ndarray, other: Margin, places: np.ndarray) -> None:
        """Let the systems `rows` become the systems `places` of another."""
        self.share[..., rows] = other.share[..., places]
        for age in range(len(self._due)):
            mine, theirs = ((margin._step + age) % len(self._due) for margin in (self, other))
            self._due[mine][..., rows] = other._due[theirs][..., places]

    def copy(self) -> Margin:
        """An independent one that remembers the same."""
        twin = copy.copy(self)
        twin._due, twin.share = self._due.copy(), self.share.copy()
        return twin


def shortage(expected: np.ndarray, upper: np.ndarray, capacity: np.ndarray) -> np.ndarray:
    """How likely the demand exceeds what can be done: a logistic distribution through the forecast and its upper end.

    Args:
        expected: (..., n) median of the demand.
        upper: (..., n) its 90 % quantile, above `expected` unless both are 0.
        capacity: (..., n) what can be done.

    Returns:
        (..., n) in [0, 1]; NaN where something is missing.
    """
    spread = np.maximum(upper - expected, 1e-9) / np.log(QUANTILE / (1.0 - QUANTILE))
    return np.asarray(1.0 / (1.0 + np.exp(np.clip((capacity - expected) / spread, -30.0, 30.0))))
