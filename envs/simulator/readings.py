"""What is read of a period: errors of the counters, sums over the host, and answers that do not come."""

from __future__ import annotations

import numpy as np

from envs.simulator.columns import Systems
from envs.simulator.quantities import WORKLOADS
from telemetry.measured_noise import MISSING_BY_CORES

LEVELS = ("serving_queue_requests", "serving_memory_bytes", "serving_model_age_seconds", "training_backlog_samples",
          "training_memory_bytes", "ingest_backlog_events", "ingest_lag_seconds", "ingest_memory_bytes")  # fmt: skip
"""Read in one answer of a component. Its other readings are rates, which need two answers."""
PROBED = "serving_accuracy_ratio"
"""Counted by the clients: it is there even when the component does not answer."""
_STORAGE, _NETWORK = "storage_written_bytes_per_second", "network_moved_bytes_per_second"


def read_cpu(systems: Systems, z: np.ndarray, others: np.ndarray) -> None:
    """CPU as it is counted: with errors, but never more than what is granted nor less than nothing.

    Args:
        systems: of which the readings are changed.
        z: (3, N) normal.
        others: (N,) cores that others than the workloads used.
    """
    p, out, knobs = systems.p, systems.out, systems.knobs
    rows = (out.serving_cpu_used_cores, out.training_cpu_used_cores, out.ingest_cpu_used_cores)
    used = np.array(rows)  # (3, N)
    used += (p.reading_noise_cores + p.reading_noise_ratio * used) * z
    np.maximum(used, 0.0, out=used)
    np.minimum(used, (knobs.serving_cpu_cores, knobs.training_cpu_cores, knobs.ingest_cpu_cores), out=used)
    for row, reading in zip(rows, used, strict=True):
        row[:] = reading
    np.minimum((others + used[0] + used[1] + used[2]) / p.physical_cores, 1.0, out=out.host_cpu_used_ratio)


def read_bytes(systems: Systems, arrived: tuple[np.ndarray, ...], shards: np.ndarray, seconds: float) -> None:
    """What storage and network have moved for all workloads.

    Args:
        systems: training has left its checkpoints in `storage_written_bytes_per_second`.
        arrived: (N,) requests and events.
        shards: (N,) written.
        seconds: length of the period.
    """
    p, out = systems.p, systems.out
    storage = out.storage_written_bytes_per_second
    storage += shards * p.ingest_shard_bytes / seconds + out.ingest_written_per_second * p.ingest_row_bytes
    moved = arrived[0] * p.serving_request_bytes + arrived[1] * p.ingest_event_bytes
    np.divide(moved, seconds, out=out.network_moved_bytes_per_second)


class Answers:
    """Which readings are missing, because a component that gets little CPU does not answer in time.

    All of its levels are missing then, and its rates in the next period too.

    Args:
        metrics: names, in the order of the readings.
    """

    def __init__(self, metrics: tuple[str, ...]) -> None:
        self._rows = np.array([_row(name) for name in metrics])  # (n_metrics,) into `missing`'s table

    def missing(self, systems: Systems, drawn: np.ndarray, ratio: float) -> np.ndarray:
        """(n_metrics, N) bool; remembers who was silent.

        Args:
            systems: whose CPU grants tell who is slow to answer.
            drawn: (3, N) in [0, 1); 1 where an answer is certain.
            ratio: share of the periods in which a component with very little CPU is silent.
        """
        before = systems.state.between("serving_silent", "ingest_silent")
        cores = np.stack([systems.knobs[f"{workload}_cpu_cores"] for workload in WORKLOADS])
        silent = drawn < ratio * _silence(cores)  # (3, N)
        rates = silent | (before > 0.0)
        before[:] = silent
        table = np.concatenate([np.zeros_like(silent[:1]), silent, rates, [rates[1] | rates[2], rates[0] | rates[2]]])
        return table[self._rows]


def _row(metric: str) -> int:
    """Which row of the table of missing answers tells of a metric."""
    if metric in (_STORAGE, _NETWORK):
        return 7 + (metric == _NETWORK)
    component = metric.partition("_")[0]
    if component not in WORKLOADS or metric == PROBED:
        return 0
    return 1 + WORKLOADS.index(component) + (0 if metric in LEVELS else len(WORKLOADS))


def _silence(cores: np.ndarray) -> np.ndarray:
    """How often a component is silent, relative to one with very little CPU: (3, N) of the granted cores."""
    most = MISSING_BY_CORES[0][1]
    share = np.zeros_like(cores)
    for below, ratio in reversed(MISSING_BY_CORES):
        share = np.where(cores < below, ratio / most, share)
    return share
