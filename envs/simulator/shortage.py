"""A host that runs short of something, or on which something goes wrong: what that does to its workloads.

With enough of everything and no incident, each function here changes nothing, to the last bit: a batch in which nobody
is short can leave them out.
"""

from __future__ import annotations

import numpy as np

from envs.simulator import bandwidth, memory, restarts
from envs.simulator.bandwidth import Loads
from envs.simulator.columns import Columns, Systems
from envs.simulator.incidents import Stress

LEAST_SPEED = 1e-9
"""So that times stay finite where nothing moves."""


def slow_down(systems: Systems, loads: Loads, stress: Stress, seconds: float, speed: np.ndarray) -> np.ndarray:
    """Before a period: what is left of each workload's speed, (3, N), in place.

    Lost are the time that a component is down, the time that it waits for memory, and what storage and network do not
    let through.

    Returns:
        (N,) bytes per second at which a checkpoint gets to the disk.
    """
    p, state, knobs, out = systems
    speed *= 1.0 - state.between("serving_stalled_ratio", "ingest_stalled_ratio")
    speed *= 1.0 - np.minimum(restarts.down_seconds(state), seconds) / seconds
    storage = bandwidth.share_storage(p, state, knobs, loads, stress)
    requests, events, network_used = bandwidth.share_network(p, knobs, loads, stress)
    disk_used = p.disk_used_ratio + stress.disk_filled
    full = disk_used >= 1.0

    np.minimum(speed[0], requests / loads.serving.most, out=speed[0])
    speed[1] *= storage.training
    alone = (knobs.ingest_cpu_cores - loads.ingest.idle) / loads.ingest.cost  # events per second
    np.minimum(speed[2], np.where(full, 0.0, np.minimum(storage.events, events)) / alone, out=speed[2])
    np.maximum(speed[::2], LEAST_SPEED, out=speed[::2])
    state.checkpoint_age -= seconds * (1.0 - storage.pace)
    np.copyto(state.checkpoint_age, -seconds, where=full)  # a full disk takes no checkpoint
    out.put("host_storage_used_ratio", storage.used)
    out.put("host_network_used_ratio", network_used)
    out.put("host_disk_used_ratio", np.minimum(disk_used, 1.0))
    return storage.checkpoint_bytes


def spread_checkpoints(state: Columns, out: Columns, rate: np.ndarray, seconds: float) -> None:
    """Where a checkpoint takes longer than a period, the next ones write the rest of it.

    Args:
        state: of the systems.
        out: `storage_written_bytes_per_second` holds a whole checkpoint where one is due.
        rate: (N,) bytes per second at most.
        seconds: length of the period.
    """
    written = out.storage_written_bytes_per_second
    pending = written * seconds + state.unwritten_bytes
    slow = pending > rate * seconds
    state.unwritten_bytes[:] = np.where(slow, pending - np.where(slow, rate, 0.0) * seconds, 0.0)
    written[:] = np.where(slow, rate, pending / seconds)


def settle(systems: Systems, stress: Stress, seconds: float) -> np.ndarray:
    """After a period: who has crashed or is killed, and what memory leaves behind for the next period.

    Returns:
        (3, N) bool, who is stopped.
    """
    p, state, _, out = systems
    present = restarts.down_seconds(state) < seconds
    restarts.pass_time(state, seconds)
    killed = memory.settle(systems, present, stress.leaked)
    out.put("training_oom_kills_per_second", killed[1] / seconds)
    away = np.maximum(p.component_restart_seconds * killed, stress.crashed_seconds)
    stopped = (away > 0.0) & (restarts.down_seconds(state) == 0.0)
    restarts.stop(state, out, stopped, away, seconds)
    return stopped
