"""Metrics of simulated plants under a demand whose generator is known, and with it the most that can be foretold.

A day ahead the residual of the demand is forgotten (its memory is an hour), so what can be known is the hour of the
day: the frequency of issues in that hour over many replicas, which only the generator can make, bounds every forecast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.demand_families import DAY, ar1_for_step
from telemetry.forecast import Forecaster
from telemetry.issues import DAY_HOURS, hourly_levels, issues
from telemetry.workload import Demand
from training.backtest import LIMITS, judge
from training.backtest_bars import plant_bars
from training.backtest_scores import Tally, best_balanced_accuracy_of
from training.forecast_data import MetricSeries
from training.forecast_training import ForecastConfig
from training.references import load_references

STEP_SECONDS = 300.0
DAYS = 42
RESIDUALS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Standard deviations of the log demand around its day. The most regular public services have 0.11, most 0.2 to 0.4."""
AR1 = 0.9
"""Correlation of the residual from one ten minutes to the next, as of public demands."""
SWINGS = (2.0, 5.0)
"""Of the demand in a day, highest over lowest; drawn log-uniformly."""
PROFILES, REPLICAS = 8, 8
"""Daily profiles, the same for each residual, and plants that follow each of them with chance of their own."""
METRICS = (
    "serving_arrivals_per_second",
    "serving_latency_p50_seconds",
    "serving_latency_p99_seconds",
    "host_cpu_used_ratio",
)


@dataclass(frozen=True, eq=False)
class KnownPlants:
    """What plants showed.

    Attributes:
        series: one of each profile, residual and metric, S in all.
        residuals: (S,) of the demand.
        replicas: (S, REPLICAS, H) hourly, of all that share profile, residual and metric; the first is the series.
    """

    series: list[MetricSeries]
    residuals: np.ndarray
    replicas: np.ndarray

    def ceiling(self, which: np.ndarray, quantile: float) -> float:
        """Balanced accuracy a day ahead of who knows the generator, over series (S,) bool, with the best threshold."""
        tallies = [_known(self.replicas[i], self.series[i], quantile) for i in np.flatnonzero(which)]
        return best_balanced_accuracy_of(Tally(*(np.concatenate(part) for part in zip(*tallies, strict=True))).total())


def judge_plants(
    config: ForecastConfig, on_progress: Callable[[int, int, str], object], forecaster: Forecaster | None = None
) -> dict[str, Any]:
    """The backtest on simulated plants: as `judge`, and `plants` with a row for each residual and its ceiling."""
    on_progress(0, 1, "simulating plants")
    known = known_plants(config.seed)
    groups = {f"residual {residual:g}": known.residuals == residual for residual in RESIDUALS}
    result = judge(known.series, config, on_progress, forecaster, groups)
    rows = []
    for (name, which), residual in zip(groups.items(), RESIDUALS, strict=True):
        day = result["frequent"][name]["24h"]
        scores = {key: day[key] for key in ("series", "base_rate", "balanced_accuracy", "balanced_accuracy_ci")}
        tolerant = day["tolerance_1h"]["balanced_accuracy"]
        ceiling = known.ceiling(which, LIMITS["frequent"])
        rows.append({"residual": residual, "ceiling": ceiling, **scores, "balanced_accuracy_tolerance_1h": tolerant})
    return {**result, "plants": rows, "bars": plant_bars(rows)}


def known_plants(seed: int = 0, *, days: int = DAYS, profiles: int = PROFILES) -> KnownPlants:
    """Let plants in their best static setting pass compressed days; a day takes as many periods as it has readings.

    Chance is in the demand alone: a reading of five minutes would be the mean of 300 periods, in which arrivals and
    measurements are nearly what is expected of them.
    """
    spec = SystemSpec.load("reference")
    demands = [
        _demand(np.random.default_rng([seed, profile]), [seed, level, profile, replica], residual, days)
        for level, residual in enumerate(RESIDUALS)
        for profile in range(profiles)
        for replica in range(REPLICAS)
    ]
    faster = [demand.compressed(STEP_SECONDS / spec.control_period_seconds) for demand in demands]
    plant = SimulatedPlant(spec, faster, n=len(faster), seed=seed, noise=False)
    plant.reset(seed, demand_indices=np.arange(len(faster)), setting=load_references(spec).best_static)
    columns = [spec.catalogue.names.index(name) for name in METRICS]
    steps = int(days * DAY / STEP_SECONDS)
    shown = np.stack([plant.advance(spec.control_period_seconds).values[:, columns] for _ in range(steps)])  # (T, N, M)
    levels = np.stack([[hourly_levels(one, STEP_SECONDS) for one in system.T] for system in shown.transpose(1, 0, 2)])
    grouped = levels.reshape(len(RESIDUALS), profiles, REPLICAS, len(METRICS), -1)
    return _gathered(grouped.transpose(0, 1, 3, 2, 4))


def _gathered(levels: np.ndarray) -> KnownPlants:
    """(residuals, profiles, metrics, REPLICAS, H) -> one series each of the first three."""
    series, residuals = [], []
    for level, profile, metric in np.ndindex(levels.shape[:3]):
        host = f"plant {RESIDUALS[level]} {profile}"
        series.append(MetricSeries(f"{host} {METRICS[metric]}", host, levels[level, profile, metric, 0]))
        residuals.append(RESIDUALS[level])
    return KnownPlants(series, np.array(residuals), levels.reshape(len(series), *levels.shape[3:]))


def _demand(profile: np.random.Generator, chance: list[int], residual: float, days: int) -> Demand:
    """Two daily harmonics drawn from `profile`, and an AR(1) residual of the logarithm drawn by the seeds `chance`."""
    steps = int(days * DAY / STEP_SECONDS)
    phase = np.arange(steps) * STEP_SECONDS / DAY * 2.0 * np.pi
    share, first, second = profile.uniform(0.1, 0.45), *profile.uniform(0.0, 2.0 * np.pi, 2)
    season = np.cos(phase - first) + share * np.cos(2.0 * phase - second)
    season *= np.exp(profile.uniform(*np.log(np.log(SWINGS)))) / np.ptp(season)
    coefficient, sd = ar1_for_step(AR1, residual, STEP_SECONDS)
    shocks = np.random.default_rng(chance).normal(0.0, sd * np.sqrt(1.0 - coefficient**2), steps)
    noise = np.empty(steps)
    last = shocks[0] / np.sqrt(1.0 - coefficient**2)
    for i, shock in enumerate(shocks):
        last = coefficient * last + shock
        noise[i] = last
    rates = 100.0 * np.exp(season + noise)
    return Demand(f"known {residual}", STEP_SECONDS, rates, rates, "generated: known")


def _known(replicas: np.ndarray, one: MetricSeries, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Tally (1, BINS) of one series' test hours, foretold by the other replicas' frequency in each hour of the day."""
    issue = issues(replicas, one.limit(quantile))  # (REPLICAS, H)
    whole = issue.shape[1] // DAY_HOURS * DAY_HOURS
    by_hour = np.nanmean(issue[1:, :whole].reshape(-1, DAY_HOURS), axis=0)
    hours = np.arange(one.edge(1), issue.shape[1])
    tally = Tally.of(by_hour[hours % DAY_HOURS], issue[0, hours], np.zeros(len(hours), dtype=int), 1)
    return tally.came, tally.stayed_away
