"""Continual training of the served model, its checkpoints, and what they do to accuracy. All arrays are (N,)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulator.columns import Columns
from envs.simulator.drift import World
from envs.simulator.host import thread_cost

BASE_BATCH = 32.0
"""Batch size whose statistical efficiency is 1."""
DEMAND_SECONDS = 10.0
"""Time constant of the demand metric."""
ACCURACY_SECONDS = 15.0
"""Time constant of the accuracy metric."""
PUBLISH_SECONDS = 0.55
"""From a checkpoint's last sample until its model serves. On the testbed, where it takes 0.3 s to write one and
0.3 to 0.5 s to load it, a model gets 1.2 to 1.3 s older than the checkpoint interval; here, without this, 0.7 s."""
PIPELINE_SECONDS = 1.0
"""Time from a published shard to a training step that has seen it."""


class TrainingLoad(NamedTuple):
    """What a period of training would use on a host without contention."""

    cost: np.ndarray
    """Core-seconds per sample."""
    rate: np.ndarray
    """Samples per second that the grant allows, checkpoints allowed for."""
    writing: np.ndarray
    """CPU that goes into checkpoints, cores."""
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
    # A checkpoint is due an interval after the last one was begun, but waits for the end of a step, and one step at
    # least lies between two.
    step = batch / rate
    cycle = np.maximum(knobs.training_checkpoint_interval_seconds + 0.5 * step, stall + step)
    rate = rate * (1.0 - stall / cycle)
    used = np.minimum(rate, state.training_backlog / seconds) * cost
    writing = p.training_checkpoint_core_seconds / cycle
    return TrainingLoad(cost, rate, writing, np.minimum(used + writing + p.training_idle_cores, cores))


def advance(
    p: Columns, state: Columns, knobs: Columns, out: Columns, load: TrainingLoad, period: TrainingPeriod
) -> None:
    """Train on what may be trained on, publish when it is time; writes the state and training's metrics."""
    seconds, batch = period.seconds, knobs.training_batch_size
    samples = _train(p, state, knobs, load.rate * period.speed, period)
    efficiency = np.minimum((p.training_noise_scale + BASE_BATCH) / (p.training_noise_scale + batch), 1.0)
    goodput = samples * efficiency / seconds
    published = _publish(p, state, knobs, goodput, samples, period)
    used = samples * load.cost / seconds + load.writing + p.training_idle_cores
    out.training_samples_per_second[:] = samples / seconds
    out.training_goodput_per_second[:] = goodput
    out.training_demand_per_second[:] = state.training_demand
    out.training_backlog_samples[:] = state.training_backlog
    out.training_cpu_used_cores[:] = np.minimum(used, knobs.training_cpu_cores)
    needed = p.training_base_memory_bytes + p.training_sample_memory_bytes * batch
    needed += p.training_worker_memory_bytes * knobs.training_loader_workers
    np.maximum(state.training_memory, needed, out=state.training_memory)  # the allocator keeps what it once had
    out.training_memory_bytes[:] = state.training_memory
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
    answered: np.ndarray
    """Requests that serving answered."""
    world: World
    """What the model must follow."""
    accuracy_noise: np.ndarray
    """Error of the accuracy reading."""


def _train(p: Columns, state: Columns, knobs: Columns, rate: np.ndarray, period: TrainingPeriod) -> np.ndarray:
    """Use what may be used, at most `rate` samples per second; writes backlog, demand and totals. (N,) samples used.

    The window of the newest samples is kept as two halves: what is left in the older one is pushed out by new samples.
    """
    seconds, events = period.seconds, period.events_written
    offered = events * p.training_uses_per_event
    keep = 1.0 - np.exp(-seconds / DEMAND_SECONDS)
    state.training_demand += (offered / seconds - state.training_demand) * keep
    # A step needs a whole batch of different samples, and samples come in shards: half of either waits on average.
    shard = np.minimum(knobs.ingest_chunk_events, events / seconds)
    duty = np.minimum(offered / np.maximum(rate * seconds, 1e-9), 1.0)
    rest = 0.5 * p.training_uses_per_event * np.maximum(knobs.training_batch_size, shard * duty)
    available = state.training_backlog + offered
    samples = np.minimum(np.maximum(available - rest, 0.0), rate * seconds)
    # The newest samples are used first, once; what is trained beyond that is drawn from all.
    first = np.minimum(samples, events)
    kept = 1.0 - (samples - first) / np.maximum(available - first, 1e-9)
    old = state.training_old * kept
    young = np.maximum(available - first - state.training_old, 0.0) * kept
    moved = np.minimum(2.0 * events / p.training_window_samples, 1.0)
    expired = old * moved
    state.training_old[:] = old - expired + young * moved
    state.training_backlog[:] = available - samples - expired
    state.uses_offered += offered
    state.uses_done += samples
    state.uses_expired += expired
    return samples


def _publish(
    p: Columns, state: Columns, knobs: Columns, goodput: np.ndarray, samples: np.ndarray, period: TrainingPeriod
) -> np.ndarray:
    """Age and fit of the trained and of the served model; returns where a checkpoint was published, (N,) bool."""
    seconds = period.seconds
    newest = np.minimum(period.ingest_lag + PIPELINE_SECONDS, state.trained_age + seconds)
    state.trained_age[:] = np.where(samples > 0.0, newest, state.trained_age + seconds)
    still_true = 1.0 - p.accuracy_trade_ratio * period.world.trades
    state.trained_fit *= still_true
    state.model_fit *= still_true
    # Every sample teaches something, and time makes it forgotten: at the half rate, both are equal.
    learning = goodput / p.accuracy_half_rate
    follow = 1.0 - np.exp(-seconds * (1.0 + learning) / p.accuracy_fit_seconds)
    state.trained_fit += (learning / (1.0 + learning) - state.trained_fit) * follow
    state.checkpoint_age += seconds
    state.unpublished_samples += samples
    due = (state.checkpoint_age >= knobs.training_checkpoint_interval_seconds) & (state.unpublished_samples > 0.0)
    state.checkpoint_age[due] = 0.0
    state.unpublished_samples[due] = 0.0
    state.model_age[:] = np.where(due, state.trained_age + PUBLISH_SECONDS, state.model_age + seconds)
    state.model_fit[:] = np.where(due, state.trained_fit, state.model_fit)
    return due


def _accuracy(p: Columns, state: Columns, out: Columns, period: TrainingPeriod) -> None:
    """Accuracy of the served model: the best there is, less what drifted away, what it never learnt, and noise."""
    drift = 1.0 + p.accuracy_drift_ratio * (period.world.turning - 1.0)
    stale = p.accuracy_stale_ratio * (1.0 - np.exp(-drift * state.model_age / p.accuracy_stale_seconds))
    lost = stale + p.accuracy_starved_ratio * (1.0 - state.model_fit) + p.accuracy_blur_ratio * period.world.blur
    accuracy = np.maximum(p.accuracy_best_ratio - lost, 0.0)
    # An average over the last answers: while there are none, it stays as it is.
    state.answered *= np.exp(-period.seconds / ACCURACY_SECONDS)
    state.answered += period.answered
    state.accuracy += (accuracy - state.accuracy) * (period.answered / np.maximum(state.answered, 1e-9))
    reading = np.maximum(state.accuracy + period.accuracy_noise, 0.0)
    np.minimum(reading, 1.0, out=out.serving_accuracy_ratio)
    out.serving_model_age_seconds[:] = state.model_age
