"""What an episode was worth: figures from sums over its periods, through the same Objective as the reward."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.objective import Objective
from envs.scaling import KnobScaling
from envs.spec import RESOURCES, SystemSpec
from training.rollout import Rollout

FLAP_PERIODS = 10
"""A knob that turns back within so many periods flaps."""


@dataclass(frozen=True)
class Scores:
    """Figures of N episodes.

    Attributes:
        work: (N, n_workloads) useful work per second, mean over the episode, in the order of `spec.workloads`.
        wanted: (N, n_workloads) work that was asked for, likewise.
        reserved: (N, n_resources) mean reserved, in the units of `envs.spec.RESOURCES`.
        used: (N, n_resources) mean used.
        slo_attainment: (N,) share of periods in which every SLO held; a period with a missing reading did not hold.
        within_slo: (N,) requests answered within the deadline over requests that arrived.
        latency_p50: (N,) seconds, mean of the periods' medians weighted by their requests.
        latency_p99: (N,) seconds, mean of the periods' 99th percentiles weighted by their requests.
        accuracy: (N,) mean served accuracy.
        ingest_lag: (N,) seconds, mean.
        reward: (N,) mean reward.
        changes: (N,) periods in which any knob moved.
        flaps: (N,) reversals of a knob within `FLAP_PERIODS`, summed over knobs.
    """

    work: np.ndarray
    wanted: np.ndarray
    reserved: np.ndarray
    used: np.ndarray
    slo_attainment: np.ndarray
    within_slo: np.ndarray
    latency_p50: np.ndarray
    latency_p99: np.ndarray
    accuracy: np.ndarray
    ingest_lag: np.ndarray
    reward: np.ndarray
    changes: np.ndarray
    flaps: np.ndarray


def score_rollout(spec: SystemSpec, rollout: Rollout) -> Scores:
    """Figures of every episode of a rollout; means are over the periods whose reading is there."""
    objective, catalogue = Objective(spec), spec.catalogue
    values, settings = rollout.values, rollout.settings  # (T, N, n_metrics), (T, N, n_knobs)

    def metric(name: str) -> np.ndarray:
        return values[..., catalogue.index(name)]  # (T, N)

    terms = objective.score(values, settings, rollout.previous)
    arrivals = metric("serving_arrivals_per_second")
    moves = np.diff(KnobScaling(spec.knobs).scale(np.concatenate([rollout.previous[:1], settings])), axis=0)
    return Scores(
        work=_mean(objective.done(values)),
        wanted=_mean(values[..., catalogue.indices([o.wanted for o in spec.workloads.values()])]),
        reserved=_mean(objective.reserved(values, settings)),
        used=_mean(objective.used(values)),
        slo_attainment=objective.slo_met(values).mean(axis=0),
        within_slo=_weighted(metric("serving_goodput_per_second") / np.maximum(arrivals, 1e-9), arrivals),
        latency_p50=_weighted(metric("serving_latency_p50_seconds"), arrivals),
        latency_p99=_weighted(metric("serving_latency_p99_seconds"), arrivals),
        accuracy=_mean(metric("serving_accuracy_ratio")),
        ingest_lag=_mean(metric("ingest_lag_seconds")),
        reward=_mean(sum(terms.values(), np.zeros(values.shape[:-1]))),
        changes=(moves != 0).any(axis=-1).sum(axis=0),
        flaps=count_flaps(moves),
    )


def count_flaps(moves: np.ndarray) -> np.ndarray:
    """Reversals of direction within `FLAP_PERIODS`, summed over knobs.

    Args:
        moves: (T, N, n_knobs) signed move of each knob in each period, 0 where it stayed.

    Returns:
        (N,) counts.
    """
    flaps = np.zeros(moves.shape[1:], dtype=int)
    direction = np.zeros(moves.shape[1:])  # of the last move
    since = np.full(moves.shape[1:], FLAP_PERIODS + 1)  # periods since it
    for move in np.sign(moves):
        since += 1
        moved = move != 0
        flaps += moved & (move == -direction) & (since <= FLAP_PERIODS)
        direction, since = np.where(moved, move, direction), np.where(moved, 0, since)
    return np.asarray(flaps.sum(axis=-1))


def useful_work(spec: SystemSpec, scores: Scores, values: np.ndarray | None = None) -> np.ndarray:
    """Value-weighted share of the wanted work that was done, (N,) in [0, 1].

    The share is of the whole episode, and at most 1: working off what was left from before the episode does not count.
    Relative to what was wanted, not to what the static default did: on two busy cores the default can do next to
    nothing, and a ratio to that says nothing either.

    Args:
        spec: gives the values.
        scores: of N episodes.
        values: (n_workloads,) other values than the spec's.
    """
    values = np.array([o.value for o in spec.workloads.values()]) if values is None else values
    wanted = scores.wanted > 0
    share = np.where(wanted, np.minimum(scores.work / np.where(wanted, scores.wanted, 1.0), 1.0), 1.0)
    return np.asarray((share * values).sum(axis=-1) / values.sum())


def price(spec: SystemSpec, reserved: np.ndarray, prices: np.ndarray | None = None) -> np.ndarray:
    """Price of resources, (..., n_resources) -> (...), in units of a core."""
    prices = np.array([getattr(spec.prices, name) for name in RESOURCES]) if prices is None else prices
    return np.asarray((reserved * prices).sum(axis=-1))


def efficiency(
    spec: SystemSpec,
    scores: Scores,
    reference: Scores,
    values: np.ndarray | None = None,
    prices: np.ndarray | None = None,
) -> np.ndarray:
    """Useful work per price of what was reserved, (N,), relative to `reference`: 1.4 is 40 % more efficient.

    NaN where the reference did no useful work: a ratio to nothing says nothing.

    Args:
        spec: gives values and prices.
        scores: of the policy.
        reference: of what it is compared with, on the same episodes.
        values: (n_workloads,) instead of the spec's.
        prices: (n_resources,) instead of the spec's.
    """
    cost = price(spec, scores.reserved, prices) / price(spec, reference.reserved, prices)
    work, theirs = useful_work(spec, scores, values), useful_work(spec, reference, values)
    return np.where(theirs > 0, work / np.where(theirs > 0, theirs, 1.0), np.nan) / cost


def weight_variants(spec: SystemSpec) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each value and each price halved and doubled, alone: name -> values (n_workloads,), prices (n_resources,)."""
    values = np.array([o.value for o in spec.workloads.values()])
    prices = np.array([getattr(spec.prices, name) for name in RESOURCES])
    variants = {}
    for factor in (0.5, 2.0):
        for i, workload in enumerate(spec.workloads):
            variants[f"value/{workload} x{factor:g}"] = (_with(values, i, factor), prices)
        for i, resource in enumerate(RESOURCES):
            variants[f"price/{resource} x{factor:g}"] = (values, _with(prices, i, factor))
    return variants


def _with(weights: np.ndarray, index: int, factor: float) -> np.ndarray:
    changed = weights.copy()
    changed[index] *= factor
    return changed


def _mean(readings: np.ndarray) -> np.ndarray:
    """Mean over the first axis of the readings that are there; NaN where none is."""
    there = np.isfinite(readings)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, readings, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _weighted(readings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over the first axis of the readings that are there; NaN where their weights sum to 0."""
    there = np.isfinite(readings) & np.isfinite(weights)
    total = np.where(there, weights, 0.0).sum(axis=0)
    weighted = np.where(there, readings * np.where(there, weights, 0.0), 0.0).sum(axis=0)
    return np.where(total > 0, weighted / np.where(total > 0, total, 1.0), np.nan)
