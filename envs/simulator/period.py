"""One period of N systems: what each workload would use, what the host lets it have, and what it does with it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulator import drift, host, ingest, readings, serving, shortage, training_job
from envs.simulator.bandwidth import Loads
from envs.simulator.columns import Systems
from envs.simulator.incidents import Stress

CHANNELS = np.arange(3, dtype=np.uint64)
"""Of the noise; each gives four numbers."""
ARRIVALS, SPEED, LATENCY, ACCURACY, READINGS, SLOW = slice(0, 2), slice(2, 5), 5, 6, slice(7, 10), slice(10, 12)
"""What they are for."""


class Period(NamedTuple):
    """What N systems meet."""

    requests: np.ndarray
    """(N,) that arrive, per ready host."""
    events: np.ndarray
    """Likewise."""
    seconds: float
    slo_seconds: float
    """Deadline of a request."""
    z: np.ndarray
    """(12, N) normal, see `CHANNELS`."""
    stress: Stress | None
    """None where nothing but CPU can be short and no incident is under way: the rest is not worked out then."""


def simulate(systems: Systems, period: Period) -> np.ndarray | None:
    """Let a period pass; writes the state and the readings.

    Returns:
        (3, N) bool, which components crashed or were killed at its end; None without `stress`.
    """
    p, state, knobs, out = systems
    requests, events, seconds, slo_seconds, z, stress = period
    world = drift.world(p, state, seconds)
    loads = Loads(
        serving.load(p, state, knobs, requests, seconds),
        training_job.load(p, state, knobs, seconds),
        ingest.load(p, state, knobs, events, seconds, world),
    )
    others = host.other_cores(p, requests / seconds)
    latency_noise = np.exp(p.latency_noise_ratio * z[LATENCY])
    if stress is not None:
        others = others + stress.neighbour * p.physical_cores
        latency_noise = latency_noise * (1.0 + p.network_loss_latency * stress.network_lost)
        longest_lag = out.ingest_lag_seconds + seconds
    share = host.slowdown(p, knobs, (loads.serving.wanted, loads.training.wanted, loads.ingest.wanted), others)
    speed = share * np.exp(p.speed_noise_ratio * z[SPEED] + p.speed_wander_ratio * state.speed_wander)  # (3, N)
    if stress is not None:
        checkpoint_bytes = shortage.slow_down(systems, loads, stress, seconds, speed)

    ingesting = ingest.IngestPeriod(events, seconds, speed[2])
    written, lag = ingest.advance(p, state, knobs, out, loads.ingest, ingesting)
    answering = serving.ServingPeriod(requests, seconds, speed[0], latency_noise, slo_seconds)
    answered = serving.advance(p, state, knobs, out, loads.serving, answering)
    # Of n answers, averaged over 15 s, the share that is right has a standard deviation of about 0.4 / sqrt(15 n).
    accuracy_noise = 0.1 * z[ACCURACY] / np.sqrt(requests + 10.0)
    learning = training_job.TrainingPeriod(written, lag, seconds, speed[1], answered, world, accuracy_noise)
    training_job.advance(p, state, knobs, out, loads.training, learning)
    if stress is not None:
        shortage.spread_checkpoints(state, out, checkpoint_bytes, seconds)
    readings.read_cpu(systems, z[READINGS], others)
    readings.read_bytes(systems, (requests, events), written / loads.ingest.chunk, seconds)
    if stress is None:
        return None
    # Where nothing is written, the rate says nothing of the past: what waits is as much older as time has passed.
    np.minimum(out.ingest_lag_seconds, longest_lag, out=out.ingest_lag_seconds, where=speed[2] <= shortage.LEAST_SPEED)
    return shortage.settle(systems, stress, seconds)
