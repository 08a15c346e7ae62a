"""The environment turned around: the system calls the policy.

A real system has a loop of its own and cannot be stepped. It calls `decide` once a period and applies what comes back.
The shape is that of Park's `SysEnv.run` (Mao et al. 2019); Task and Recent are those of the environment, so that the
same readings give the same observations and rewards, whoever drives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from envs.recent import Recent
from envs.task import Task
from telemetry.metrics import Snapshot


class Agent(Protocol):
    """What chooses actions and may learn from rewards."""

    def get_action(self, observation: np.ndarray, reward: float) -> np.ndarray:
        """Action (n_action,) for an observation (n_observation,).

        Args:
            observation: of the period that has just ended.
            reward: of the same period; 0 before anything was decided.
        """
        ...


Decide = Callable[[Snapshot, np.ndarray], np.ndarray]
"""(reading of the period that has ended, setting (n_knobs,) in force during it) -> wanted setting (n_knobs,)."""


class PushEnv:
    """A learning system that drives itself and asks an agent.

    Args:
        task: what is observed, decided and rewarded.
        system: runs until it is done; calls the `Decide` that it is given once a period and applies the answer. One
            call is an episode.
    """

    def __init__(self, task: Task, system: Callable[[Decide], None]) -> None:
        self.task, self._system = task, system

    def run(self, agent: Agent, episodes: int = 1) -> list[float]:
        """Let the system run with the agent; returns the sum of the rewards of each episode."""
        totals = []
        for _ in range(episodes):
            asked = _Asked(self.task, agent)
            self._system(asked.decide)
            totals.append(asked.total)
        return totals


class _Asked:
    """One episode: remembers what the agent is shown, and what it has earned."""

    def __init__(self, task: Task, agent: Agent) -> None:
        self._task, self._agent = task, agent
        self._recent = Recent(task.spec, hold_missing=True)
        self._before: np.ndarray | None = None
        self.total = 0.0

    def decide(self, snapshot: Snapshot, setting: np.ndarray) -> np.ndarray:
        """The setting that is wanted next; the one in force until a window has been seen."""
        self._recent.append(snapshot)
        if not self._recent.full:
            return setting
        reward = 0.0
        if self._before is not None:
            terms = self._task.score(self._recent.values, setting, self._before)
            reward = float(sum(terms.values()))
        self.total += reward
        self._before = setting
        observation = self._task.observe(self._recent, setting)
        return self._task.decode(self._agent.get_action(observation, reward), setting)
