"""Is an observation like those that a policy was made with? What answers that travels with the policy.

A network answers any observation, also one that it never saw anything like; what it answers there is worth nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from telemetry.drift import Guard, GuardError

PREFIX = "guard_"
"""Of the arrays of a guard in a policy artifact."""
UNGUARDED = ("weight/", "day/", "now/host_", "trend/host_")
"""Entries of an observation that say nothing of the system: what is wanted stands in the spec, the time of day comes
from the clock and demand has another daily profile at every site, and a host has neighbours of its own. With the host's
CPU among them, half of the periods were strange on a machine with five times more to do than it can; else 2 %."""
SHRINKAGE = 0.05
"""Weight of the diagonal in the covariance."""
FLOOR = 0.02
"""Deviation that each entry is granted besides its own, in the scaled range [-1, 1]: what the simulator hardly varies
(memory) must be allowed to differ on a real host."""
QUANTILE = 0.999
"""Of the distances of the calibration days: the threshold."""


@dataclass(frozen=True, eq=False)
class NoveltyGuard:
    """Mahalanobis distance of an observation to those that a policy was made with, and the reward they led to.

    Attributes:
        entries: (d,) int, the entries of an observation that are looked at.
        guard: distance of these and its threshold.
        reward: (d + 1,) least-squares weights of the next period's reward on them, the constant last.
        spreads: (2,) usual deviation of the distance, and of the reward around what was expected.
    """

    entries: np.ndarray
    guard: Guard
    reward: np.ndarray
    spreads: np.ndarray

    def distance(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (...), about 1 where it is usual; NaN where an entry is."""
        return self.guard.distance(observation[..., self.entries].astype(float))

    def is_strange(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (...) bool; what is not finite is strange."""
        return ~(self.distance(observation) <= self.guard.threshold)

    def expected_reward(self, observation: np.ndarray) -> np.ndarray:
        """Reward of the period that follows (..., n_observation), as in training; (...)."""
        return np.asarray(observation[..., self.entries].astype(float) @ self.reward[:-1] + self.reward[-1])

    def arrays(self) -> dict[str, np.ndarray]:
        """For the artifact."""
        stored = {
            "entries": self.entries.astype(np.int32),
            "mean": self.guard.mean.astype(np.float32),
            "whitening": self.guard.whitening.astype(np.float32),
            "threshold": np.array(self.guard.threshold),
            "reward": self.reward,
            "spreads": self.spreads,
        }
        return {PREFIX + name: array for name, array in stored.items()}


@runtime_checkable
class Guarded(Protocol):
    """A policy that may have a guard."""

    guard: NoveltyGuard | None


def guard_of(policy: object) -> NoveltyGuard | None:
    """The guard that a policy has; None for one without, a rule or an older artifact."""
    return policy.guard if isinstance(policy, Guarded) else None


def guarded_entries(labels: tuple[str, ...]) -> np.ndarray:
    """(d,) int, the entries of an observation with these labels that are readings or settings."""
    return np.array([i for i, label in enumerate(labels) if not label.startswith(UNGUARDED)])


def fit_novelty(
    entries: np.ndarray, groups: Sequence[tuple[float, np.ndarray]], calibration: np.ndarray, rewards: np.ndarray
) -> NoveltyGuard:
    """Fit to groups of observations, with the threshold on others.

    Args:
        entries: (d,) to look at.
        groups: weight of each group, and its observations (n, n_observation).
        calibration: (T, N, n_observation) of N systems that no group holds.
        rewards: (T, N) of the period after each of them.

    Raises:
        GuardError: an observation that is not finite.
    """
    total = sum(weight for weight, _ in groups)
    parts = [(weight / total, rows[:, entries].astype(float)) for weight, rows in groups]
    if not all(np.isfinite(rows).all() for rows in (*(rows for _, rows in parts), calibration, rewards)):
        raise GuardError("an observation to fit the guard to is not finite; leave out what has a reading missing")
    mean = np.sum([weight * rows.mean(axis=0) for weight, rows in parts], axis=0)
    covariance = np.sum([w * ((rows - mean).T @ (rows - mean)) / len(rows) for w, rows in parts], axis=0)
    diagonal = np.diag(np.diag(covariance))
    shrunk = (1.0 - SHRINKAGE) * covariance + SHRINKAGE * diagonal + FLOOR**2 * np.eye(len(mean))
    whitening = np.linalg.inv(np.linalg.cholesky(shrunk))
    seen = calibration[..., entries].astype(float)  # (T, N, d)
    distance = Guard(mean, whitening, np.inf).distance(seen)  # (T, N)
    design = np.concatenate([seen, np.ones((*seen.shape[:-1], 1))], axis=-1).reshape(-1, len(entries) + 1)
    # A ridge: with two entries that always agree, least squares gives weights that a little noise blows up.
    ridge = 1e-3 * len(design) * np.eye(len(entries) + 1)
    weights = np.linalg.solve(design.T @ design + ridge, design.T @ rewards.ravel())
    residual = rewards.ravel() - design @ weights
    guard = Guard(mean, whitening, float(np.quantile(distance, QUANTILE)))
    return NoveltyGuard(entries, guard, weights, np.array([distance.std(), residual.std()]))


def stored_guard(arrays: Mapping[str, np.ndarray], n_observation: int) -> NoveltyGuard | None:
    """The guard among the arrays of an artifact; None where there is none, as in older ones.

    Args:
        arrays: of the artifact.
        n_observation: length of the policy's observation.

    Raises:
        GuardError: one that is damaged.
    """
    found = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    if not found:
        return None
    missing = {"entries", "mean", "whitening", "threshold", "reward", "spreads"} - set(found)
    if missing:
        raise GuardError(f"the stored guard lacks {', '.join(sorted(missing))}")
    entries, size = found["entries"], len(np.atleast_1d(found["entries"]))
    shapes = {"entries": (size,), "mean": (size,), "whitening": (size, size), "threshold": ()}
    for name, shape in {**shapes, "reward": (size + 1,), "spreads": (2,)}.items():
        array = found[name]
        if array.shape != shape or array.dtype.kind not in "if" or not np.isfinite(array).all():
            raise GuardError(f"the stored guard's {name} must be {shape} finite numbers, it is {array.shape}")
    if entries.dtype.kind != "i" or not size or entries.min() < 0 or entries.max() >= n_observation:
        raise GuardError(f"the stored guard's entries must be integers from 0 to {n_observation - 1}")
    if not (found["threshold"] > 0 and (found["spreads"] > 0).all()):
        raise GuardError("the stored guard's threshold and spreads must be positive")
    guard = Guard(found["mean"].astype(float), found["whitening"].astype(float), float(found["threshold"]))
    return NoveltyGuard(entries.astype(int), guard, found["reward"].astype(float), found["spreads"].astype(float))
