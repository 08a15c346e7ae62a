"""Where a system begins: as one that has run well for a while, with empty queues."""

from __future__ import annotations

import numpy as np

from envs.simulator import serving
from envs.simulator.columns import Columns
from envs.simulator.quantities import GOOD_SETTING, KNOBS, STATE


def initial_state(p: Columns, draws: np.ndarray, z: np.ndarray) -> Columns:
    """State of N systems: the model in service is about five seconds old.

    Args:
        p: their parameters.
        draws: (2, N) in [0, 1): phase of the drift, age of the model.
        z: (2, N) normal: where the arrival rate and the host's speed are around their means.
    """
    fresh = Columns(STATE, p.array.shape[1])
    fresh.drift_phase[:] = 2.0 * np.pi * draws[0]
    fresh.arrival_flicker[:], fresh.speed_wander[:] = z
    fresh.trained_age[:] = 1.0
    fresh.model_age[:] = fresh.checkpoint_age[:] = 10.0 * draws[1]
    fresh.trained_fit[:] = fresh.model_fit[:] = 0.9
    fresh.accuracy[:] = p.accuracy_best_ratio - 0.1 * p.accuracy_starved_ratio - 0.1 * p.accuracy_stale_ratio
    fresh.serving_memory[:] = p.serving_base_memory_bytes
    fresh.training_demand[:] = p.ingest_events_per_second * p.training_uses_per_event
    return fresh


def capacity(p: Columns, period: float) -> np.ndarray:
    """Requests per second (N,) that serving can answer with `GOOD_SETTING` on a host that it has for itself.

    Args:
        p: parameters of the systems.
        period: control period in seconds.
    """
    n = p.array.shape[1]
    knobs = Columns(KNOBS, n)
    for name, value in GOOD_SETTING.items():
        knobs[name][:] = value
    knobs.training_checkpoint_interval_seconds[:] = np.inf
    idle = serving.load(p, Columns(STATE, n), knobs, np.zeros(n), period)
    return 1.0 / (p.serving_request_core_seconds / idle.pace + 1.0 / idle.most)
