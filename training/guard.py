"""Fits the guard of policies: what they see on simulated days, beside settings that nobody would choose, and live.

Three kinds of observations, since each alone is too narrow. Days under the policies are what the guard is for. Knobs
that wander show how readings follow settings, which a policy that moves little hides. Recordings of the testbed show
what the simulator does not have: memory that differs, noise of the meters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents.artifact import ArtifactError, attach_guard, load
from agents.novelty import FLOOR, QUANTILE, SHRINKAGE, NoveltyGuard, fit_novelty, guarded_entries
from agents.policy import Policy
from envs.recent import Recent
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import JOINT, Task
from telemetry.metrics import Snapshot
from telemetry.trace import Trace
from training.calibration import shipped_recordings
from training.demands import DemandConfig, load_demands
from training.recording import CalibrationError, read_recordings
from training.rollout import Policies, Rollout, rollout

WEIGHTS = {"policies": 0.5, "wandering": 0.2, "recorded": 0.3}
"""Of the groups. Shuffled columns are strange in 0 % of periods with the policies alone, 36 % with wandering knobs, and
75 % with recordings too."""
DAYS, CALIBRATION_DAYS = (1, 2, 3, 4), (1001, 1002, 1003, 1004)
"""Seeds of the generated days: some that policies are trained on, and those that they are selected on."""
PERIODS = 240
PEAK_SHARE = (0.5, 0.95)
"""As in training."""
SEED = 4711
WANDERING_SHARE = 0.02
"""Share of the knobs that jump to a random value in a period: each is held for 50 on average."""


class Seen(NamedTuple):
    """What policies saw, and what came of it."""

    observations: np.ndarray
    """(T, N, n_observation)."""
    rewards: np.ndarray
    """(T, N) of the period after each."""


class Wanderer:
    """Moves each of the knobs to a random value now and then; the same ones after each `reset`."""

    name = "wanderer"

    def __init__(self, task: Task) -> None:
        self._task = task
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._random = np.random.default_rng(SEED)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (..., n_action), most knobs as they are."""
        held = self._task.encode(self._task.setting(observation))
        jumps = self._random.random(held.shape) < WANDERING_SHARE
        return np.where(jumps, self._random.uniform(-1.0, 1.0, held.shape), held).astype(np.float32)


def fit_guard(spec: SystemSpec, policies: Policies, parameters: Parameters | None = None) -> NoveltyGuard:
    """A guard for policies that work together.

    Args:
        spec: of the system.
        policies: one for each role that acts, or one for `joint`.
        parameters: of the simulator; None is its default.
    """
    task = Task(spec, next(iter(policies)))
    wandering: dict[str, Policy] = {JOINT: Wanderer(Task(spec, JOINT))}
    groups = {
        "policies": _flat(simulate(spec, policies, DAYS, parameters).observations),
        "wandering": _flat(simulate(spec, wandering, DAYS, parameters).observations),
        "recorded": _recorded(spec),
    }
    calibration = simulate(spec, policies, CALIBRATION_DAYS, parameters)
    weighted = [(WEIGHTS[name], rows) for name, rows in groups.items() if len(rows)]
    return fit_novelty(guarded_entries(task.labels), weighted, *calibration)


def fit_guards(folder: Path, spec: SystemSpec, parameters: Parameters | None = None) -> list[Path]:
    """Fit and store the guards of a folder's artifacts; both roles' policies are run together.

    Args:
        folder: with `allocation/`, `tuning/` or `joint/`.
        spec: that they were made for.
        parameters: of the simulator; None is its default.

    Returns:
        The folders of the artifacts that have a new guard; one that was made for another spec is left alone.
    """
    changed = []
    for names in (tuple(str(role) for role in Role), (JOINT,)):
        policies = _loaded(folder, names, spec)
        if not policies:
            continue
        guard = fit_guard(spec, policies, parameters)
        for name in policies:
            attach_guard(folder / name, guard, _about(guard, list(policies)))
            changed.append(folder / name)
    return changed


def simulate(
    spec: SystemSpec,
    policies: Policies,
    seeds: tuple[int, ...],
    parameters: Parameters | None = None,
    *,
    periods: int = PERIODS,
) -> Seen:
    """Days of all families with randomised parameters, each begun from a random setting at a random time.

    Args:
        spec: of the system.
        policies: that act.
        seeds: of the days.
        parameters: of the simulator; None is its default.
        periods: of each day.
    """
    demands = load_demands(DemandConfig(seeds=seeds), spec.control_period_seconds)
    plant = SimulatedPlant(
        spec, demands, n=len(demands), parameters=parameters, randomize=True, random_start=True, peak_share=PEAK_SHARE
    )
    plant.reset(seed=SEED + seeds[0], demand_indices=np.arange(len(demands)))
    task = Task(spec, JOINT)
    random = np.random.default_rng(SEED + seeds[0]).uniform(-1.0, 1.0, plant.setting.shape)
    start = task.fit(task.knob_scaling.unscale(random))
    return see(spec, rollout(plant, policies, periods, start_setting=start))


def see(spec: SystemSpec, played: Rollout) -> Seen:
    """Observations of a rollout as its policies had them, and the rewards of the periods that followed."""
    task, recent = Task(spec, JOINT), Recent(spec, played.values.shape[1], hold_missing=True)
    observations, rewards = [], []
    for period, (values, setting) in enumerate(zip(played.values, played.settings, strict=True)):
        recent.append(Snapshot(float(period), values))
        if recent.full and period + 1 < len(played.values):
            observations.append(task.observe(recent, setting))
            after = period + 1
            terms = task.score(played.values[after], played.settings[after], played.previous[after])
            rewards.append(np.sum(list(terms.values()), axis=0))
    return Seen(np.stack(observations), np.stack(rewards))


def observe_recorded(spec: SystemSpec, values: np.ndarray, settings: np.ndarray) -> np.ndarray:
    """Observations of one recorded system, (n, n_observation); those with a reading missing are left out.

    Args:
        spec: of the system.
        values: (T, n_metrics), NaN where missing.
        settings: (T, n_knobs) in force.
    """
    task, recent, seen = Task(spec, JOINT), Recent(spec), []
    for period, (row, setting) in enumerate(zip(values, settings, strict=True)):
        recent.append(Snapshot(float(period), row))
        observation = task.observe(recent, setting)
        if recent.full and np.isfinite(observation).all():
            seen.append(observation)
    return np.stack(seen) if seen else np.empty((0, task.n_observation))


def _loaded(folder: Path, names: Sequence[str], spec: SystemSpec) -> dict[str, Policy]:
    policies: dict[str, Policy] = {}
    for name in names:
        with contextlib.suppress(ArtifactError):
            policies[name] = load(folder / name, spec, name)
    return policies


def _recorded(spec: SystemSpec) -> np.ndarray:
    """Of the shipped recordings that the simulator is fitted to; none for a spec that they were not made for."""
    try:
        recordings = read_recordings(spec, [Trace.load(path) for path in shipped_recordings(held_out=False)])
    except CalibrationError:
        return np.empty((0, Task(spec, JOINT).n_observation))
    return np.concatenate([observe_recorded(spec, each.values, each.settings) for each in recordings])


def _flat(observations: np.ndarray) -> np.ndarray:
    return observations.reshape(-1, observations.shape[-1])


def _about(guard: NoveltyGuard, roles: list[str]) -> dict[str, object]:
    return {
        "kind": "Mahalanobis distance, see docs/novelty.md",
        "policies": roles,
        "entries": len(guard.entries),
        "threshold": round(guard.guard.threshold, 4),
        "quantile": QUANTILE,
        "shrinkage": SHRINKAGE,
        "floor": FLOOR,
        "weights": WEIGHTS,
        "days": list(DAYS),
        "calibration_days": list(CALIBRATION_DAYS),
    }
