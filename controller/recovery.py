"""Rollbacks are read back, and tried again; where that fails, everything returns to what was found, and stays."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

TOLERANCE = 1e-3
"""Relative difference within which a value is in force, as everywhere after a change."""


class Recovery:
    """What has to come back and is not in force yet.

    What a rollback returns to was measured itself: it is what the change was found worse than.

    Args:
        n_knobs: of a setting.
        tries: in so many periods a rollback may fail.
    """

    STATE = ("_due", "_failed", "failed_for_good")

    def __init__(self, n_knobs: int, tries: int) -> None:
        self._tries = tries
        self._due = np.full(n_knobs, np.nan)
        self._failed = 0
        self.failed_for_good = ""
        """Why nothing new may be tried any more, until an operator says so; empty while all is well."""

    @property
    def pending(self) -> np.ndarray:
        """(n_knobs,) bool: which knobs have to come back."""
        return np.isfinite(self._due)

    def expect(self, knobs: np.ndarray, setting: np.ndarray) -> None:
        """From now on these knobs have to be as in `setting`, (n_knobs,)."""
        self._due[knobs] = setting[knobs]

    def put_into(self, target: np.ndarray) -> None:
        """Ask again for what is not in force yet; `target`, (n_knobs,), is changed."""
        target[self.pending] = self._due[self.pending]

    def let_go(self, knobs: Iterable[int] | None = None) -> None:
        """These knobs are somebody else's now; None: all."""
        self._due[slice(None) if knobs is None else list(knobs)] = np.nan
        if not self.pending.any():
            self._failed = 0

    def read_back(self, setting: np.ndarray, names: tuple[str, ...], *, seen: bool) -> None:
        """Compare with what is in force.

        Args:
            setting: (n_knobs,) in force.
            names: of the knobs.
            seen: whether the system answers. One that does not may be restarting, which is no failed rollback.
        """
        short = self.pending & ~(np.abs(setting - self._due) <= TOLERANCE * np.maximum(np.abs(self._due), TOLERANCE))
        self._due[~short] = np.nan
        if not short.any():
            self._failed = 0
            return
        self._failed += seen
        if self._failed >= self._tries:
            first = int(np.flatnonzero(short)[0])
            self.failed_for_good = (
                f"{names[first]}: {self._due[first]:g} had to come back, in force is {setting[first]:g} after "
                f"{self._failed} tries"
            )
            self.let_go()

    def forgive(self) -> None:
        """An operator lets changes be tried again."""
        self.failed_for_good = ""
