"""Additive increase, multiplicative decrease: of cores (allocation) and of the serving batch (tuning).

The law is TCP's (Chiu and Jain 1989); for batch sizes it is Clipper's (NSDI'17, section 4.3: the batch grows by a
constant until the latency objective is missed, then shrinks by a tenth).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.knobs import Number
from agents.heuristics.readings import Readings
from envs.spec import Role
from envs.task import Task

LATENCY = "serving_latency_p99_seconds"
ACCURACY = "serving_accuracy_ratio"
BATCH = "serving_batch_size"
_BACKLOGS = {
    "serving": "serving_queue_requests",
    "training": "training_backlog_samples",
    "ingest": "ingest_backlog_events",
}


@dataclass(frozen=True)
class AimdParameters:
    """Parameters of both AIMD rules; each may be an array over the leading shape."""

    increase_cores: Number = 0.1
    """Cores added in a period in which a workload is short of them."""
    decrease: Number = 0.9
    """Factor on the cores in a calm period. Above 0.92 the move is smaller than the spec's dead band and never made."""
    slack: Number = 0.3
    """Share of the latency SLO, and of the CPU grant, that must be free before cores are taken away."""
    growth: Number = 0.1
    """Relative growth of a backlog in one period that counts as being short (below it, noise)."""
    increase_batch: Number = 2.0
    """Requests added to the largest batch while latency holds."""
    decrease_batch: Number = 0.9
    """Factor on the batch when latency is missed (Clipper's value)."""


class AimdPolicy:
    """AIMD on each workload's cores; allocation role.

    A workload is short when one of its SLOs is missed (for serving: p99 above the deadline) or its backlog grows; it is
    calm when neither holds and CPU use (for serving: p99, too) leaves `slack`. A missing reading is neither.
    """

    def __init__(self, task: Task, parameters: AimdParameters | None = None, name: str = "aimd") -> None:
        if task.role is not Role.ALLOCATION:
            raise ValueError(f"AIMD on cores needs the allocation role, given {task.name}")
        self.name, self.task = name, task
        self.parameters = parameters or AimdParameters()
        self._backlog: dict[str, np.ndarray] = {}
        used = (objective.cpu_used for objective in task.spec.workloads.values())
        bound = (slo.metric for slo in task.spec.slos)
        self._read = list(dict.fromkeys([*used, *bound, *_BACKLOGS.values(), LATENCY]))
        self._readings = Readings(task, self._read)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        setting = self.task.setting(observation)  # (..., n_knobs)
        seen = dict(zip(self._read, self._readings(observation), strict=True))  # metric -> (...)
        for workload, objective in self.task.spec.workloads.items():
            knob = self.task.spec.knob_index(objective.cpu_knob)
            cores, used = setting[..., knob], seen[objective.cpu_used]
            short = self._missed(workload, seen) | self._growing(workload, seen)
            calm = ~short & (used < (1.0 - self.parameters.slack) * cores) & self._fast(workload, seen)
            lower = cores * self.parameters.decrease
            setting[..., knob] = np.where(short, cores + self.parameters.increase_cores, np.where(calm, lower, cores))
        return self.task.encode(setting)

    def reset(self) -> None:
        """Forget the backlogs of the period before."""
        self._backlog.clear()

    def _missed(self, workload: str, seen: dict[str, np.ndarray]) -> np.ndarray:
        """Whether an SLO on one of the workload's own metrics is broken, (...) bool."""
        missed = np.zeros(seen[LATENCY].shape, dtype=bool)
        for slo in self.task.spec.slos:
            # Accuracy is left out: it says how fresh the model is, which the server's cores do not change.
            if slo.metric.startswith(f"{workload}_") and slo.metric != ACCURACY:
                reading = seen[slo.metric]
                missed |= reading > slo.at_most if slo.at_most is not None else reading < slo.at_least
        return missed

    def _growing(self, workload: str, seen: dict[str, np.ndarray]) -> np.ndarray:
        """Whether the backlog grew since the last period, (...) bool; False in the first."""
        metric = _BACKLOGS[workload]
        backlog = seen[metric]
        before = self._backlog.get(workload, backlog)
        self._backlog[workload] = backlog
        # Below the metric's knee a backlog is what every healthy batching system holds.
        return (backlog > before * (1.0 + self.parameters.growth)) & (backlog > self.task.catalogue[metric].knee)

    def _fast(self, workload: str, seen: dict[str, np.ndarray]) -> np.ndarray:
        """Whether latency leaves slack, (...) bool; True for workloads without latency."""
        if workload != "serving":
            return np.ones(seen[LATENCY].shape, dtype=bool)
        limit = (1.0 - self.parameters.slack) * self.task.spec.latency_slo_seconds
        return np.asarray(seen[LATENCY] < limit)


class BatchAimdPolicy:
    """Clipper's AIMD on the serving batch size; tuning role. All other tuning knobs stay at a given setting."""

    def __init__(
        self, task: Task, setting: np.ndarray, parameters: AimdParameters | None = None, name: str = "aimd-batch"
    ) -> None:
        """Keep `setting` (n_knobs,) for the knobs that the rule leaves alone."""
        if task.role is not Role.TUNING:
            raise ValueError(f"AIMD on the batch size needs the tuning role, given {task.name}")
        self.name, self.task = name, task
        self.parameters = parameters or AimdParameters()
        self._setting = np.asarray(setting, dtype=float)
        self._knob = task.spec.knob_index(BATCH)
        # Kept here, not read back: steps smaller than the spec's dead band have to add up.
        self._batch: np.ndarray | None = None

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        latency, deadline = self.task.reading(observation, LATENCY), self.task.spec.latency_slo_seconds
        batch = self.task.knob(observation, BATCH) if self._batch is None else self._batch
        grown = np.where(latency <= deadline, batch + self.parameters.increase_batch, batch)  # NaN: unchanged
        batch = np.where(latency > deadline, batch * self.parameters.decrease_batch, grown)
        self._batch = np.clip(batch, self.task.knob_scaling.low[self._knob], self.task.knob_scaling.high[self._knob])
        setting = np.broadcast_to(self._setting, (*observation.shape[:-1], self._setting.shape[-1])).copy()
        setting[..., self._knob] = self._batch
        return self.task.encode(setting)

    def reset(self) -> None:
        """Start again from the batch size in force."""
        self._batch = None
