"""Kubernetes' Horizontal Pod Autoscaler, on CPU grants instead of replicas.

Source: kubernetes `pkg/controller/podautoscaler/{horizontal,replica_calculator}.go` (about v1.23); on the CPU of a
workload as in the baselines "K8s-CPU" (15 s, 300 s) and "K8s-CPU-Fast" (1 s, 20 s) of Autothrottle (NSDI'24).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.knobs import Number, cpu_knobs, of_each_workload
from agents.heuristics.readings import cpu_used
from agents.heuristics.window import Window
from envs.task import Task

MOST_GROWTH = 2.0
"""Largest factor on a grant in one sync (HPA's default policy: +100 % in 15 s)."""


@dataclass(frozen=True)
class HpaParameters:
    """Parameters; targets and tolerance may be arrays over the leading shape. Defaults are HPA's own."""

    serving: Number = 0.8
    """Wanted CPU utilisation of serving: used over granted."""
    training: Number = 0.8
    """Wanted CPU utilisation of training."""
    ingest: Number = 0.8
    """Wanted CPU utilisation of ingest."""
    tolerance: Number = 0.1
    """Relative distance from the target within which nothing moves."""
    sync_seconds: float = 15.0
    """Time between recommendations."""
    window_seconds: float = 300.0
    """Down goes only as far as the largest recommendation of so long (`downscale-stabilization`)."""


FAST = HpaParameters(sync_seconds=1.0, window_seconds=20.0)
"""Autothrottle's K8s-CPU-Fast."""


class HpaPolicy:
    """HPA's rule for each workload's cores; the task's other knobs are held.

        every sync:
        ratio       = mean use since the last sync / granted / target
        recommended = granted            if |1 - ratio| <= tolerance
                    = granted * ratio    otherwise
        asked for   = min(2 * granted, max(recommendations of the window))

    Cores are divisible, so nothing is rounded up to whole replicas. The first sync may go down at once, as in
    Autothrottle's baselines; Kubernetes would first remember for a window what was granted. A missing reading counts
    for nothing; without any since the last sync, what is granted is recommended.
    """

    def __init__(
        self, task: Task, setting: np.ndarray, parameters: HpaParameters | None = None, name: str = "hpa"
    ) -> None:
        """Hold `setting`, (n_knobs,) or (..., n_knobs), for the knobs that the rule leaves alone."""
        self.name, self.task = name, task
        self.parameters = parameters or HpaParameters()
        self._knobs, self._used = cpu_knobs(task, setting), cpu_used(task)
        self._sync_periods = max(1, round(self.parameters.sync_seconds / task.spec.control_period_seconds))
        self._use = Window(self._sync_periods)
        self._recommended = Window(round(self.parameters.window_seconds / self.parameters.sync_seconds))
        self.reset()

    def reset(self) -> None:
        """Forget the recommendations and the use since the last sync; the next period is one."""
        self._use.clear()
        self._recommended.clear()
        self._periods = 0
        self._asked = np.zeros(())

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        self._use.add(self._used(observation))
        if self._periods % self._sync_periods == 0:
            self._asked = self._sync(self._knobs.in_force(observation))
        self._periods += 1
        return self._knobs.ask(self._asked)

    def _sync(self, granted: np.ndarray) -> np.ndarray:
        """Cores to ask for, (n_workloads, ...)."""
        ratio = self._use.mean() / (granted * of_each_workload(self.parameters, self.task, granted))
        keep = ~(np.abs(1.0 - ratio) > self.parameters.tolerance)  # also where the ratio is NaN
        self._use.clear()
        self._recommended.add(np.where(keep, granted, granted * ratio))
        return np.minimum(self._recommended.largest(), MOST_GROWTH * granted)
