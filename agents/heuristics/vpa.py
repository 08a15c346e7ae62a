"""Kubernetes' Vertical Pod Autoscaler: recommender and updater, for CPU.

Source: kubernetes/autoscaler `vertical-pod-autoscaler/pkg/{recommender/logic,recommender/model,updater}`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.histogram import DecayingHistogram
from agents.heuristics.knobs import Asked, Number, cpu_knobs, of_each_workload
from agents.heuristics.readings import cpu_used
from envs.task import Task

LOWER, UPPER = 0.5, 0.95
"""Percentiles of the bounds."""
WORTH_MOVING = 0.1
"""Relative difference from the target at which a request that has grown old is renewed."""


@dataclass(frozen=True)
class VpaParameters:
    """Parameters; each may be an array over the leading shape. Defaults are VPA's own."""

    serving: Number = 1.15
    """Factor on the percentile of serving's CPU use (`recommendation-margin-fraction`)."""
    training: Number = 1.15
    """Likewise of training."""
    ingest: Number = 1.15
    """Likewise of ingest."""
    percentile: Number = 0.9
    """Share of the time in which the target is enough (`target-cpu-percentile`)."""
    half_life_seconds: Number = 86400.0
    """After which a sample of CPU use counts half."""
    day_seconds: Number = 86400.0
    """History that makes the recommender confident; after half of it a request is old. 24 h in VPA, which makes no
    sense where a day is compressed to minutes."""


class VpaPolicy:
    """VPA's rule for each workload's cores; the task's other knobs are held.

        target = P90 * margin,   confidence = history / day
        lower  = P50 * margin * (1 + 0.001 / confidence)^-2,   upper = P95 * margin * (1 + 1 / confidence)
        the request becomes the target if it is < lower or > upper, or if it is half a day old and 10 % off

    The updater evicts pods; here the grant just changes. It looks every period (VPA: every minute), and so does the
    recommender. A missing reading is no sample.
    """

    def __init__(
        self, task: Task, setting: np.ndarray, parameters: VpaParameters | None = None, name: str = "vpa"
    ) -> None:
        """Hold `setting`, (n_knobs,) or (..., n_knobs), for the knobs that the rule leaves alone."""
        self.name, self.task = name, task
        self.parameters = parameters or VpaParameters()
        self._knobs, self._used = cpu_knobs(task, setting), cpu_used(task)
        self._asked = Asked(self._knobs)
        self._period = task.spec.control_period_seconds
        half_life_periods = self.parameters.half_life_seconds / self._period
        self._histogram = DecayingHistogram(half_life_periods, most=self._knobs.high.max())
        self.reset()

    def reset(self) -> None:
        """Forget all samples, and how old the requests are."""
        self._asked.reset()
        self._histogram.clear()
        self._history = np.zeros(())  # seconds that were sampled, (n_workloads, ...)
        self._age = np.zeros(())  # seconds since the request was renewed, (n_workloads, ...)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        request = self._asked.now(self._knobs.in_force(observation))
        used = self._used(observation)
        self._histogram.add(used)
        self._history = self._history + np.where(np.isnan(used), 0.0, self._period)
        self._age = self._age + self._period
        lower, target, upper = self._recommend(request)
        old = self._age >= 0.5 * self.parameters.day_seconds
        renewed = (request < lower) | (request > upper) | (old & (np.abs(target - request) >= WORTH_MOVING * request))
        self._age = np.where(renewed, 0.0, self._age)
        return self._asked.ask(np.where(renewed, target, request))

    def _recommend(self, request: np.ndarray) -> list[np.ndarray]:
        """Lower bound, target and upper bound, (n_workloads, ...) cores; NaN where nothing was ever used."""
        shares = (LOWER, self.parameters.percentile, UPPER)
        margin = of_each_workload(self.parameters, self.task, request)
        confidence = np.maximum(self._history / self.parameters.day_seconds, 1e-9)
        scales = ((1.0 + 0.001 / confidence) ** -2.0, 1.0, 1.0 + 1.0 / confidence)
        percentiles = self._histogram.percentiles(shares)
        return [self._knobs.clip(part * margin * scale) for part, scale in zip(percentiles, scales, strict=True)]
