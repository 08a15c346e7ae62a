"""Generated metrics for the shipped forecaster: what real traces may not be shipped in is learnt from these."""

from __future__ import annotations

import numpy as np

from telemetry.demand_families import DAY, FAMILIES
from telemetry.issues import hourly_levels
from telemetry.workload import generate_demand
from training.forecast_data import MetricSeries

STEP_SECONDS = 300.0
DAYS = 42
PEAK_LOAD = 0.9
"""Utilization at the highest demand, of the latency that is derived from it."""


def generated_series(count: int, seed: int = 0, *, days: int = DAYS) -> list[MetricSeries]:
    """`count` demands of all families in turn, and of each a latency that grows as a queue's; the same each time."""
    found = []
    for number in range(count):
        family = list(FAMILIES)[number % len(FAMILIES)]
        start = float(np.random.default_rng([seed, number]).integers(24)) * 3600.0
        demand = generate_demand(
            seed + number, duration_seconds=days * DAY, step_seconds=STEP_SECONDS, family=family, start=start
        )
        rates = demand.requests_per_second
        load = PEAK_LOAD * rates / max(float(np.quantile(rates, 0.99)), 1e-9)
        latency = 1.0 / (1.0 - np.minimum(load, 0.98))
        for kind, values in (("rate", rates), ("latency", latency)):
            levels = hourly_levels(values, STEP_SECONDS, start)
            found.append(MetricSeries(f"generated {family} {number} {kind}", f"generated {number}", levels, start))
    return found
