"""Outcomes of one target and limit over many series, pooled: thresholds from before each block, and what alarms do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from telemetry.issues import Target, widened
from training.backtest_outcomes import Outcome
from training.backtest_scores import Alarms, Tally, best_threshold, confident_threshold

PRECISION = 0.95
"""Of alarms that are called confident."""
Kind = Literal["balanced", "confident"]


@dataclass(frozen=True, eq=False)
class Forewarned:
    """Onsets by series, (S,) each: how many, how many were foretold, and the lead hours of each that was."""

    onsets: np.ndarray
    foretold: np.ndarray
    leads: list[np.ndarray]


class Cohort:
    """Outcomes of one target, one of each series, S in all.

    Args:
        outcomes: in the order of the series.
        held_out: (S,) bool, whose hosts nothing was learnt from; thresholds come from the others.
        rehearsal: outcomes before all of these, on which thresholds rest as well.
    """

    def __init__(self, outcomes: Sequence[Outcome], held_out: np.ndarray, rehearsal: Sequence[Outcome] = ()) -> None:
        self._rehearsal = rehearsal
        self.outcomes, self.held_out = outcomes, held_out
        self.target: Target = outcomes[0].target
        self.lengths = [len(one.hours) for one in outcomes]
        self.group = np.repeat([one.series for one in outcomes], self.lengths)
        self.blocks, self.matured, self.truth, self.calm = (
            np.concatenate([getattr(one, name) for one in outcomes]) for name in ("blocks", "matured", "truth", "calm")
        )
        self.test = self.blocks > 0
        names = outcomes[0].given
        self.given = {name: np.concatenate([one.given[name] for one in outcomes]) for name in names}
        seen = ~held_out if (~held_out).any() else np.ones_like(held_out)
        self._seen = seen[self.group]

    def tally(self, contestant: str, *, calm: bool = False) -> Tally:
        """Probabilities in the test by series, of all origins or of those without issue."""
        return self._tally(contestant, self.test & (self.calm | (not calm)))

    def thresholds(self, contestant: str, kind: Kind, *, calm: bool = False) -> list[float]:
        """One for each block of the test, from what had come true before it; above 1 where no alarm would be right.

        They are found on the series that were learnt from, so that those held out show what a new host gets.
        """
        found = []
        for block in range(1, int(self.blocks.max()) + 1):
            before = (self.blocks < block) & self.matured & self._seen & (self.calm | (not calm))
            total = self._tally(contestant, before).total() + self._rehearsed(contestant, calm=calm)
            best = best_threshold(total) if kind == "balanced" else confident_threshold(total, PRECISION)
            found.append(2.0 if best is None else best)
        return found

    def alarms(self, contestant: str, kind: Kind, *, calm: bool = False) -> np.ndarray:
        """(N,) bool over all origins: whether the probability is at least its block's threshold."""
        by_block = np.array([2.0, *self.thresholds(contestant, kind, calm=calm)])  # none in the calibration slice
        return np.asarray(np.nan_to_num(self.given[contestant]) >= by_block[self.blocks])

    def counted(self, alarm: np.ndarray, *, calm: bool = False, tolerant: bool = False) -> Alarms:
        """Hits and false alarms of the test by series.

        Args:
            alarm: (N,) as `alarms` gives it.
            calm: only at origins without issue.
            tolerant: an alarm for an hour beside one with an issue is right, and such an issue was found.
        """
        known = self.test & ~np.isnan(self.truth) & (self.calm | (not calm))
        came = self.truth == 1.0
        found, right = (self._widened(alarm), self._widened(came)) if tolerant else (alarm, came)
        marks = (came & found, came, ~came & alarm & ~right, ~came, alarm & right, alarm)
        return Alarms(*(np.bincount(self.group[known & mark], minlength=len(self.held_out)) for mark in marks))

    def forewarned(self, alarm: np.ndarray) -> Forewarned:
        """Which issues that began in the test were announced, and how many hours before.

        Of "within" any alarm in the `lead` hours before counts, and the first of them is the lead; of an exact hour
        only the one `lead` hours before.
        """
        onsets, foretold, leads = np.zeros(len(self.held_out)), np.zeros(len(self.held_out)), []
        lead = self.target.lead
        for one, alarms in zip(self.outcomes, np.split(alarm, np.cumsum(self.lengths)[:-1]), strict=True):
            own = []
            for begin in np.flatnonzero(one.onset & (one.blocks > 0)):
                asked = (
                    alarms[max(begin - lead, 0) : begin]
                    if self.target.within
                    else alarms[begin - lead : begin - lead + 1]
                )
                if begin >= lead and asked.any():
                    own.append(lead - int(np.argmax(asked)))
                onsets[one.series] += begin >= lead
            foretold[one.series] = len(own)
            leads.append(np.array(own))
        return Forewarned(onsets, foretold, leads)

    def _tally(self, contestant: str, which: np.ndarray) -> Tally:
        return Tally.of(self.given[contestant][which], self.truth[which], self.group[which], len(self.held_out))

    def _rehearsed(self, contestant: str, *, calm: bool) -> Tally:
        """(1, BINS)."""
        found = Tally.nothing()
        for one in self._rehearsal:
            which = one.calm | (not calm)
            nobody = np.zeros(int(which.sum()), dtype=np.int64)
            found += Tally.of(one.given[contestant][which], one.truth[which], nobody, 1)
        return found

    def _widened(self, marks: np.ndarray) -> np.ndarray:
        parts = np.split(marks, np.cumsum(self.lengths)[:-1])
        return np.concatenate([widened(part) for part in parts])
