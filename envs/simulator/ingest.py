"""Ingest: events become features, chunk by chunk, and are published to training. All arrays are (N,)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.simulator.columns import Columns


class IngestLoad(NamedTuple):
    """What a period of ingest would use on a host without contention."""

    chunk: np.ndarray
    """Events per shard."""
    cost: np.ndarray
    """Core-seconds per event."""
    wanted: np.ndarray
    """CPU that would be used, cores."""


def load(p: Columns, state: Columns, knobs: Columns, arrivals: np.ndarray, seconds: float) -> IngestLoad:
    """Cost per event: a chunk is written when it is full, or after the flush time."""
    waiting = state.ingest_backlog + arrivals
    chunk = np.clip(waiting * (p.ingest_flush_seconds / seconds), 1.0, knobs.ingest_chunk_events)
    hits = np.clip(
        p.ingest_hit_ratio + p.ingest_hit_gain_ratio * np.log2(knobs.ingest_cache_entries / 512.0), 0.0, 0.99
    )
    cost = p.ingest_event_core_seconds + p.ingest_feature_core_seconds * (1.0 - hits)
    cost = cost + p.ingest_chunk_core_seconds / chunk
    return IngestLoad(chunk, cost, np.minimum(waiting * cost / seconds + p.ingest_idle_cores, knobs.ingest_cpu_cores))


def advance(
    p: Columns, state: Columns, knobs: Columns, out: Columns, load: IngestLoad, period: IngestPeriod
) -> tuple[np.ndarray, np.ndarray]:
    """Write what can be written; writes the backlog, the totals and ingest's metrics.

    Returns:
        (N,) events written, (N,) lag in seconds.
    """
    arrivals, seconds = period.arrivals, period.seconds
    rate = period.speed * np.maximum(knobs.ingest_cpu_cores - p.ingest_idle_cores, 1e-3) / load.cost
    arriving = arrivals / seconds
    filling = np.minimum(
        knobs.ingest_chunk_events, arriving * p.ingest_flush_seconds
    )  # longest an unfinished chunk gets
    available = state.ingest_backlog + arrivals
    written = np.clip(available - 0.5 * filling, 0.0, rate * seconds)
    left = available - written
    dropped = np.maximum(left - p.ingest_backlog_limit, 0.0)
    state.ingest_backlog[:] = left - dropped
    state.events_arrived += arrivals
    state.events_written += written
    state.events_dropped += dropped

    waiting = np.maximum(state.ingest_backlog - 0.5 * filling, 0.0)
    lag = filling / np.maximum(arriving, 1e-3) + (waiting + load.chunk) / rate
    used = written * load.cost / seconds + p.ingest_idle_cores
    out.ingest_arrivals_per_second[:] = arriving
    out.ingest_written_per_second[:] = written / seconds
    out.ingest_backlog_events[:] = state.ingest_backlog
    out.ingest_lag_seconds[:] = np.where(state.ingest_backlog > 1e-6, lag, 0.0)
    out.ingest_cpu_used_cores[:] = np.minimum(used, knobs.ingest_cpu_cores)
    out.ingest_memory_bytes[:] = p.ingest_base_memory_bytes + p.ingest_entry_memory_bytes * knobs.ingest_cache_entries
    return written, lag


class IngestPeriod(NamedTuple):
    """What ingest meets in a period."""

    arrivals: np.ndarray
    """Events that arrive."""
    seconds: float
    """Length of the period."""
    speed: np.ndarray
    """Share of the host's full speed."""
