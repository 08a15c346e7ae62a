"""Google's Autopilot, the moving-window recommender, for CPU.

Source: Rzadca et al., "Autopilot: workload autoscaling at Google scale", EuroSys'20, section 3.2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.histogram import DecayingHistogram
from agents.heuristics.knobs import Number, cpu_knobs, of_each_workload
from agents.heuristics.readings import cpu_used
from agents.heuristics.window import Window
from envs.task import Task

PERCENTILES = {"serving": 0.95, "ingest": 0.90}
"""Of the load-adjusted use, by how little latency is tolerated. Any other workload is a batch job: its mean counts."""


@dataclass(frozen=True)
class AutopilotParameters:
    """Parameters; each may be an array over the leading shape. Defaults are the paper's."""

    serving: Number = 1.15
    """Factor on the recommendation for serving (paper: 10 to 15 % more)."""
    training: Number = 1.15
    """Likewise for training."""
    ingest: Number = 1.15
    """Likewise for ingest."""
    half_life_seconds: Number = 43200.0
    """After which a sample of CPU use counts half."""
    window_seconds: Number = 3600.0
    """The limit is the largest recommendation of so long."""


class AutopilotPolicy:
    """Autopilot's moving window for each workload's cores; the task's other knobs are held.

        batch:          the mean of the use, weighted by age
        latency-bound:  a percentile of the use, weighted by age and by the use itself ("load-adjusted": the share of
                        the load, not of the time, for which the limit is enough)
        limit         = largest recommendation of the window * margin

    The paper counts samples of one second in histograms of five minutes, and recommends as often. Here both happen in
    every control period. A missing reading is no sample.
    """

    def __init__(
        self, task: Task, setting: np.ndarray, parameters: AutopilotParameters | None = None, name: str = "autopilot"
    ) -> None:
        """Hold `setting`, (n_knobs,) or (..., n_knobs), for the knobs that the rule leaves alone."""
        self.name, self.task = name, task
        self.parameters = parameters or AutopilotParameters()
        self._knobs, self._used = cpu_knobs(task, setting), cpu_used(task)
        period, workloads = task.spec.control_period_seconds, task.spec.workloads
        half_life = np.asarray(self.parameters.half_life_seconds) / period
        self._keep = 2.0 ** (-1.0 / half_life)
        self._shares = np.array([PERCENTILES.get(workload, 1.0) for workload in workloads])
        self._batch = np.array([workload not in PERCENTILES for workload in workloads])
        self._load = DecayingHistogram(half_life, most=self._knobs.high.max())
        self._limits = Window(np.asarray(self.parameters.window_seconds) / period)
        self.reset()

    def reset(self) -> None:
        """Forget all samples and recommendations."""
        self._load.clear()
        self._limits.clear()
        self._sum, self._weight = np.zeros(()), np.zeros(())

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        self._limits.add(self._recommend(self._used(observation)))
        limit = self._limits.largest()
        return self._knobs.ask(np.where(np.isnan(limit), self._knobs.in_force(observation), limit))

    def _recommend(self, used: np.ndarray) -> np.ndarray:
        """(n_workloads, ...) cores used -> recommended; NaN where nothing was ever used."""
        there = np.isfinite(used)
        self._load.add(used, weights=used)
        self._sum = self._sum * self._keep + np.where(there, used, 0.0)
        self._weight = self._weight * self._keep + there
        mean = np.where(self._weight > 0.0, self._sum / np.maximum(self._weight, 1e-300), np.nan)
        shares, batch = (part.reshape(-1, *[1] * (used.ndim - 1)) for part in (self._shares, self._batch))
        (percentile,) = self._load.percentiles([shares])
        return np.where(batch, mean, percentile) * of_each_workload(self.parameters, self.task, used)
