"""Autothrottle's Captain: a governor that keeps each workload at a target of CPU throttling.

Source: Wang et al., "Autothrottle: a practical bi-level approach to resource management for SLO-targeted
microservices", NSDI'24, and its code (`worker-daemon.py`, CaptainScaler). Tower, which learns the targets online, is
left out: the targets are searched on the training demands like every other rule's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.knobs import Asked, Number, cpu_knobs, of_each_workload
from agents.heuristics.readings import cpu_used
from agents.heuristics.window import Window
from envs.task import Task

FIRST_MARGIN = 3.0
"""Standard deviations of the use that are first left above its peak."""
WORTH_MOVING = 0.9
"""A limit goes down only to this share of itself or less."""
LARGEST_CUT = 0.5
"""Share of itself that a limit keeps at least."""


@dataclass(frozen=True)
class CaptainParameters:
    """Parameters; each may be an array over the leading shape. Defaults are the code's where it has one."""

    serving: Number = 0.1
    """Throttle target of serving: share of the periods at the ceiling (Tower's choices: 0 to 0.3)."""
    training: Number = 0.1
    """Likewise of training."""
    ingest: Number = 0.1
    """Likewise of ingest."""
    at_ceiling: Number = 0.95
    """Use over grant from which a period counts as throttled."""
    decide_periods: Number = 10.0
    """Periods between decisions, over which throttling is counted."""
    usage_periods: Number = 50.0
    """Periods whose use a lowered limit leaves room for."""


class CaptainPolicy:
    """Captain for each workload's cores; the task's other knobs are held.

        r = share of the periods since the last decision that were throttled,   T = target,   L = limit
        every period:          r > 3 T after L was lowered:  L = 2 * L_before - L,  m += r - T    (taken back, and more)
        every `decide_periods`:  m = max(0, m + r - T)
            r > 3 T:           L = L * (1 + r - 3 T)
            else               U = max(use) + m * deviation(use);  U <= 0.9 L:  L = max(0.5 L, U)

    Captain ticks every 100 ms, one period of the kernel's CFS quota, and reads from the kernel whether that period was
    throttled. Neither is observed here: a tick is a control period, and the nearest to throttling that is observed is
    use at the ceiling, `used >= at_ceiling * granted`. A missing reading counts as not throttled.
    """

    def __init__(
        self, task: Task, setting: np.ndarray, parameters: CaptainParameters | None = None, name: str = "captain"
    ) -> None:
        """Hold `setting`, (n_knobs,) or (..., n_knobs), for the knobs that the rule leaves alone."""
        self.name, self.task = name, task
        self.parameters = parameters or CaptainParameters()
        self._knobs, self._used = cpu_knobs(task, setting), cpu_used(task)
        self._asked = Asked(self._knobs)
        self._usage = Window(self.parameters.usage_periods)
        self.reset()

    def reset(self) -> None:
        """Forget limits, margins and windows."""
        self._asked.reset()
        self._usage.clear()
        self._throttled, self._ticks = np.zeros(()), np.zeros(())  # (n_workloads, ...), since the last decision
        self._margin, self._lowered = np.full((), FIRST_MARGIN), np.zeros((), dtype=bool)
        self._before: np.ndarray | None = None  # the limits before the last decision

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        used, granted = self._used(observation), self._knobs.in_force(observation)
        limit = self._asked.now(granted)
        before = limit if self._before is None else self._before
        self._usage.add(used)
        self._throttled = self._throttled + (used >= self.parameters.at_ceiling * granted)
        self._ticks = self._ticks + 1.0
        target = of_each_workload(self.parameters, self.task, granted)
        excess = self._throttled / self.parameters.decide_periods - target  # r - T
        missed = excess > 2.0 * target
        taken_back = missed & self._lowered
        due = (self._ticks >= self.parameters.decide_periods) & ~taken_back

        self._margin = np.where(taken_back, self._margin + excess, self._margin)
        self._margin = np.where(due, np.maximum(0.0, self._margin + excess), self._margin)
        lower = self._lower(limit)
        lowered = due & ~missed & (lower < limit)
        raised = due & missed
        decided = np.where(raised, limit * (1.0 + excess - 2.0 * target), np.where(lowered, lower, limit))
        self._before = np.where(due, limit, before)
        self._lowered = np.where(due, lowered, self._lowered & ~taken_back)
        again = due | taken_back
        self._throttled, self._ticks = (np.where(again, 0.0, count) for count in (self._throttled, self._ticks))
        return self._asked.ask(np.where(taken_back, 2.0 * before - limit, decided))

    def _lower(self, limit: np.ndarray) -> np.ndarray:
        """What the use of late leaves of the limits, (n_workloads, ...); the limits where it is too much to move."""
        room = self._usage.largest() + self._margin * self._usage.deviation()
        return np.where(room <= WORTH_MOVING * limit, np.maximum(LARGEST_CUT * limit, room), limit)
