"""What the workloads share: cores that are there once, and threads that get in each other's way."""

from __future__ import annotations

import numpy as np

from envs.simulator.columns import Columns


def slowdown(parameters: Columns, wanted: np.ndarray, requests_per_second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of its speed everybody keeps when more is wanted than the host has.

    Args:
        wanted: (N,) cores that the workloads would use together.
        requests_per_second: (N,), which the clients on the same host must send.

    Returns:
        (N,) share of the speed that is left, in (0, 1], and (N,) cores used by others than the workloads.
    """
    others = parameters.other_cores + parameters.client_core_seconds * requests_per_second
    return np.minimum(1.0, parameters.physical_cores / (wanted + others)), others


def thread_cost(threads: np.ndarray, cores: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Factor (N,) >= 1 on the cost of computing with more threads than the CPU ceiling lets run at once.

    All threads of a process are throttled together, and those that wait for a throttled or preempted one spin: 1 with
    one thread, 1 + 3 x penalty with two threads on half a core.
    """
    return 1.0 + penalty * (threads - 1.0) * np.maximum(threads / cores - 1.0, 0.0)
