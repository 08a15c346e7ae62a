"""Memory: page cache and pressure when little is free, and processes that are killed when none is."""

from __future__ import annotations

import numpy as np

from envs.simulator.columns import Systems
from envs.simulator.host import granted
from envs.simulator.quantities import WORKLOADS


def settle(systems: Systems, present: np.ndarray, leaked: np.ndarray | float) -> np.ndarray:
    """After a period: who is killed, and how long everybody stalls in the next one.

    A process is killed when it uses more than its limit, or when the host has no more: then the largest one, as the
    kernel does. Above `memory_knee_ratio` of a limit or of the host, time is lost to reclaiming and reading again, and
    files fall out of the page cache.

    Args:
        systems: their memory readings are completed, and `SHORTAGE` is written.
        present: (3, N) bool, who was there in the period.
        leaked: (3, N) share of the host's memory.

    Returns:
        (3, N) bool.
    """
    p, state, knobs, out = systems
    readings = [out[f"{workload}_memory_bytes"] for workload in WORKLOADS]
    used = (np.stack(readings) + leaked * p.physical_memory_bytes) * present  # (3, N)
    limits = np.empty_like(used)
    for i, limit in enumerate(granted(knobs, "{}_memory_limit_bytes", WORKLOADS)):
        readings[i][:], limits[i] = used[i], np.maximum(limit, 1.0)
    total = p.other_memory_bytes + used[0] + used[1] + used[2]
    out_of_memory = (total > p.physical_memory_bytes) & (used == used.max(axis=0)) & present

    filled = np.maximum(used / limits, total / p.physical_memory_bytes)  # (3, N)
    knee = p.memory_knee_ratio
    pressure = np.minimum(np.maximum(filled - knee, 0.0) / np.maximum(1.0 - knee, 1e-9), 1.0)
    stalled = state.between("serving_stalled_ratio", "ingest_stalled_ratio")
    stalled[:] = p.memory_stall_ratio * pressure * pressure
    free = np.maximum(p.physical_memory_bytes - total, 0.0)
    state.cache_missed_ratio[:] = 1.0 - np.minimum(free / np.maximum(p.page_cache_bytes, 1.0), 1.0)
    out.put("host_memory_used_ratio", np.minimum(total / p.physical_memory_bytes, 1.0))
    out.put("host_memory_pressure_ratio", stalled.max(axis=0))
    return (used > limits) | out_of_memory
