"""Many demands in one array, so that each of N systems replays one of them from its own offset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.simulator.columns import Columns
from telemetry.demand_families import DAY, FAMILIES
from telemetry.workload import Demand, generate_demand

COMPRESSION = 60.0
"""A generated day passes in 24 minutes: an episode of four minutes then holds four hours of ups and downs."""
DEFAULT_DEMANDS = 3
"""Generated demands of each family."""
ROUNDING = 1e-6
"""Periods. Ten steps of 0.1 are a little less than one."""


class DemandTable:
    """Demands at the control period, end to end; a system that reaches the end of its demand begins it again.

    Immutable, so that copies of a plant share it.

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
        self.starts = np.cumsum(self.lengths) - self.lengths  # (D,) row of each demand's beginning
        columns = [(demand.requests_per_second, demand.events_per_second, _days(demand)) for demand in ready]
        self._table = np.concatenate([np.stack(column) for column in columns], axis=1)  # (3, rows)
        for array in (self.lengths, self.starts, self._table):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.lengths)

    def __deepcopy__(self, memo: dict[int, Any]) -> DemandTable:
        return self

    def begin(self, state: Columns, demand: np.ndarray, share: np.ndarray) -> None:
        """Let N systems begin to replay a demand each.

        Args:
            state: of the systems; `REPLAY` is written, whose scales must be there already.
            demand: (N,) int, which.
            share: (N,) in [0, 1), of the demand that has passed.
        """
        state.demand_first_row[:] = self.starts[demand]
        state.demand_length[:] = self.lengths[demand]
        state.demand_step[:] = np.floor(share * self.lengths[demand])
        rates = state.between("requests_rate", "events_rate")
        rates[:] = self.at(state)[:2] * state.between("peak_requests", "mean_events")

    def at(self, state: Columns) -> np.ndarray:
        """Requests per second, events per second and the share of the day that has passed at the end: (3, N)."""
        rows = (state.demand_step + ROUNDING).astype(np.int64) + state.demand_first_row.astype(np.int64)
        return self._table.take(rows, axis=1)

    def move_on(self, state: Columns, periods: float) -> None:
        """Time passes, in control periods; who reaches the end of a demand begins it again."""
        step, length = state.demand_step, state.demand_length
        step += periods
        over = step + ROUNDING >= length
        if over.any():
            np.copyto(step, np.maximum(step - np.floor((step + ROUNDING) / length) * length, 0.0), where=over)


def _days(demand: Demand) -> np.ndarray:
    """Share of the day that has passed at the end of each step, (T,); NaN where the demand is too short to know days.

    A recording of some minutes begins at no time of day that meant anything to what it records.
    """
    if demand.duration < demand.day_seconds / 2.0:
        return np.full(len(demand), np.nan)
    return (demand.day_fractions + demand.step_seconds / demand.day_seconds) % 1.0


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
