"""Storage and network, which the workloads share: who gets less than it wants, and what that does to its speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from envs.simulator import ingest, serving, training_job
from envs.simulator.columns import Columns
from envs.simulator.host import granted
from envs.simulator.incidents import Stress

MOST_STALLED = 0.95
"""Of a checkpoint interval: a trainer that does little but write checkpoints still trains a little."""


class Loads(NamedTuple):
    """What the three workloads would do on a host of their own."""

    serving: serving.ServingLoad
    training: training_job.TrainingLoad
    ingest: ingest.IngestLoad


class Channel(NamedTuple):
    """What a shared channel lets through, (N,) each."""

    most: list[np.ndarray]
    """Bytes per second of each user; infinite where it gets all that it wants."""
    crowd: np.ndarray
    """Share of its rate that everybody keeps, 1 where nobody is in the way."""
    used: np.ndarray
    """Share of the channel in use."""


def passed(wanted: Sequence[np.ndarray], limits: Sequence[np.ndarray | float], width: np.ndarray) -> Channel:
    """Two users of a channel: each gets up to its limit, and both are slowed down alike where that is too much.

    Args:
        wanted: bytes per second, (N,) each.
        limits: bytes per second, likewise.
        width: what the channel carries, bytes per second, (N,).
    """
    asked = [np.minimum(want, np.maximum(limit, 1.0)) for want, limit in zip(wanted, limits, strict=True)]
    total = asked[0] + asked[1]
    crowd = np.minimum(1.0, width / np.maximum(total, 1.0))
    got = [part * crowd for part in asked]
    most = [np.where(part < want, part, np.inf) for part, want in zip(got, wanted, strict=True)]
    return Channel(most, crowd, np.minimum(total / width, 1.0))


class Storage(NamedTuple):
    """What storage lets through, (N,) each."""

    training: np.ndarray
    """Factor on training's speed."""
    pace: np.ndarray
    """How fast the time to the next checkpoint passes: it is not begun before the last one is written."""
    checkpoint_bytes: np.ndarray
    """Bytes per second of a checkpoint; infinite where it is written as fast as on a disk of its own."""
    events: np.ndarray
    """Most events per second that ingest can write."""
    used: np.ndarray
    """Share of the bandwidth in use."""


def share_storage(p: Columns, state: Columns, knobs: Columns, loads: Loads, stress: Stress) -> Storage:
    """Checkpoints, training's reads and shards on one disk.

    Reads go to the disk as far as the page cache is short of memory. How long a checkpoint takes on a disk of its own
    is part of the calibrated stall; only what it takes beyond that counts here.
    """
    limits = granted(knobs, "{}_storage_limit_bytes_per_second", ("training", "ingest"))
    alone, interval = p.physical_storage_bytes_per_second, knobs.training_checkpoint_interval_seconds
    width = alone * (1.0 - stress.storage_lost)
    reads = np.minimum(loads.training.rate, state.training_backlog) * p.training_read_bytes * state.cache_missed_ratio
    per_event = p.ingest_shard_bytes / loads.ingest.chunk + p.ingest_row_bytes
    wanted = (p.training_checkpoint_bytes / interval + reads, _events(loads) * per_event)
    channel = passed(wanted, limits, width)
    burst = np.minimum(np.maximum(limits[0], 1.0), width) * channel.crowd
    late = p.training_checkpoint_bytes * (1.0 / burst - 1.0 / alone) / interval
    reading = np.minimum(1.0, burst / np.maximum(reads, 1.0))
    return Storage(
        (1.0 - np.minimum(late, MOST_STALLED)) * reading, 1.0 / np.maximum(late, 1.0),
        np.where(burst < alone, burst, np.inf), channel.most[1] / per_event, channel.used,
    )  # fmt: skip


def share_network(p: Columns, knobs: Columns, loads: Loads, stress: Stress) -> tuple[np.ndarray, ...]:
    """Requests and events on one network; what is lost is sent again, and takes its share with it.

    Returns:
        Most requests and most events per second that get through, share of the network in use; (N,) each.
    """
    limits = granted(knobs, "{}_network_limit_bytes_per_second", ("serving", "ingest"))
    arrives = 1.0 - stress.network_lost
    width = p.physical_network_bytes_per_second * arrives * arrives
    each = (np.maximum(p.serving_request_bytes, 1e-9), np.maximum(p.ingest_event_bytes, 1e-9))
    channel = passed((loads.serving.rate * each[0], _events(loads) * each[1]), limits, width)
    return channel.most[0] / each[0], channel.most[1] / each[1], channel.used


def _events(loads: Loads) -> np.ndarray:
    """Events per second that ingest would write with the CPU that it would use, (N,)."""
    return np.maximum(loads.ingest.wanted - loads.ingest.idle, 0.0) / loads.ingest.cost
