"""Many demands in one array, so that each of N systems replays one of them from its own offset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from telemetry.demand_families import DAY, FAMILIES
from telemetry.workload import Demand, generate_demand

COMPRESSION = 60.0
"""A generated day passes in 24 minutes: an episode of four minutes then holds four hours of ups and downs."""
DEFAULT_DEMANDS = 3
"""Generated demands of each family."""


class DemandTable:
    """Demands at the control period, end to end; a system that reaches the end of its demand begins it again.

    Args:
        demands: at least one.
        period: control period in seconds.
        normalized: requests with peak 1 and events with mean 1, instead of the rates as they are.

    Raises:
        ValueError: without a demand, or for one that is shorter than two periods.
    """

    def __init__(self, demands: Sequence[Demand], period: float, *, normalized: bool) -> None:
        if not demands:
            raise ValueError("a simulated plant needs at least one demand to replay")
        ready = [demand.resampled(period) for demand in demands]
        ready = [demand.normalized() for demand in ready] if normalized else ready
        self.names = tuple(demand.name for demand in ready)
        self.lengths = np.array([len(demand) for demand in ready])  # (D,)
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._requests = np.concatenate([demand.requests_per_second for demand in ready])
        self._events = np.concatenate([demand.events_per_second for demand in ready])

    def __len__(self) -> int:
        return len(self.lengths)

    def rates(self, demand: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Requests and events per second, two (N,) arrays.

        Args:
            demand: (N,) int, which demand each system replays.
            step: (N,) int, periods since the demand's beginning.
        """
        position = self._starts[demand] + step % self.lengths[demand]
        return self._requests[position], self._events[position]


def default_demands(period: float, seed: int = 0) -> list[Demand]:
    """A few days of each family, each compressed so that a day passes in 24 minutes.

    Args:
        period: control period in seconds.
        seed: of the first demand.
    """
    families = [family for family in FAMILIES for _ in range(DEFAULT_DEMANDS)]
    days = [
        generate_demand(seed + i, duration_seconds=DAY, step_seconds=60.0, family=family)
        for i, family in enumerate(families)
    ]
    return [day.compressed(COMPRESSION).resampled(period) for day in days]
