"""Incidents: what goes wrong on a host for a while, injected by a test or at random."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from envs.simulator import noise
from envs.simulator.quantities import WORKLOADS

CHANNELS = np.arange(24, 28, dtype=np.uint64)
"""Of the random draws: whether one begins, which, for how long, how strong."""
DURATIONS = (15.0, 120.0)
"""Seconds; random ones are drawn from this range, evenly in the logarithm."""


class IncidentKind(StrEnum):
    """What goes wrong. Beside each: what `strength` means."""

    NOISY_NEIGHBOUR = "noisy_neighbour"
    """CPU that somebody else wants, as a share of the host's cores."""
    TRAFFIC_BURST = "traffic_burst"
    """Requests that arrive on top, as a share of the expected ones."""
    DISK_FILLING = "disk_filling"
    """Share of the disk that fills up, evenly over the duration; a full one takes neither checkpoints nor shards."""
    SLOW_STORAGE = "slow_storage"
    """Share of the storage bandwidth that is lost."""
    NETWORK_LOSS = "network_loss"
    """Share of the packets that are lost."""
    MEMORY_LEAK = "memory_leak"
    """Share of the host's memory that `workload` leaks, evenly over the duration; a restart gives it back."""
    COMPONENT_CRASH = "component_crash"
    """`workload` is down for the duration; the strength means nothing."""


@dataclass(frozen=True)
class Incident:
    """Something that goes wrong for a while.

    Attributes:
        kind: what.
        start_seconds: from now; negative for one that has begun.
        duration_seconds: how long it lasts, > 0.
        strength: see `IncidentKind`; >= 0.
        workload: whose leak or crash it is; without meaning for the other kinds.

    Raises:
        ValueError: an unknown kind or workload, or a number that cannot be.
    """

    kind: IncidentKind
    start_seconds: float
    duration_seconds: float
    strength: float = 1.0
    workload: str = "serving"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", IncidentKind(self.kind))
        if not np.isfinite(self.start_seconds):
            raise ValueError(f"incident {self.kind}: start_seconds is {self.start_seconds}; it must be finite")
        if not (np.isfinite(self.duration_seconds) and self.duration_seconds > 0):
            raise ValueError(f"incident {self.kind}: duration_seconds is {self.duration_seconds}; it must be positive")
        if not (np.isfinite(self.strength) and 0 <= self.strength <= MOST_STRENGTH[self.kind]):
            most = MOST_STRENGTH[self.kind]
            raise ValueError(f"incident {self.kind}: strength is {self.strength}; allowed is 0 to {most}")
        if self.workload not in WORKLOADS:
            raise ValueError(f"incident {self.kind}: workload {self.workload!r}; allowed: {', '.join(WORKLOADS)}")


MOST_STRENGTH = {
    IncidentKind.NOISY_NEIGHBOUR: 100.0,
    IncidentKind.TRAFFIC_BURST: 100.0,
    IncidentKind.DISK_FILLING: 1.0,
    IncidentKind.SLOW_STORAGE: 0.999,
    IncidentKind.NETWORK_LOSS: 0.9,
    IncidentKind.MEMORY_LEAK: 1.0,
    IncidentKind.COMPONENT_CRASH: 1.0,
}

_RANDOM_STRENGTH = {
    IncidentKind.NOISY_NEIGHBOUR: (0.25, 1.0),
    IncidentKind.TRAFFIC_BURST: (0.5, 2.0),
    IncidentKind.DISK_FILLING: (0.3, 0.9),
    IncidentKind.SLOW_STORAGE: (0.7, 0.99),
    IncidentKind.NETWORK_LOSS: (0.02, 0.2),
    IncidentKind.MEMORY_LEAK: (0.3, 1.0),
    IncidentKind.COMPONENT_CRASH: (1.0, 1.0),
}
"""Ranges of the random ones: from what just shows to what breaks an SLO."""

_OF_A_WORKLOAD = (IncidentKind.MEMORY_LEAK, IncidentKind.COMPONENT_CRASH)
ROWS = (
    *((kind, WORKLOADS[0]) for kind in IncidentKind if kind not in _OF_A_WORKLOAD),
    *((kind, workload) for kind in _OF_A_WORKLOAD for workload in WORKLOADS),
)
"""What a system can have at the same time, one of each."""
_LEAKS, _CRASHES = slice(5, 8), slice(8, 11)
_BOUNDS = np.array([_RANDOM_STRENGTH[kind] for kind, _ in ROWS])  # (rows, 2)


class Stress(NamedTuple):
    """What incidents do in a period, (N,) each or (3, N) by workload; the defaults are what a calm one does."""

    neighbour: np.ndarray | float = 0.0
    """Share of the host's cores that somebody else wants."""
    burst: np.ndarray | float = 0.0
    """Requests on top, as a share."""
    disk_filled: np.ndarray | float = 0.0
    """Share of the disk on top of what is always there."""
    storage_lost: np.ndarray | float = 0.0
    """Share of the bandwidth."""
    network_lost: np.ndarray | float = 0.0
    """Share of the packets."""
    leaked: np.ndarray | float = 0.0
    """(3, N) share of the host's memory."""
    crashed_seconds: np.ndarray | float = 0.0
    """(3, N), how long each component still stays down."""


CALM = Stress()


class Incidents:
    """The incidents of N systems: for each row of `ROWS`, from when to when and how strong, on each system's clock.

    A new one takes the place of one of the same row.

    Args:
        n: number of systems.
    """

    def __init__(self, n: int) -> None:
        self.array = np.zeros((3, len(ROWS), n))  # start, end, strength

    def inject(self, incident: Incident, now: np.ndarray, systems: np.ndarray) -> None:
        """Add one to some systems.

        Args:
            incident: what, and when from now.
            now: (n_systems,) seconds on their clocks.
            systems: (n_systems,) int.
        """
        workload = incident.workload if incident.kind in _OF_A_WORKLOAD else WORKLOADS[0]
        row, start = ROWS.index((incident.kind, workload)), now + incident.start_seconds
        self.array[:, row, systems] = start, start + incident.duration_seconds, np.full(len(start), incident.strength)

    def draw(self, keys: np.ndarray, ticks: np.ndarray, chance: float, now: np.ndarray) -> None:
        """Let random ones begin.

        Args:
            keys: (N,) uint64 of the systems.
            ticks: (N,) uint64, how far each is.
            chance: that one begins now.
            now: (N,) seconds on their clocks.
        """
        systems = np.flatnonzero(noise.uniforms(keys, ticks, CHANNELS[:1])[0] < chance)
        if not len(systems):
            return
        which, length, strength = noise.uniforms(keys[systems], ticks[systems], CHANNELS[1:])
        rows = (which * len(ROWS)).astype(np.int64)
        low, high = _BOUNDS[rows].T
        shortest, longest = DURATIONS
        end = now[systems] + shortest * (longest / shortest) ** length
        self.array[:, rows, systems] = now[systems], end, low + (high - low) * strength

    def under_way(self, now: np.ndarray, seconds: float) -> np.ndarray:
        """Which happen in a period that begins now, (rows, N) bool."""
        start, end, _ = self.array
        return (start < now + seconds) & (end > now)

    def stress(self, now: np.ndarray, under_way: np.ndarray) -> Stress:
        """What those that are under way do."""
        start, end, strength = self.array
        level = strength * under_way  # (rows, N)
        progress = np.clip((now - start) / np.maximum(end - start, 1e-9), 0.0, 1.0)
        left = np.maximum(end - now, 0.0) * under_way
        return Stress(
            level[0], level[1], level[2] * progress[2], level[3], level[4], level[_LEAKS] * progress[_LEAKS],
            left[_CRASHES],
        )  # fmt: skip

    def restart_leaks(self, killed: np.ndarray, now: np.ndarray) -> None:
        """What a killed process, (3, N) bool, has leaked is free again; the new one leaks on as fast as the old one."""
        start, end, strength = self.array[:, _LEAKS]
        anew = killed & (start < now) & (end > now)
        np.multiply(strength, (end - now) / np.maximum(end - start, 1e-9), out=strength, where=anew)
        np.copyto(start, now, where=anew)

    def active(self, now: np.ndarray) -> list[tuple[Incident, ...]]:
        """Those under way in each system."""
        found: list[list[Incident]] = [[] for _ in now]
        for row, system in np.argwhere(self.under_way(now, 1e-9)):
            start, end, strength = self.array[:, row, system]
            kind, workload = ROWS[row]
            incident = Incident(kind, float(start - now[system]), float(end - start), float(strength), workload)
            found[system].append(incident)
        return [tuple(each) for each in found]
