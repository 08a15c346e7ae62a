"""Actuators: what is asked for is fitted to the knobs, and takes force at once or, on some systems, a period later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.spec import Knob

PROMPT_SHARE = 0.85
"""Of randomized systems, so many act at once, the others a period later; real actuators took below 50 ms."""


class Actuators:
    """Those of N systems. Settings are (n_knobs, N) here.

    Args:
        knobs: in the order of every setting.
        n: number of systems.
    """

    def __init__(self, knobs: Sequence[Knob], n: int) -> None:
        self.default, low, high = (
            np.array([[getattr(knob, side)] for knob in knobs], dtype=float) for side in ("default", "low", "high")
        )  # (n_knobs, 1)
        self._integer = np.array([[knob.integer] for knob in knobs])
        self._low = np.where(self._integer, np.ceil(low), low)
        self._high = np.where(self._integer, np.floor(high), high)
        self.late = np.zeros(n, dtype=bool)
        """(N,) whose actuators act a period late."""
        self._asked, self._due = (np.zeros((len(knobs), n)) for _ in range(2))
        self._asked_now = False
        """Whether `_asked` was asked for in this period, so that `_due` is what the late ones have in force."""

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All that is kept of the systems, who are the last axis."""
        return self.late, self._asked, self._due

    def fit(self, setting: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """(N, n_knobs) or (n_knobs,) -> (n_knobs, N) or (n_knobs, 1) within bounds, integer knobs rounded."""
        fitted = np.maximum(np.atleast_2d(setting).T, self._low, out=out, order="C")
        np.minimum(fitted, self._high, out=fitted)
        return np.rint(fitted, out=fitted, where=self._integer)

    def begin(self, setting: np.ndarray, rows: np.ndarray) -> None:
        """Let it be as if `setting`, (n_knobs, n_rows), had been asked for long ago."""
        self._asked[:, rows] = self._due[:, rows] = setting

    def ask(self, setting: np.ndarray, in_force: np.ndarray) -> None:
        """Ask for (N, n_knobs) or (n_knobs,): late actuators put in force what was asked for a period ago."""
        if not self._asked_now:
            self._asked, self._due, self._asked_now = self._due, self._asked, True
        np.copyto(in_force, self.fit(setting, out=self._asked))
        np.copyto(in_force, self._due, where=self.late)

    def advance(self, in_force: np.ndarray) -> None:
        """A period begins; where nothing was asked for in it, what was asked for last is in force by now."""
        if not self._asked_now:
            np.copyto(in_force, self._asked, where=self.late)
        self._asked_now = False

    def join(self, other: Actuators, in_force: np.ndarray) -> None:
        """Come to the same point of a period as another's, so that systems can be copied from there.

        Args:
            other: of a plant of the same kind.
            in_force: (n_knobs, N) of these systems.
        """
        if other._asked_now and not self._asked_now:  # ask again for what was asked for last
            self._due[:], self._asked_now = self._asked, True
            np.copyto(in_force, self._due, where=self.late)
