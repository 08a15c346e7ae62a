"""Continual training of the served model, its checkpoints, and what they do to accuracy. All arrays are (N,)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulator.columns import Columns
from envs.simulator.host import thread_cost

BASE_BATCH = 32.0
"""Batch size whose statistical efficiency is 1."""
DEMAND_SECONDS = 10.0
"""Time constant of the demand metric."""
ACCURACY_SECONDS = 15.0
"""Time constant of the accuracy metric."""
PIPELINE_SECONDS = 1.0
"""Time from a published shard to a training step that has seen it."""


class TrainingLoad(NamedTuple):
    """What a period of training would use on a host without contention."""

    cost: np.ndarray
    """Core-seconds per sample."""
    rate: np.ndarray
    """Samples per second that the grant allows."""
    wanted: np.ndarray
    """CPU that would be used, cores."""


def load(p: Columns, state: Columns, knobs: Columns, seconds: float) -> TrainingLoad:
    """Cost and speed: the least of computing, loading, and what the ceiling allows both together."""
    cores, threads, batch = knobs.training_cpu_cores, knobs.training_threads, knobs.training_batch_size
    workers = knobs.training_loader_workers
    spin = thread_cost(threads, cores, p.training_thread_penalty)
    compute = spin * (p.training_step_core_seconds / batch + p.training_sample_core_seconds)
    loading = p.training_load_core_seconds * (1.0 + p.training_worker_overhead_ratio * (workers - 1.0))
    cost = compute + loading
    parallel = 1.0 + (threads - 1.0) * p.parallel_gain_ratio
    free = np.maximum(cores - p.training_idle_cores, 1e-3)
    rate = np.minimum(np.minimum(free / cost, parallel / compute), workers / p.training_load_wait_seconds)
    stall = p.training_checkpoint_stall_seconds + p.training_checkpoint_core_seconds / np.minimum(free, 1.0)
    rate = rate * (1.0 - np.minimum(stall / knobs.training_checkpoint_interval_seconds, 0.95))
    used = np.minimum(rate, state.training_backlog / seconds) * cost
    writing = p.training_checkpoint_core_seconds / knobs.training_checkpoint_interval_seconds
    return TrainingLoad(cost, rate, np.minimum(used + writing + p.training_idle_cores, cores))


def advance(
    p: Columns, state: Columns, knobs: Columns, out: Columns, load: TrainingLoad, period: TrainingPeriod
) -> None:
    """Train on what may be trained on, publish when it is time; writes the state and training's metrics."""
    seconds, batch = period.seconds, knobs.training_batch_size
    samples = np.minimum(state.training_backlog, load.rate * period.speed * seconds)
    offered = period.events_written * p.training_uses_per_event
    keep = 1.0 - np.exp(-seconds / DEMAND_SECONDS)
    state.training_demand += (offered / seconds - state.training_demand) * keep
    backlog = state.training_backlog - samples + offered
    expired = np.maximum(backlog - p.training_window_samples * p.training_uses_per_event, 0.0)
    state.training_backlog[:] = backlog - expired
    state.uses_offered += offered
    state.uses_done += samples
    state.uses_expired += expired

    efficiency = np.minimum((p.training_noise_scale + BASE_BATCH) / (p.training_noise_scale + batch), 1.0)
    goodput = samples * efficiency / seconds
    published = _publish(p, state, knobs, goodput, samples, period)
    writing = p.training_checkpoint_core_seconds / knobs.training_checkpoint_interval_seconds
    used = samples * load.cost / seconds + writing + p.training_idle_cores
    out.training_samples_per_second[:] = samples / seconds
    out.training_goodput_per_second[:] = goodput
    out.training_demand_per_second[:] = state.training_demand
    out.training_backlog_samples[:] = state.training_backlog
    out.training_cpu_used_cores[:] = np.minimum(used, knobs.training_cpu_cores)
    out.training_memory_bytes[:] = (
        p.training_base_memory_bytes
        + p.training_sample_memory_bytes * batch
        + p.training_worker_memory_bytes * knobs.training_loader_workers
    )
    out.storage_written_bytes_per_second[:] = np.where(published, p.training_checkpoint_bytes / seconds, 0.0)
    _accuracy(p, state, out, period)


class TrainingPeriod(NamedTuple):
    """What training meets in a period."""

    events_written: np.ndarray
    """Events that ingest published."""
    ingest_lag: np.ndarray
    """Age of the newest events when published, seconds."""
    seconds: float
    """Length of the period."""
    speed: np.ndarray
    """Share of the host's full speed."""
    accuracy_noise: np.ndarray
    """Error of the accuracy reading."""


def _publish(
    p: Columns, state: Columns, knobs: Columns, goodput: np.ndarray, samples: np.ndarray, period: TrainingPeriod
) -> np.ndarray:
    """Age and fit of the trained and of the served model; returns where a checkpoint was published, (N,) bool."""
    seconds = period.seconds
    newest = np.minimum(period.ingest_lag + PIPELINE_SECONDS, state.trained_age + seconds)
    state.trained_age[:] = np.where(samples > 0.0, newest, state.trained_age + seconds)
    target = goodput / np.maximum(goodput + p.accuracy_half_rate, 1e-9)
    state.trained_fit += (target - state.trained_fit) * (1.0 - np.exp(-seconds / p.accuracy_fit_seconds))
    state.checkpoint_age += seconds
    state.unpublished_samples += samples
    due = (state.checkpoint_age >= knobs.training_checkpoint_interval_seconds) & (state.unpublished_samples > 0.0)
    state.checkpoint_age[due] = 0.0
    state.unpublished_samples[due] = 0.0
    state.model_age[:] = np.where(due, state.trained_age, state.model_age + seconds)
    state.model_fit[:] = np.where(due, state.trained_fit, state.model_fit)
    return due


def _accuracy(p: Columns, state: Columns, out: Columns, period: TrainingPeriod) -> None:
    """Accuracy of the served model: the best there is, less what drifted away, less what it never learnt."""
    phase = state.elapsed * (2.0 * np.pi) / p.accuracy_drift_period_seconds + state.drift_phase
    drift = 1.0 + p.accuracy_drift_ratio * np.sin(phase)
    stale = p.accuracy_stale_ratio * (1.0 - np.exp(-drift * state.model_age / p.accuracy_stale_seconds))
    accuracy = np.maximum(p.accuracy_best_ratio - stale - p.accuracy_starved_ratio * (1.0 - state.model_fit), 0.0)
    keep = 1.0 - np.exp(-period.seconds / ACCURACY_SECONDS)
    state.accuracy += (accuracy - state.accuracy) * keep
    out.serving_accuracy_ratio[:] = np.clip(state.accuracy + period.accuracy_noise, 0.0, 1.0)
    out.serving_model_age_seconds[:] = state.model_age
