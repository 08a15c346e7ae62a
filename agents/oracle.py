"""The upper bound: a planner that knows the future demand and the simulator's hidden state. No policy may do better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.simulator.simulated_plant import SimulatedPlant
from envs.task import Task


@dataclass(frozen=True)
class OracleConfig:
    """How hard it thinks."""

    replan_periods: int = 2
    """Periods between two plans. On the generated test days, efficiency relative to the static default and mean reward:
    4.17 and 1.385 with 5 periods (horizon 15), 4.29 and 1.429 with 2 (horizon 10, 64 candidates, four rounds)."""
    horizon_periods: int = 10
    """How far a plan is tried: about as long as a checkpoint takes to be worth its price."""
    candidates: int = 48
    """Settings tried in each round, for each system."""
    rounds: int = 3
    """Of the cross-entropy method, each around the best of the one before."""
    elite: int = 8
    """Best candidates that the next round is drawn around."""
    first_spread: float = 0.5
    """Standard deviation of the first round, in the scaled range [-1, 1]."""


class OraclePolicy:
    """Model-predictive control with perfect knowledge, for the joint task.

    Every few periods it tries settings on copies of the plant, which replay the true future down to the noise, and
    takes the one with the largest reward over the horizon: the cross-entropy method (Rubinstein 1999) around what it
    held last, with given settings among the candidates. The true optimum lies above what it finds.

    Args:
        task: the joint task of the plant's spec.
        plant: on which it will act; only copies are tried.
        settings: (n, n_knobs) that are always among the candidates, such as the best static one.
        config: how hard it thinks.
        seed: of the candidates.

    Raises:
        ValueError: the task is not the joint one.
    """

    name = "oracle"

    def __init__(
        self, task: Task, plant: SimulatedPlant, settings: np.ndarray, config: OracleConfig | None = None, seed: int = 0
    ) -> None:
        if task.role is not None:
            raise ValueError(f"the oracle sets all knobs: it needs the joint task, given {task.name}")
        self._task, self._plant, self._config = task, plant, config or OracleConfig()
        self._given = task.encode(settings).astype(float)  # (n, n_action)
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Forget the plan."""
        self._rng = np.random.default_rng(self._seed)
        self._age = 0
        self._plan: np.ndarray | None = None

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The plan, (N, n_action); what is observed does not matter to who knows."""
        if self._plan is None or self._age % self._config.replan_periods == 0:
            self._plan = self._best_plan(len(observation))
        self._age += 1
        return self._plan.astype(np.float32)

    def _best_plan(self, n: int) -> np.ndarray:
        config = self._config
        held = self._task.encode(self._plant.setting).astype(float)  # (N, n_action)
        centre = held if self._plan is None else self._plan
        spread = np.full_like(centre, config.first_spread)
        fixed = np.concatenate([held[None], centre[None], np.repeat(self._given[:, None], n, axis=1)])
        best, most = centre, np.full(n, -np.inf)
        for _ in range(config.rounds):
            drawn = centre + spread * self._rng.standard_normal((config.candidates, *centre.shape))
            tried = np.clip(np.concatenate([fixed, drawn]), -1.0, 1.0)  # (K, N, n_action)
            rewards = self._tried(tried)  # (K, N)
            order = np.argsort(-rewards, axis=0)[: config.elite]
            elite = np.take_along_axis(tried, order[..., None], axis=0)  # (elite, N, n_action)
            centre, spread = elite.mean(axis=0), elite.std(axis=0) + 0.02
            first = np.take_along_axis(rewards, order[:1], axis=0)[0]
            best = np.where((first > most)[:, None], elite[0], best)
            most = np.maximum(first, most)
            fixed = best[None]
        return best

    def _tried(self, actions: np.ndarray) -> np.ndarray:
        """Reward of each action over the horizon, (K, N) for (K, N, n_action)."""
        count, n, _ = actions.shape
        task, period = self._task, self._task.spec.control_period_seconds
        ahead = self._plant.select(np.tile(np.arange(n), count))
        ahead.missing_ratio = 0.0
        flat, total = actions.reshape(count * n, -1), np.zeros(count * n)
        scaled = task.knob_scaling.scale(ahead.setting)
        for _ in range(self._config.horizon_periods):
            ahead.apply(task.decode(flat, ahead.setting, scaled=scaled))
            values, before = ahead.advance(period).values, scaled
            setting = ahead.setting
            scaled = task.knob_scaling.scale(setting)
            total += sum(task.assess(values, setting, scaled - before).terms.values())
        return total.reshape(count, n)
