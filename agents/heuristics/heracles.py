"""Heracles: best-effort training takes from latency-critical serving what serving does not need.

Source: Lo et al., "Heracles: improving resource efficiency at scale", ISCA'15, algorithms 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.knobs import Asked, Number, cpu_knobs
from agents.heuristics.readings import Readings, cpu_used
from envs.task import Task

LATENCY = "serving_latency_p99_seconds"
GROW_SLACK, SHRINK_SLACK = 0.10, 0.05
"""Of the latency: below the first, best effort does not grow; below the second, it shrinks."""
HYSTERESIS = 0.05
"""Between the load that stops best effort and the one that lets it start (the paper's 0.85 and 0.80)."""


@dataclass(frozen=True)
class HeraclesParameters:
    """Parameters; each may be an array over the leading shape. Defaults are the paper's where it has one."""

    machine: Number = 1.0
    """Share of the spec's cores that the controller divides; the paper's all. What is above stays unreserved."""
    poll_seconds: Number = 15.0
    """Time between looks at latency and load."""
    cooldown_seconds: Number = 300.0
    """Time without best effort after the latency SLO was missed."""
    disable_load: Number = 0.85
    """Load of serving above which best effort stops; it starts `HYSTERESIS` below that."""
    growth_cores: Number = 0.1
    """Cores that best effort starts with and grows by; one in the paper, of 36."""
    growth_seconds: Number = 2.0
    """Time between growths."""
    shrunk_cores: Number = 0.1
    """Cores that are left of best effort where slack is small; two in the paper."""


class HeraclesPolicy:
    """Heracles on the cores of serving and training; ingest and the task's other knobs are held.

        every `poll_seconds`:  slack = 1 - p99 / deadline,  load = cores used by serving / cores that it could have
            slack < 0:              stop training, for the cooldown at least
            else load > 0.85:       stop it
            else load < 0.80:       start it
            slack < 0.05:           leave it `shrunk_cores`
        every `growth_seconds`:  slack >= 0.10: one unit more for training
        serving has what training leaves

    Stopped means the knob's minimum. Of the paper's subcontrollers only cores remains: cache ways, memory bandwidth
    and power are neither observed nor set here, and training sends nothing over the network. Load is a share of the
    cores, since the peak of the requests is not known. Without a latency nothing starts or grows.
    """

    def __init__(
        self, task: Task, setting: np.ndarray, parameters: HeraclesParameters | None = None, name: str = "heracles"
    ) -> None:
        """Hold `setting`, (n_knobs,) or (..., n_knobs), for the knobs that the rule leaves alone."""
        self.name, self.task = name, task
        self.parameters = parameters or HeraclesParameters()
        self._knobs, self._used = cpu_knobs(task, setting), cpu_used(task)
        self._latency = Readings(task, [LATENCY])
        self._asked = Asked(self._knobs)
        workloads = list(task.spec.workloads)
        self._serving, self._training = workloads.index("serving"), workloads.index("training")
        self._least = task.spec.knobs[task.spec.knob_index(task.spec.workloads["training"].cpu_knob)].low
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next period is a poll, and training runs."""
        self._asked.reset()
        self._to_poll, self._to_growth, self._cooldown = (np.zeros(()) for _ in range(3))  # seconds left, (...)
        self._runs, self._may_grow = np.ones((), dtype=bool), np.zeros((), dtype=bool)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        cores = self._asked.now(self._knobs.in_force(observation))
        both = self._divided(cores)
        (latency,), used = self._latency(observation), self._used(observation)[self._serving]
        slack = 1.0 - latency / self.task.spec.latency_slo_seconds
        shrunk = self._poll(slack, used / (both - self._least))
        best_effort = np.where(self._runs, self._grown(cores[self._training]), self._least)
        best_effort = np.where(shrunk, np.minimum(best_effort, self.parameters.shrunk_cores), best_effort)
        cores[self._training] = best_effort
        cores[self._serving] = both - best_effort
        return self._asked.ask(cores)

    def _divided(self, cores: np.ndarray) -> np.ndarray:
        """Cores (...) that serving and training have together; sets the rest of (n_workloads, ...) to what is held."""
        left = self.parameters.machine * np.full(cores.shape[1:], self.task.spec.cores)
        for i, held in enumerate(self._knobs.held):
            if i not in (self._serving, self._training):
                cores[i] = held
                left = left - held
        return np.maximum(left, 2.0 * self._least)

    def _poll(self, slack: np.ndarray, load: np.ndarray) -> np.ndarray:
        """Where a poll is due, decide whether training runs and may grow; returns where it is to shrink, (...) bool."""
        period, p = self.task.spec.control_period_seconds, self.parameters
        due = self._to_poll < 0.5 * period
        self._to_poll = np.where(due, p.poll_seconds, self._to_poll) - period
        missed = due & (slack < 0.0)
        self._cooldown = np.where(missed, p.cooldown_seconds, np.maximum(self._cooldown - period, 0.0))
        stops = missed | (due & (load > p.disable_load))
        starts = due & ~stops & (slack >= 0.0) & (load < p.disable_load - HYSTERESIS) & (self._cooldown < 0.5 * period)
        self._runs = (self._runs & ~stops) | starts
        self._may_grow = np.where(due, slack >= GROW_SLACK, self._may_grow)
        return due & (slack < SHRINK_SLACK)

    def _grown(self, best_effort: np.ndarray) -> np.ndarray:
        """Cores of training after this period's growth, (...)."""
        period = self.task.spec.control_period_seconds
        grows = self._runs & self._may_grow & (self._to_growth < 0.5 * period)
        left = np.where(grows, self.parameters.growth_seconds, self._to_growth)
        self._to_growth = np.maximum(left - period, 0.0)
        return np.where(grows, best_effort + self.parameters.growth_cores, best_effort)
