"""What is watched while a policy learns: validation scores, the best policy so far, pace. Imports no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.network import MlpPolicy
from agents.ppo_config import PpoConfig
from agents.progress import Progress


@dataclass(frozen=True)
class TrainingHooks:
    """What happens beside the learning; all optional."""

    on_progress: Progress | None = None
    """Called after every rollout with steps done, total steps, the last validation score and steps per second."""
    evaluate: Callable[[MlpPolicy], float] | None = None
    """Score of a policy on a fixed validation batch, higher is better; the best policy seen is the one returned."""
    slo_attainment: Callable[[MlpPolicy], float] | None = None
    """Share of the periods of the same batch in which every SLO holds; asked for where the configuration has a target
    for it."""
    draw: Callable[[MlpPolicy], Any] | None = None
    """A matplotlib figure of what a policy does; goes to the log at the first, the middle and after the last
    evaluation, there of the policy that is returned."""
    initial_action: np.ndarray | None = None
    """(n_action,) mean action of the untrained policy, e.g. the best static setting; None is the middle, 0."""
    log_directory: Path | None = None
    """Where TensorBoard scalars and figures go."""
    checkpoint_directory: Path | None = None
    """Where `last.zip` (of stable-baselines3, to be reviewed) and `resume.pickle` are kept, renewed at each
    evaluation."""
    resume: bool = False
    """Go on from `resume.pickle`, where there is one, as if the training had never stopped."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, for the pace and `TrainingResult.seconds`."""


MULTIPLIER_GAIN = 8.0
"""Growth of the multiplier's logarithm for each unit of shortfall: a point of attainment changes it by 8 %."""
MULTIPLIER_RANGE = (0.1, 30.0)
SHORTFALL_PRICE = 5.0
"""What a policy's score loses for each unit that it falls short of the target: more than efficiency gains by it."""


class Validation:
    """Scores of a training's policies as it goes, and the best policy of them.

    Args:
        config: how often, and which SLO attainment is wanted.
        score: of a policy, higher is better.
        slo_attainment: of a policy, 0 to 1; needed where `config.slo_target` is set.

    Raises:
        ValueError: a target, and nothing that tells the attainment.
    """

    def __init__(
        self,
        config: PpoConfig,
        score: Callable[[MlpPolicy], float] | None,
        slo_attainment: Callable[[MlpPolicy], float] | None = None,
    ) -> None:
        if config.slo_target is not None and slo_attainment is None:
            raise ValueError(f"slo_target is {config.slo_target}, but no hook tells the SLO attainment of a policy")
        self._config, self._score, self._slo_attainment = config, score, slo_attainment
        self.multiplier = 1.0
        """Factor on the reward's `slo` term that the learner sees from now on."""
        self._every = max(1, config.total_steps // config.evaluations)
        self.at = 0
        """Steps at the last evaluation."""
        self.curve: list[tuple[int, float]] = []
        self.best: MlpPolicy | None = None

    def due(self, steps: int) -> bool:
        """Whether the next evaluation should come now."""
        return steps // self._every > self.at // self._every

    def judge(self, policy: MlpPolicy, steps: int) -> bool:
        """Score a policy and keep it if it is the best so far; whether the one at this time is to be drawn."""
        before, self.at = self.at // self._every, steps
        if self._score:
            score = self._score(policy) - self._shortfall(policy)
            score = -math.inf if math.isnan(score) else score  # NaN would compare as no worse than anything
            if self.best is None or score > max(past for _, past in self.curve):
                self.best = policy
            self.curve.append((steps, score))
        middle = max(2, self._config.evaluations // 2)
        return before == 0 or before < middle <= steps // self._every

    def _shortfall(self, policy: MlpPolicy) -> float:
        """What the score loses for missing the target; moves the multiplier on."""
        target = self._config.slo_target
        if target is None or self._slo_attainment is None:
            return 0.0
        short = target - self._slo_attainment(policy)
        if math.isfinite(short):
            self.multiplier = float(np.clip(self.multiplier * math.exp(MULTIPLIER_GAIN * short), *MULTIPLIER_RANGE))
        return SHORTFALL_PRICE * max(short, 0.0)

    @property
    def best_score(self) -> float | None:
        """Of `best`; None before the first evaluation."""
        return max((score for _, score in self.curve), default=None)

    @property
    def exhausted(self) -> bool:
        """Whether the last `patience` evaluations brought nothing better."""
        scores, patience = [score for _, score in self.curve], self._config.patience
        return bool(scores) and patience is not None and len(scores) - 1 - int(np.argmax(scores)) >= patience


class Pace:
    """How fast the training is, from when it was started or resumed in this process.

    Args:
        clock: seconds, monotonic.
        steps: done before.
        seconds: taken before.
    """

    def __init__(self, clock: Callable[[], float], steps: int = 0, seconds: float = 0.0) -> None:
        self._clock, self._steps, self._before, self._start = clock, steps, seconds, clock()

    @property
    def seconds(self) -> float:
        """Wall-clock of the whole training so far."""
        return self._before + self._clock() - self._start

    def rate(self, steps: int) -> float:
        """Steps per second, evaluations included; 0 before any time has passed."""
        passed = self._clock() - self._start
        return (steps - self._steps) / passed if passed > 0 else 0.0

    def seconds_left(self, steps: int, total: int) -> float:
        """Wall-clock until `total` steps at this rate; NaN while nothing is known."""
        rate = self.rate(steps)
        return max(0, total - steps) / rate if rate > 0 else float("nan")


def describe(reward: float, curve: list[tuple[int, float]], rate: float) -> str:
    """The progress bar's words: the last validation score (before the first, the reward) and steps per second."""
    score = f"validation {curve[-1][1]:.3f}" if curve else f"reward {reward:.3f}"
    return f"{score}, {rate / 1000:.1f}k steps/s"
