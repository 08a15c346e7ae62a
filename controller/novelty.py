"""Is what the policies see still what they were made for? In this period, and in the long run."""

from __future__ import annotations

import numpy as np

from agents.novelty import NoveltyGuard
from envs.objective import Objective
from envs.spec import SystemSpec
from telemetry.drift import KOfN, PageHinkley

STRANGE, OF_PERIODS = 3, 5
"""So many strange observations of the last so many are one too many: at one in a thousand by chance, once in years."""
BLOCK_SECONDS = 300.0
"""Scores are averaged over so long before drift is looked for: its thresholds were measured on 5-minute readings."""


class NoveltyWatch:
    """One role's observations beside those that its policy was made with.

    Attributes:
        distance: of the last observation; NaN before the first.
        strange: how many observations were beyond the threshold.

    Args:
        guard: of the policy's artifact.
    """

    def __init__(self, guard: NoveltyGuard) -> None:
        self.guard, self.distance, self.strange = guard, float("nan"), 0
        self.reset()

    def reset(self) -> None:
        """Forget the last periods."""
        self._recent = KOfN(STRANGE, OF_PERIODS)

    def look(self, observation: np.ndarray) -> str | None:
        """Why the policy is not to be asked, in one line; None while it may be.

        Args:
            observation: (n_observation,), complete.
        """
        self.distance, threshold = float(self.guard.distance(observation)), self.guard.guard.threshold
        beyond = not self.distance <= threshold
        self.strange += beyond
        if not self._recent.update(beyond):
            return None
        return (
            f"{STRANGE} of {OF_PERIODS} observations unlike those of training "
            f"(distance {self.distance:.2f}, allowed {threshold:.2f})"
        )


class DriftWatch:
    """Tells when the world has moved away from training for good, so that a new training is due. It decides nothing.

    Two scores, each in its usual deviations: the distance of the observations, and by how much the reward falls short
    of what the observations promised in training. A lasting rise of either is found by the Page-Hinkley test; where a
    score stands at the beginning does not matter, so that a host which differs from the simulator is no drift.

    Attributes:
        asked: why a new training is asked for, one line; empty while it is not. It stays until the controller starts
            with new policies.

    Args:
        guard: of a policy.
        spec: of the system.
    """

    def __init__(self, guard: NoveltyGuard, spec: SystemSpec) -> None:
        self.asked = ""
        self._guard, self._objective = guard, Objective(spec)
        self._block = max(1, round(BLOCK_SECONDS / spec.control_period_seconds))
        self._tests = {"observations move away from training": PageHinkley(), "rewards fall short": PageHinkley()}
        self._scores: list[np.ndarray] = []  # (2,) each, of the block that is running
        self._expected = float("nan")
        self._before: np.ndarray | None = None

    def see(self, observation: np.ndarray, values: np.ndarray, setting: np.ndarray) -> None:
        """Take in a period.

        Args:
            observation: (n_observation,) at its end; NaN where a reading is missing.
            values: (n_metrics,) of the period.
            setting: (n_knobs,) in force during it.
        """
        before = setting if self._before is None else self._before
        reward = float(np.sum(list(self._objective.score(values, setting, before).values())))
        scores = np.array([float(self._guard.distance(observation)), self._expected - reward]) / self._guard.spreads
        self._scores.append(scores)
        self._expected, self._before = float(self._guard.expected_reward(observation)), setting.copy()
        if len(self._scores) >= self._block:
            self._judge()

    def _judge(self) -> None:
        block, self._scores = np.array(self._scores), []  # (n, 2)
        known = np.isfinite(block)
        count = known.sum(axis=0)
        mean = np.where(known, block, 0.0).sum(axis=0) / np.maximum(count, 1)
        for (name, test), score, seen in zip(self._tests.items(), mean, count, strict=True):
            # Half of a block is no mean of it.
            if test.update(float(score) if 2 * seen > self._block else float("nan")) and not self.asked:
                self.asked = f"{name} for good; train anew"
