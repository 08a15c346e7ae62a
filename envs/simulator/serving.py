"""Serving: dynamic batching in front of one worker, under a CPU ceiling. All arrays are (N,)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulator.columns import Columns
from envs.simulator.host import thread_cost

Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""
MOST_ASIDE = 0.8
"""Share of the CPU that work besides forward passes gets at most, however many requests arrive."""
FULLEST = 0.98
"""Utilization beyond which the queue itself, which is carried over, tells how long requests wait."""


class ServingLoad(NamedTuple):
    """What a period's requests would cost on a host without contention."""

    rate: np.ndarray
    """Requests that arrive, per second."""
    batch: np.ndarray
    """Mean batch size."""
    forward: np.ndarray
    """Forward pass of such a batch, core-seconds."""
    pace: np.ndarray
    """CPU that is left to forward passes, cores."""
    most: np.ndarray
    """Requests per second that full batches answer."""
    swaps: np.ndarray
    """CPU that goes into loading new models, cores."""
    aside: np.ndarray
    """CPU that goes into all but forward passes, cores."""
    wanted: np.ndarray
    """CPU that would be used, cores."""


class ServingPeriod(NamedTuple):
    """What serving meets in a period."""

    arrivals: np.ndarray
    """Requests that arrive."""
    seconds: float
    """Length of the period."""
    speed: np.ndarray
    """Share of the host's full speed, 1 without contention and noise."""
    latency_noise: np.ndarray
    """Factor on the latencies."""
    slo_seconds: float
    """Deadline of a request."""


def load(p: Columns, state: Columns, knobs: Columns, arrivals: np.ndarray, seconds: float) -> ServingLoad:
    """Batch size and cost.

    The timeout counts from the arrival of a batch's first request, so that a batch is what arrives within the longer of
    the timeout and the duration of the batch before: b = rate x (fixed + each x b) / pace, solved for b.
    """
    cores, threads, size = knobs.serving_cpu_cores, knobs.serving_threads, knobs.serving_batch_size
    rate = arrivals / seconds
    spin = thread_cost(threads, cores, p.serving_thread_penalty)
    fixed, each = spin * p.serving_batch_core_seconds, spin * p.serving_sample_core_seconds
    swaps = p.serving_swap_core_seconds / knobs.training_checkpoint_interval_seconds
    # The interpreter's lock lets either the requests or the forward pass run: with one thread they share one core.
    usable = np.minimum(cores, 1.0 + (threads - 1.0) * p.parallel_gain_ratio)
    aside = np.minimum(p.serving_idle_cores + swaps + rate * p.serving_request_core_seconds, MOST_ASIDE * usable)
    pace = usable - aside
    meanwhile = rate * fixed / np.maximum(pace - rate * each, 0.01 * pace)
    collected = np.maximum(1.0 + rate * knobs.serving_batch_timeout_seconds, meanwhile) + state.serving_queue
    batch = np.minimum(collected, size)
    # A single image needs no product of matrices. Of Poisson arrivals, exp(1 - mean) of the batches hold just one.
    single, alone = spin * p.serving_single_core_seconds, size == 1.0
    forward = np.maximum(fixed - single * np.maximum(np.exp(1.0 - collected), alone), 0.0) + each * batch
    most = pace * size / (np.maximum(fixed - single * alone, 0.0) + each * size)
    tried = np.minimum(state.serving_queue / seconds + rate, pace * batch / forward)
    wanted = np.minimum(aside + tried * forward / batch, cores)
    return ServingLoad(rate, batch, forward, pace, most, swaps, aside, wanted)


def advance(
    p: Columns, state: Columns, knobs: Columns, out: Columns, load: ServingLoad, period: ServingPeriod
) -> np.ndarray:
    """Answer, reject and time out; writes the queue, the totals and serving's metrics.

    Returns:
        (N,) requests answered.
    """
    seconds = period.seconds
    most = load.most * period.speed
    batch_seconds, busy = _batch_seconds(p, load, period)
    taken, served, failed, age = _answer(p, state, most, batch_seconds, period)
    median, p99 = _latencies(p, knobs, load, period, (most, batch_seconds, busy, age))
    within = _share_below(period.slo_seconds, median, p99)
    finished = np.maximum(served + failed, 1e-9)
    failed_share, longest = failed / finished, p.serving_failed_latency_seconds
    out.serving_arrivals_per_second[:] = period.arrivals / seconds
    out.serving_goodput_per_second[:] = served * within / seconds
    out.serving_within_slo_ratio[:] = np.where(served + failed > 1e-6, served * within / finished, 1.0)
    out.serving_latency_p50_seconds[:] = np.where(failed_share > 0.5, longest, np.minimum(median, longest))
    out.serving_latency_p99_seconds[:] = np.where(failed_share > 0.01, longest, np.minimum(p99, longest))
    out.serving_queue_requests[:] = state.serving_queue
    out.serving_failed_per_second[:] = failed / seconds
    out.serving_batch_mean_size[:] = load.batch
    used = taken / seconds * load.forward / load.batch + load.aside
    np.minimum(used, knobs.serving_cpu_cores, out=out.serving_cpu_used_cores)
    _memory(p, state, knobs, out, load, seconds)
    return served


def _answer(
    p: Columns, state: Columns, most: np.ndarray, batch_seconds: np.ndarray, period: ServingPeriod
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What happens to the requests: taken into batches, answered in time, failed, and the age at which they are taken.

    First come, first served. Once those that are taken are nearly as old as the deadline, most are given up while their
    batch is computed: an overload that is a little larger costs not a little, but nearly all answers.
    """
    seconds, deadline = period.seconds, p.serving_timeout_seconds
    available = state.serving_queue + period.arrivals
    taken = np.minimum(available, most * seconds)
    left = available - taken
    rejected = np.maximum(left - p.serving_queue_limit, 0.0)
    # Whoever waits has come within the deadline's time: nobody before it is still waiting.
    state.serving_entered *= np.maximum(1.0 - seconds / deadline, 0.0)
    state.serving_entered += np.maximum(period.arrivals - rejected, 0.0)
    expired = np.maximum(left - rejected - state.serving_entered, 0.0)
    state.serving_queue[:] = left - rejected - expired
    age = deadline * state.serving_queue / np.maximum(state.serving_entered, 1e-3)
    in_time = np.maximum(np.minimum((deadline - age) / batch_seconds - 0.5, 1.0), p.serving_luck_ratio)
    served = taken * in_time
    timed_out = expired + (taken - served)
    state.requests_arrived += period.arrivals
    state.requests_served += served
    state.requests_rejected += rejected
    state.requests_timed_out += timed_out
    return taken, served, rejected + timed_out, age


def _batch_seconds(p: Columns, load: ServingLoad, period: ServingPeriod) -> tuple[np.ndarray, np.ndarray]:
    """Duration of a batch, and the share of time that the worker is busy.

    Under a ceiling a batch runs at full speed as long as the quota's period has CPU left, and is then throttled.
    """
    pace = load.pace
    busy = np.minimum(load.rate * load.forward / (load.batch * pace * period.speed), FULLEST)
    fast = np.maximum(pace, 1.0)
    stall = np.maximum(load.forward - pace * p.quota_period_seconds * (1.0 - busy), 0.0) * (1.0 / pace - 1.0 / fast)
    return (load.forward / fast + stall) / period.speed, busy


def _latencies(
    p: Columns, knobs: Columns, load: ServingLoad, period: ServingPeriod, worker: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Median and 99th percentile of the answered requests, seconds.

    Args:
        worker: requests per second at most, duration of a batch, share of time busy, age of what is taken; (N,) each.
    """
    most, batch_seconds, busy, age = worker
    rho = np.minimum(load.rate / most, FULLEST)
    wait = np.minimum(p.serving_queueing * rho / ((1.0 - rho) * most), period.seconds)
    fill = np.minimum(
        knobs.serving_batch_timeout_seconds, (knobs.serving_batch_size - 1.0) / np.maximum(load.rate, 1e-3)
    )
    # A request that finds the worker busy has waited enough. The first of a batch waits for all of the filling, the
    # last for none; waits for the worker are about exponential: median 0.7, 99th percentile 4.6 means.
    fill = fill * (1.0 - busy)
    base = p.serving_base_latency_seconds + age
    median = base + fill * (0.5 + 0.5 / load.batch) + batch_seconds * (1.0 + 0.5 * busy) + 0.7 * wait
    p99 = base + fill + batch_seconds * (p.serving_service_tail + busy) + 4.6 * wait
    longest = p.serving_timeout_seconds
    median = np.minimum(median, longest) * period.latency_noise
    return median, np.maximum(np.minimum(p99, longest) * period.latency_noise, 1.05 * median)


def _memory(p: Columns, state: Columns, knobs: Columns, out: Columns, load: ServingLoad, seconds: float) -> None:
    """The allocator keeps what it once had; a model that is being loaded lies beside the one that is served."""
    grown = 1.0 - np.exp(-seconds / p.serving_growth_seconds)
    state.serving_memory += (p.serving_base_memory_bytes - state.serving_memory) * grown
    swapping = np.minimum(load.swaps / knobs.serving_cpu_cores, 1.0)
    out.serving_memory_bytes[:] = (
        state.serving_memory + p.serving_sample_memory_bytes * load.batch + p.serving_swap_memory_bytes * swapping
    )


def _share_below(bound: float, median: np.ndarray, p99: np.ndarray) -> np.ndarray:
    """Share of a log-normal distribution, given by its median and 99th percentile, that lies below `bound`.

    The normal distribution function by 1 / (1 + exp(-1.5976 z - 0.07056 z^3)) (Page 1977), whose error is below 2e-4.
    """
    z = np.log(bound / median) * Z99 / np.log(p99 / median)
    z = np.minimum(np.maximum(z, -6.0), 6.0)
    return 1.0 / (1.0 + np.exp(-z * (1.5976 + 0.07056 * z * z)))
