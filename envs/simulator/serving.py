"""Serving: dynamic batching in front of one worker, under a CPU ceiling. All arrays are (N,)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulator.columns import Columns
from envs.simulator.host import thread_cost

Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""


class ServingLoad(NamedTuple):
    """What a period's requests would cost on a host without contention."""

    rate: np.ndarray
    """Requests to answer, per second, the queue included."""
    batch: np.ndarray
    """Mean batch size."""
    forward: np.ndarray
    """Forward pass, core-seconds per request."""
    cost: np.ndarray
    """All work, core-seconds per request."""
    parallel: np.ndarray
    """Cores that a forward pass can use at once."""
    wanted: np.ndarray
    """CPU that would be used, cores."""


def load(p: Columns, knobs: Columns, requests: np.ndarray, seconds: float) -> ServingLoad:
    """Batch size and cost for `requests` waiting or arriving within `seconds`.

    The timeout counts from the arrival of a batch's first request, so that the mean batch b is what arrives within the
    longer of the timeout and the duration of the batch before: b = 1 + rate x (fixed + each x b), solved for b.
    """
    cores, threads = knobs.serving_cpu_cores, knobs.serving_threads
    rate = requests / seconds
    spin = thread_cost(threads, cores, p.serving_thread_penalty)
    parallel = 1.0 + (threads - 1.0) * p.parallel_gain_ratio
    speed = np.minimum(cores, parallel)
    fixed, each = spin * p.serving_batch_core_seconds, spin * p.serving_sample_core_seconds
    busy = np.minimum(rate * (each / speed + p.serving_request_core_seconds / cores), 0.99)
    meanwhile = rate * fixed / speed
    collected = np.maximum(
        1.0 + rate * knobs.serving_batch_timeout_seconds, 1.0 + np.minimum(meanwhile, 1.0) * meanwhile / (1.0 - busy)
    )
    batch = np.minimum(collected, knobs.serving_batch_size)
    forward = fixed / batch + each
    cost = p.serving_request_core_seconds + forward
    return ServingLoad(rate, batch, forward, cost, parallel, np.minimum(cores, rate * cost + p.serving_idle_cores))


def capacity(p: Columns, knobs: Columns, load: ServingLoad, speed: np.ndarray) -> np.ndarray:
    """Requests per second that can be answered with `speed` (N,) of the host's full speed.

    Args:
        speed: 1 on a host without contention.
    """
    cores = np.maximum(knobs.serving_cpu_cores - p.serving_idle_cores, 1e-3)
    return speed * np.minimum(cores / load.cost, load.parallel / load.forward)


def advance(p: Columns, state: Columns, knobs: Columns, out: Columns, load: ServingLoad, period: ServingPeriod) -> None:
    """Answer, reject and time out; writes the queue, the totals and serving's metrics."""
    arrivals, seconds = period.arrivals, period.seconds
    rate = capacity(p, knobs, load, period.speed)
    before = state.serving_queue.copy()
    available = before + arrivals
    served = np.minimum(available, rate * seconds)
    left = available - served
    rejected = np.maximum(left - p.serving_queue_limit, 0.0)
    left = left - rejected
    # Of those too far back to be reached in time, a period's share reaches its deadline now.
    late = np.maximum(left - p.serving_timeout_seconds * rate, 0.0)
    timed_out = late * np.minimum(seconds / p.serving_timeout_seconds, 1.0)
    state.serving_queue[:] = left - timed_out
    state.requests_arrived += arrivals
    state.requests_served += served
    state.requests_rejected += rejected
    state.requests_timed_out += timed_out

    failed = rejected + timed_out
    median, p99 = _latencies(p, knobs, load, rate, period, (before, state.serving_queue))
    within = _share_below(period.slo_seconds, median, p99)
    finished = np.maximum(served + failed, 1e-9)
    failed_share = failed / finished
    out.serving_arrivals_per_second[:] = arrivals / seconds
    out.serving_goodput_per_second[:] = served * within / seconds
    out.serving_within_slo_ratio[:] = np.where(served + failed > 1e-6, served * within / finished, 1.0)
    out.serving_latency_p50_seconds[:] = np.where(failed_share > 0.5, p.serving_failed_latency_seconds, median)
    longest = p.serving_failed_latency_seconds
    out.serving_latency_p99_seconds[:] = np.where(failed_share > 0.01, longest, np.minimum(p99, longest))
    out.serving_queue_requests[:] = state.serving_queue
    out.serving_failed_per_second[:] = failed / seconds
    out.serving_batch_mean_size[:] = load.batch
    used = served * load.cost / seconds + p.serving_idle_cores
    out.serving_cpu_used_cores[:] = np.minimum(used, knobs.serving_cpu_cores)
    out.serving_memory_bytes[:] = p.serving_base_memory_bytes + p.serving_sample_memory_bytes * load.batch


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


def _latencies(
    p: Columns, knobs: Columns, load: ServingLoad, rate: np.ndarray, period: ServingPeriod,
    queue: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Median and 99th percentile of the answered requests, seconds.

    Args:
        rate: requests per second that can be answered.
        queue: requests waiting before and after the period.
    """
    busy = np.minimum(load.rate / np.maximum(rate, 1e-9), 0.98)
    fill = np.minimum(
        knobs.serving_batch_timeout_seconds, (knobs.serving_batch_size - 1.0) / np.maximum(load.rate, 1e-3)
    )
    service = _batch_seconds(p, knobs, load, busy) / period.speed
    wait = np.minimum(p.serving_queueing * busy * busy / (1.0 - busy) * service, period.seconds)
    deadline = p.serving_timeout_seconds
    carried = np.minimum(0.5 * (queue[0] + queue[1]) / np.maximum(rate, 1e-9), deadline)
    longest = np.minimum(np.maximum(queue[0], queue[1]) / np.maximum(rate, 1e-9), deadline)
    base = p.serving_base_latency_seconds
    # A request that finds the worker busy has waited enough. The first of a batch waits for all of the filling, the
    # last for none; waits for the worker are about exponential: median 0.7, 99th percentile 4.6 means.
    fill = fill * (1.0 - busy)
    median = base + fill * (0.5 + 0.5 / load.batch) + service * (1.0 + 0.5 * busy) + 0.7 * wait + carried
    p99 = base + fill + service * (p.serving_service_tail + busy) + 4.6 * wait + longest
    noisy = median * period.latency_noise
    return noisy, np.maximum(p99 * period.latency_noise, 1.05 * noisy)


def _batch_seconds(p: Columns, knobs: Columns, load: ServingLoad, busy: np.ndarray) -> np.ndarray:
    """Duration of a batch under a ceiling: at full speed as long as the quota's period has CPU left, then throttled."""
    cores = knobs.serving_cpu_cores
    work = load.forward * load.batch + p.serving_request_core_seconds
    unthrottled = cores * p.quota_period_seconds * (1.0 - busy)
    stall = np.maximum(work - unthrottled, 0.0) * np.maximum(1.0 / cores - 1.0, 0.0)
    return work / np.minimum(load.parallel, np.maximum(cores, 1.0)) + stall


def _share_below(bound: float, median: np.ndarray, p99: np.ndarray) -> np.ndarray:
    """Share of a log-normal distribution, given by its median and 99th percentile, that lies below `bound`.

    The normal distribution function by 1 / (1 + exp(-1.5976 z - 0.07056 z^3)) (Page 1977), whose error is below 2e-4.
    """
    z = np.clip(np.log(bound / median) * Z99 / np.log(p99 / median), -6.0, 6.0)
    return 1.0 / (1.0 + np.exp(-z * (1.5976 + 0.07056 * z * z)))
