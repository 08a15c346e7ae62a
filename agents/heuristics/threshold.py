"""The rule of the Kubernetes Horizontal Pod Autoscaler, on CPU grants instead of replicas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.knobs import Number, of_each_workload
from agents.heuristics.readings import cpu_used
from agents.heuristics.window import Window
from envs.spec import Role
from envs.task import Task


@dataclass(frozen=True)
class ThresholdParameters:
    """The rule's few parameters. Each may be an array over the leading shape: then every system has its own.

    Defaults are HPA's own where it has one (tolerance) and its usual deployment (70 % target, shorter window).
    """

    serving: Number = 0.7
    """Wanted CPU utilisation of serving: used over granted."""
    training: Number = 0.7
    """Wanted CPU utilisation of training."""
    ingest: Number = 0.7
    """Wanted CPU utilisation of ingest."""
    window_periods: Number = 20
    """Periods whose largest recommendation a grant goes down to (HPA: 300 s, at replicas that start in minutes)."""
    tolerance: Number = 0.1
    """Relative distance from the target within which nothing moves (HPA's default)."""


class ThresholdPolicy:
    """HPA's rule for each workload's cores; allocation role only.

        ratio = (used / granted) / target
        recommended = granted                  if |1 - ratio| <= tolerance
                    = granted * ratio          otherwise
        asked for   = max(recommendations of the last `window_periods`): up at once, down only after the window

    Source: kubernetes `pkg/controller/podautoscaler/replica_calculator.go` and `horizontal.go` (stabilisation). Cores
    are divisible, so nothing is rounded up to whole replicas. A missing reading recommends what is granted.
    """

    def __init__(self, task: Task, parameters: ThresholdParameters | None = None, name: str = "threshold") -> None:
        if task.role is not Role.ALLOCATION:
            raise ValueError(f"the threshold rule sets CPU grants: it needs the allocation role, given {task.name}")
        self.name, self.task = name, task
        self.parameters = parameters or ThresholdParameters()
        self._knobs = [task.spec.knob_index(objective.cpu_knob) for objective in task.spec.workloads.values()]
        self._used, self._recent = cpu_used(task), Window(self.parameters.window_periods)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        setting = self.task.setting(observation)  # (..., n_knobs)
        granted = np.moveaxis(setting[..., self._knobs], -1, 0)  # (n_workloads, ...)
        ratio = self._used(observation) / granted / of_each_workload(self.parameters, self.task, granted)
        keep = ~(np.abs(1.0 - ratio) > self.parameters.tolerance)  # also where the ratio is NaN
        self._recent.add(np.where(keep, granted, granted * ratio))
        setting[..., self._knobs] = np.moveaxis(self._recent.largest(), 0, -1)
        return self.task.encode(setting)

    def reset(self) -> None:
        """Forget the recommendations of earlier periods."""
        self._recent.clear()
