"""Generated metrics that the forecaster learns from: real traces may not be shipped, and no trace has every habit."""

from __future__ import annotations

import numpy as np

from telemetry.demand_families import DAY, FAMILIES
from telemetry.issues import HOUR, hourly_levels
from telemetry.workload import generate_demand
from training.forecast_data import MetricSeries

STEP_SECONDS = 300.0
DAYS = 42
PEAK_LOAD = 0.9
"""Utilization at the highest demand, of the latency that is derived from it."""
WEEKENDS = (0.4, 1.1)
"""Demand of both days relative to the others, drawn for half of the demands."""
SPELLS_PER_DAY = 1.0 / 14.0
"""Holidays, campaigns, changed habits: some days with another level, known to nobody before they begin."""
SPELL_DAYS, SPELL_FACTORS = (1.0, 8.0), (0.4, 1.6)


def generated_series(count: int, seed: int = 0, *, days: int = DAYS) -> list[MetricSeries]:
    """`count` hosts, the same each time: a demand of all families in turn, a latency that grows as a queue's, and a
    resource whose use wanders by itself.
    """
    found = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        family = list(FAMILIES)[number % len(FAMILIES)]
        start = float(rng.integers(24)) * HOUR
        demand = generate_demand(
            seed + number, duration_seconds=days * DAY, step_seconds=STEP_SECONDS, family=family, start=start
        )
        rates = demand.requests_per_second * _habits(rng, len(demand))
        load = PEAK_LOAD * rates / max(float(np.quantile(rates, 0.99)), 1e-9)
        latency = 1.0 / (1.0 - np.minimum(load, 0.98))
        for kind, values in (("rate", rates), ("latency", latency), ("resource", _resource(rng, load))):
            levels = hourly_levels(values, STEP_SECONDS, start)
            found.append(MetricSeries(f"generated {family} {number} {kind}", f"generated {number}", levels, start))
    return found


def _habits(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Factors (steps,) of the demand by week and spell."""
    factor = np.ones(steps)
    days = np.arange(steps) * STEP_SECONDS / DAY
    if rng.random() < 0.5:
        weekend = (days + rng.integers(7)) % 7 < 2
        factor[weekend] *= rng.uniform(*WEEKENDS)
    for _ in range(rng.poisson(SPELLS_PER_DAY * days[-1])):
        begin = rng.uniform(0.0, days[-1])
        inside = (days >= begin) & (days < begin + np.exp(rng.uniform(*np.log(SPELL_DAYS))))
        factor[inside] *= np.exp(rng.uniform(*np.log(SPELL_FACTORS)))
    return factor


def _resource(rng: np.random.Generator, load: np.ndarray) -> np.ndarray:
    """Use (T,) of something that follows the load a little, wanders over hours to days, and has bursts of hours."""
    steps = len(load)
    memory = np.exp(-STEP_SECONDS / HOUR / np.exp(rng.uniform(np.log(3.0), np.log(72.0))))
    shocks = rng.normal(0.0, np.sqrt(1.0 - memory**2), steps)
    wander = np.empty(steps)
    level = rng.normal()
    for i, shock in enumerate(shocks):
        level = memory * level + shock
        wander[i] = level
    use = rng.uniform(0.0, 1.5) * load + rng.uniform(0.1, 0.6) * wander + 0.05 * rng.normal(size=steps)
    for _ in range(rng.poisson(rng.uniform(0.0, 1.0) * steps * STEP_SECONDS / DAY)):
        begin, hours = int(rng.integers(steps)), np.exp(rng.uniform(np.log(0.5), np.log(8.0)))
        use[begin : begin + int(hours * HOUR / STEP_SECONDS)] += rng.uniform(0.5, 2.0)
    return use
