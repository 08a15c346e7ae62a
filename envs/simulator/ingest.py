"""Ingest: events become features, chunk by chunk, and are published to training. All arrays are (N,)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulator.columns import Columns
from envs.simulator.drift import World


class IngestLoad(NamedTuple):
    """What a period of ingest would use on a host without contention."""

    chunk: np.ndarray
    """Events per shard."""
    cost: np.ndarray
    """Core-seconds per event."""
    idle: np.ndarray
    """CPU that goes into other things than chunks, cores."""
    wanted: np.ndarray
    """CPU that would be used, cores."""


def load(p: Columns, state: Columns, knobs: Columns, arrivals: np.ndarray, seconds: float, world: World) -> IngestLoad:
    """Cost per event: a chunk is written when it is full, or after the flush time."""
    waiting = state.ingest_backlog + arrivals
    ready = np.maximum(arrivals * (p.ingest_flush_seconds / seconds), state.ingest_backlog)
    chunk = np.minimum(np.maximum(ready, 1.0), knobs.ingest_chunk_events)
    # What is cached fits one angle of the world: the slower it turns, the longer.
    hits = p.ingest_hit_ratio + p.ingest_hit_gain_ratio * np.log2(knobs.ingest_cache_entries / 512.0)
    hits = hits + p.ingest_still_ratio * (1.0 - world.turning)
    hits = np.minimum(np.maximum(hits, 0.0), 0.99)
    cost = p.ingest_event_core_seconds + p.ingest_feature_core_seconds * (1.0 - hits)
    cost = cost + p.ingest_chunk_core_seconds / chunk
    # A process that is held back takes its events in fewer, larger reads.
    idle = np.minimum(p.ingest_idle_cores, p.ingest_idle_ratio * knobs.ingest_cpu_cores)
    return IngestLoad(chunk, cost, idle, np.minimum(waiting * cost / seconds + idle, knobs.ingest_cpu_cores))


def advance(
    p: Columns, state: Columns, knobs: Columns, out: Columns, load: IngestLoad, period: IngestPeriod
) -> tuple[np.ndarray, np.ndarray]:
    """Write what can be written; writes the backlog, the totals and ingest's metrics.

    Returns:
        (N,) events written, (N,) age of the newest of them, seconds.
    """
    arrivals, seconds = period.arrivals, period.seconds
    rate = period.speed * (knobs.ingest_cpu_cores - load.idle) / load.cost
    arriving = arrivals / seconds
    # Half a chunk waits on average while it fills, and a whole one while it is made: at full speed as long as the
    # quota's period has CPU left, which is half of the period's CPU on average.
    filling = np.minimum(knobs.ingest_chunk_events, arriving * p.ingest_flush_seconds)
    cores, work = np.minimum(knobs.ingest_cpu_cores, 1.0), load.chunk * load.cost / period.speed
    making = np.maximum(work / cores - 0.5 * p.quota_period_seconds * (1.0 - cores), work)
    rest = 0.5 * filling + np.minimum(arriving * making, filling)
    available = state.ingest_backlog + arrivals
    written = np.minimum(np.maximum(available - rest, 0.0), rate * seconds)
    left = available - written
    dropped = np.maximum(left - p.ingest_backlog_limit, 0.0)
    state.ingest_backlog[:] = left - dropped
    state.events_arrived += arrivals
    state.events_written += written
    state.events_dropped += dropped

    # First come, first served: the oldest is as old as the time in which what waits has come.
    coming = np.maximum(arriving, 1.0)
    np.minimum(state.ingest_backlog / coming, state.ingest_lag + seconds, out=state.ingest_lag)
    used = written * load.cost / seconds + load.idle
    out.ingest_arrivals_per_second[:] = arriving
    out.ingest_written_per_second[:] = written / seconds
    out.ingest_backlog_events[:] = state.ingest_backlog
    out.ingest_lag_seconds[:] = state.ingest_lag
    out.ingest_cpu_used_cores[:] = np.minimum(used, knobs.ingest_cpu_cores)
    out.ingest_memory_bytes[:] = p.ingest_base_memory_bytes + p.ingest_entry_memory_bytes * knobs.ingest_cache_entries
    return written, np.maximum(state.ingest_lag - 0.5 * filling / coming, 0.0)


class IngestPeriod(NamedTuple):
    """What ingest meets in a period."""

    arrivals: np.ndarray
    """Events that arrive."""
    seconds: float
    """Length of the period."""
    speed: np.ndarray
    """Share of the host's full speed."""
