"""Pollux: the training batch size with the most goodput, throughput times statistical efficiency.

Source: Qiao et al., "Pollux: co-adaptive cluster scheduling for goodput-optimized deep learning", OSDI'21, and its code
(`adaptdl/goodput.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.heuristics.knobs import Asked, Knobs, Number
from agents.heuristics.readings import Readings
from envs.task import Task

SAMPLES, GOODPUT = "training_samples_per_second", "training_goodput_per_second"
BATCH = "training_batch_size"
LEAST, MOST = 1e-2, 1e5
"""Bounds of the noise scale and of the overhead, samples, within which they are believed."""


@dataclass(frozen=True)
class PolluxParameters:
    """Parameters; each may be an array over the leading shape. Where they are priors, readings replace them."""

    base_batch: Number = 32.0
    """Batch size whose efficiency is 1: the one that the learning rate was chosen for."""
    noise_scale: Number = 128.0
    """Prior of the gradient noise scale, samples: at a batch of this and the base together, half the efficiency."""
    overhead_samples: Number = 32.0
    """Prior of a step's fixed time over the time of a sample."""
    prior_periods: Number = 30.0
    """Periods of readings that outweigh the priors."""
    half_life_periods: Number = 120.0
    """After which a reading counts half."""
    gain: Number = 1.05
    """Predicted goodput over the present one from which the batch size moves (the code's value)."""


class PolluxPolicy:
    """Pollux' choice of the training batch size; tuning role. The task's other knobs are held.

        time of a step  = a + c * b                                      (b the batch; one replica, so no network)
        efficiency(b)   = (noise + base) / (noise + b),  1 for b <= base
        goodput(b)      = b / (a + c * b) * efficiency(b),  largest at b* = max(base, sqrt(noise * a / c))
        moves to b* if goodput(b*) > gain * goodput(b)

    Pollux times every step; what is observed instead is CPU per sample, a / b + c core-seconds, which is fitted by
    weighted least squares with the prior a / c. It takes the noise scale from the gradients; here it follows from the
    observed efficiency, goodput over samples, at batches above the base. Periods without a sample count for nothing.
    """

    def __init__(
        self, task: Task, setting: np.ndarray, parameters: PolluxParameters | None = None, name: str = "pollux"
    ) -> None:
        """Hold `setting`, (n_knobs,) or (..., n_knobs), for the knobs that the rule leaves alone."""
        self.name, self.task = name, task
        self.parameters = parameters or PolluxParameters()
        self._knobs = Knobs(task, [BATCH], setting)
        self._asked = Asked(self._knobs)
        self._readings = Readings(task, [SAMPLES, GOODPUT, task.spec.workloads["training"].cpu_used])
        self.reset()

    def reset(self) -> None:
        """Forget all readings."""
        self._asked.reset()
        self._costs = [np.zeros(())] * 5  # sums of 1, x, x^2, y, x * y: x = base / batch, y = CPU per sample
        self._noises = [np.zeros(())] * 2  # weight, and sum of the logarithms of the noise scales seen

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action)."""
        in_force = self._knobs.in_force(observation)  # (1, ...)
        self._learn(in_force[0], *self._readings(observation))
        noise, overhead = self.noise_scale(), self.overhead_samples()
        best = self._knobs.clip(np.maximum(self.parameters.base_batch, np.sqrt(noise * overhead))[None])
        best, asked = np.broadcast_arrays(best, self._asked.now(in_force))
        worth = self._goodput(best, noise, overhead) > self.parameters.gain * self._goodput(asked, noise, overhead)
        return self._asked.ask(np.where(worth, best, asked))

    def noise_scale(self) -> np.ndarray:
        """What is believed of the gradient noise scale, (...) samples: the geometric mean of prior and observations."""
        weight, total = self._noises
        prior = self.parameters.prior_periods
        return np.exp((prior * np.log(self.parameters.noise_scale) + total) / (prior + weight))

    def overhead_samples(self) -> np.ndarray:
        """What is believed of a step's fixed time over the time of a sample, (...)."""
        base, prior = self.parameters.base_batch, self.parameters.prior_periods
        expected = self.parameters.overhead_samples / base  # of fixed / each, fitted in y = fixed * x + each
        one, x, xx, y, xy = self._costs
        fixed = (one + prior * expected**2) * xy - (x - prior * expected) * y
        each = (xx + prior) * y - (x - prior * expected) * xy
        fitted = base * fixed / np.maximum(each, 1e-12 * (np.abs(fixed) + 1e-300))
        return np.where(one > 0.0, np.clip(fitted, LEAST, MOST), self.parameters.overhead_samples)

    def _learn(self, batch: np.ndarray, samples: np.ndarray, goodput: np.ndarray, cores: np.ndarray) -> None:
        """Take in what was observed, (...) each, at a batch size."""
        base = self.parameters.base_batch
        there = (samples > 0.0) & np.isfinite(goodput) & np.isfinite(cores)
        per_sample = np.where(there, cores / np.where(there, samples, 1.0), 0.0)
        efficiency = np.where(there, goodput / np.where(there, samples, 1.0), 1.0)
        x = base / batch
        keep = 0.5 ** (1.0 / np.asarray(self.parameters.half_life_periods))
        seen = (there, there * x, there * x * x, per_sample, x * per_sample)
        self._costs = [keep * total + new for total, new in zip(self._costs, seen, strict=True)]
        tells = there & (batch > base) & (efficiency < 1.0)
        noise = (efficiency * batch - base) / np.where(tells, 1.0 - efficiency, 1.0)
        logarithm = np.where(tells, np.log(np.clip(noise, LEAST, MOST)), 0.0)
        self._noises = [keep * total + new for total, new in zip(self._noises, (tells, logarithm), strict=True)]

    def _goodput(self, batch: np.ndarray, noise: np.ndarray, overhead: np.ndarray) -> np.ndarray:
        """Predicted goodput over that of the base batch's samples without overhead, (...)."""
        efficiency = np.minimum((noise + self.parameters.base_batch) / (noise + batch), 1.0)
        return batch / (overhead + batch) * efficiency
