"""What the workloads share: cores that are there once, and threads that get in each other's way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.simulator.columns import Columns
from envs.simulator.quantities import HOST_KNOBS, WORKLOADS

NEUTRAL_WEIGHT = 100.0
"""CPU weight of everything that has no knob for it, as in the kernel's control groups."""
LEAST_WEIGHT = 1e-3


def other_cores(p: Columns, requests_per_second: np.ndarray) -> np.ndarray:
    """Cores (N,) that others than the workloads want: the clients on the same host, and everything else."""
    return p.other_cores + p.client_core_seconds * requests_per_second


def slowdown(p: Columns, knobs: Columns, wanted: Sequence[np.ndarray], others: np.ndarray) -> np.ndarray:
    """How much of its speed each workload keeps when more is wanted than the host has: (3, N) or (N,), in (0, 1].

    Threads compete one by one, so that who wants twice as much gets twice as much: everybody keeps the same share of
    its speed, unless the workloads have weights. The recorded runs do not contradict it: they cannot tell it from equal
    shares, for there were cores left in nearly every period.

    Args:
        p: parameters.
        knobs: in force; CPU weights among them or not.
        wanted: cores that each workload would use, (N,) each.
        others: cores that everything else would use, (N,).
    """
    if any(f"{workload}_cpu_weight" in knobs for workload in WORKLOADS):
        return _weighted_slowdown(p, knobs, wanted, others)
    return np.minimum(1.0, p.physical_cores / (wanted[0] + wanted[1] + wanted[2] + others))


def _weighted_slowdown(p: Columns, knobs: Columns, wanted: Sequence[np.ndarray], others: np.ndarray) -> np.ndarray:
    """Speeds in proportion to the weights, and no core idle while anybody wants it: (3, N).

    They rise together, each weight times a common level, until all run at full speed or all cores are taken
    (water-filling). With equal weights this is what goes without weights, bit for bit.
    """
    limits = granted(knobs, "{}_cpu_weight", WORKLOADS)
    weights = [np.maximum(limit / NEUTRAL_WEIGHT, LEAST_WEIGHT) for limit in limits] + [np.ones_like(others)]
    claims = [*wanted, others]
    level = p.physical_cores / _sum([claim * weight for claim, weight in zip(claims, weights, strict=True)])
    for _ in range(len(claims) - 1):  # in the worst case, one more is satisfied each time
        full = [level * weight >= 1.0 for weight in weights]
        left = p.physical_cores - _sum([claim * one for claim, one in zip(claims, full, strict=True)])
        hungry = _sum([c * w * ~one for c, w, one in zip(claims, weights, full, strict=True)])
        level = np.where(hungry > 0.0, np.maximum(left, 0.0) / np.where(hungry > 0.0, hungry, 1.0), np.inf)
    return np.stack([np.minimum(1.0, level * weight) for weight in weights[:-1]])


def granted(knobs: Columns, name: str, workloads: Sequence[str]) -> list[np.ndarray | float]:
    """An optional knob of several workloads, each (N,) or the number that stands for having none.

    Args:
        knobs: in force.
        name: of the knob, with {} for the workload.
        workloads: whose.
    """
    return [knobs.get(name.format(workload), HOST_KNOBS[name.format(workload)]) for workload in workloads]


def thread_cost(threads: np.ndarray, cores: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Factor (N,) >= 1 on the cost of computing with more threads than the CPU ceiling lets run at once.

    All threads of a process are throttled together, and those that wait for a throttled or preempted one spin: 1 with
    one thread, 1 + 3 x penalty with two threads on half a core.
    """
    return 1.0 + penalty * (threads - 1.0) * np.maximum(threads / cores - 1.0, 0.0)


def _sum(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Sum in explicit order: np.sum may add a batch in another order than a single system."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
