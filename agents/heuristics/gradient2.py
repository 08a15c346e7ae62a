"""Netflix' Gradient2: a limit on concurrency that follows the gradient of latency, on the serving batch size.

Source: Netflix/concurrency-limits `Gradient2Limit.java`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.knobs import Asked, Knobs, Number
from agents.heuristics.readings import Readings
from envs.task import Task

ARRIVALS, LATENCY, BATCH = "serving_arrivals_per_second", "serving_latency_p50_seconds", "serving_batch_size"
WARM_UP = 10.0
"""Periods of which the long average is the plain mean before it becomes exponential."""
RECOVERY = 0.95
"""Factor on the long average where it is more than twice the present latency: it is out of date."""


@dataclass(frozen=True)
class Gradient2Parameters:
    """Parameters; each may be an array over the leading shape. Defaults are the library's."""

    tolerance: Number = 1.5
    """Latency over its long average up to which the limit does not shrink."""
    queue: Number = 4.0
    """Requests by which the limit grows while latency is good."""
    smoothing: Number = 0.2
    """Share of the way to the new limit that is gone in one period."""
    long_periods: Number = 600.0
    """Window of the long average."""


class Gradient2Policy:
    """Gradient2 on the serving batch size; tuning role. The task's other knobs are held.

        long     = exponential mean of the latency;   long > 2 * latency:  long *= 0.95
        inflight = arrivals * latency  < limit / 2:   unchanged, the limit is not what holds it back
        g        = clamp(tolerance * long / latency, 0.5, 1)
        limit    = (1 - smoothing) * limit + smoothing * (limit * g + queue)

    The server works off one batch at a time: the requests in a batch are those that are really worked on at once, so
    that the largest batch is the nearest knob to a limit on concurrency. (Cores are not: the law lowers the limit when
    latency rises, which is when more cores are needed.) Inflight is not observed but follows from Little's law;
    latency is the median. Where either is missing nothing moves.
    """

    def __init__(
        self, task: Task, setting: np.ndarray, parameters: Gradient2Parameters | None = None, name: str = "gradient2"
    ) -> None:
        """Hold `setting`, (n_knobs,) or (..., n_knobs), for the knobs that the rule leaves alone."""
        self.name, self.task = name, task
        self.parameters = parameters or Gradient2Parameters()
        self._knobs = Knobs(task, [BATCH], setting)
        self._asked = Asked(self._knobs)
        self._readings = Readings(task, [ARRIVALS, LATENCY])
        self.reset()

    def reset(self) -> None:
        """Forget the long average, and start again from the batch size in force."""
        self._asked.reset()
        self._long, self._seen = np.zeros(()), np.zeros(())

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        arrivals, latency = self._readings(observation)
        limit = self._asked.now(self._knobs.in_force(observation))
        self._average(latency)
        gradient = np.clip(self.parameters.tolerance * self._long / np.maximum(latency, 1e-6), 0.5, 1.0)
        smoothing = self.parameters.smoothing
        moved = (1.0 - smoothing) * limit + smoothing * (limit * gradient + self.parameters.queue)
        return self._asked.ask(np.where(arrivals * latency >= 0.5 * limit, moved, limit))  # NaN: not moved

    def _average(self, latency: np.ndarray) -> None:
        """Let the long average follow the latency, (...); a missing one changes nothing."""
        there = np.isfinite(latency)
        self._seen = self._seen + there
        share = np.where(
            self._seen <= WARM_UP, 1.0 / np.maximum(self._seen, 1.0), 2.0 / (self.parameters.long_periods + 1.0)
        )
        followed = self._long + share * (np.where(there, latency, self._long) - self._long)
        self._long = np.where(followed > 2.0 * latency, RECOVERY * followed, followed)
