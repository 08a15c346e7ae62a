"""Whether the policies are worth it: now and then the fallback has its turn, and the two are compared.

The policies are in charge only while they are not significantly worse than the fallback. What is found is anytime-valid
(see `evidence`), so that it may be looked at after every turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.evidence import Effect


@dataclass(frozen=True)
class CompetenceConfig:
    """How the policies are held against their fallback."""

    holdout_share: float = 0.0
    """Share of the turns that the fallback has, 0 to 0.5; 0 compares nothing. Default 0: the fallback reserves more, so
    that each turn costs efficiency, and harmful changes are rolled back one by one in any case."""
    turn_periods: int = 20
    """Length of a turn. Default 20: the fallback shrinks what it finds too large only after a while."""
    settle_periods: int = 5
    """Periods at the start of a turn that are not compared: they show what the other one left behind."""
    least_pairs: int = 4
    alpha: float = 0.05
    """Most policies as good as the fallback that are relieved nevertheless, as a share and in all time."""
    dwell_seconds: float = 600.0
    """How long a policy that is worse is relieved; doubled each time. Then it is tried again, on new evidence alone."""
    longest_dwell_seconds: float = 86400.0


class Competence:
    """Gives turns, and compares them.

    Args:
        config: shares and times.
        seed: of who has which turn; at random, so that no rhythm of the load falls together with the turns.
    """

    def __init__(self, config: CompetenceConfig, seed: int = 0) -> None:
        self.config = config
        self.advantages: list[float] = []
        """Of the policies, in score: mean of the turns before and after one of the fallback, minus that one."""
        self._draw = np.random.default_rng(seed)
        self._periods = 0
        self._held_out = False
        self._scores: list[float] = []
        self._turns: list[tuple[bool, float]] = []  # (whether the fallback's, mean score), at most three
        self._relieved_until = -np.inf
        self._relieved = 0

    def observe(self, score: float, now: float) -> None:
        """Take notice of a period that is over.

        Args:
            score: of the period; NaN where it is not known.
            now: seconds.
        """
        config = self.config
        if not config.holdout_share or now < self._relieved_until:
            return
        if self._periods >= config.settle_periods and np.isfinite(score):
            self._scores.append(score)
        self._periods += 1
        if self._periods >= config.turn_periods:
            self._end_turn(now)

    def relieved(self, now: float) -> str:
        """Why the fallback acts in the place of the policies; empty if the policies do."""
        if now < self._relieved_until:
            return f"worse than its fallback; tried again in {self._relieved_until - now:.0f} s"
        return "the fallback's turn, for comparison" if self._held_out else ""

    def advantage(self) -> Effect:
        """Of the policies over the fallback, as far as it is known."""
        found, precision = np.array(self.advantages), 1.0
        count = len(found)
        if count < 2:
            return Effect(float(found.mean()) if count else 0.0, float("nan"), 0, count, precision)
        error = float(found.std(ddof=1) / np.sqrt(count))
        return Effect(float(found.mean()), error, count - 1, count, precision)

    def _end_turn(self, now: float) -> None:
        mean = float(np.mean(self._scores)) if self._scores else float("nan")
        self._turns = [*self._turns[-2:], (self._held_out, mean)]
        self._periods, self._scores = 0, []
        if [held_out for held_out, _ in self._turns] == [False, True, False]:
            before, theirs, after = (score for _, score in self._turns)
            if np.isfinite(advantage := 0.5 * (before + after) - theirs):
                self.advantages.append(advantage)
                self._judge(now)
        # Never two in a row: each of the fallback's stands between two of the policies.
        self._held_out = not self._held_out and bool(self._draw.random() < self.config.holdout_share)

    def _judge(self, now: float) -> None:
        config = self.config
        if len(self.advantages) < config.least_pairs or self.advantage().bounds(config.alpha)[1] >= 0.0:
            return
        dwell = min(config.dwell_seconds * 2.0 ** min(self._relieved, 60), config.longest_dwell_seconds)
        self._relieved += 1
        self._relieved_until = now + dwell
        self.advantages, self._turns, self._held_out = [], [], False
