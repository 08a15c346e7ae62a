"""What the guard of a policy and the checks of readings find, and how often they are wrong.

Judged on days, traces and recordings that nothing was fitted to. A perturbed observation is found when it is strange at
once (`per_period`), or when a policy is not asked within ten periods (`acted_on`: three strange ones of five, or a
reading that is not believed).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.artifact import ArtifactError, load, shipped_directory
from agents.novelty import NoveltyGuard
from controller.novelty import OF_PERIODS, STRANGE
from controller.validity import LEARNING_PERIODS, Fault, Validity
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from telemetry.metrics import Snapshot
from telemetry.public_traces import demands_in
from telemetry.trace import Trace
from telemetry.workload import Demand
from training.calibration import shipped_recordings
from training.demands import DemandConfig, fit_demand, load_demands
from training.guard import observe_recorded, see
from training.protocol import load_protocol
from training.recording import read_recordings
from training.rollout import Policies, Rollout, rollout

PERIODS = 600
SYSTEMS = 3
"""Episodes of each demand."""
WITHIN = 10
HOST_CORES = 2.0
FOUND_WITHIN = 60
"""Periods in which a sensor that stands still must be found."""
SEED = 90_210

Perturb = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def bench_guard(
    folder: Path | None = None,
    traces: Path | None = None,
    *,
    spec_source: str = "reference",
    seeds: tuple[int, ...] | None = None,
    periods: int = PERIODS,
) -> dict[str, Any]:
    """False alarms and detection of a folder's policies.

    Args:
        folder: with `allocation/` and `tuning/`; None takes the shipped ones.
        traces: folder of public traces, those that the protocol declares as test data count; None leaves them out.
        spec_source: name or file of the spec.
        seeds: of the generated days; None takes the protocol's test days.
        periods: of each episode; 500 or more, since readings are learnt from before they can be called frozen.

    Returns:
        `false_alarms` {source: {`per_period`, `not_asked`, `not_believed`}}, `detection` {perturbation: {`per_period`,
        `acted_on`}}, `stuck` {`judged`, `found`}, `seconds_per_check` {`distance`, `validity`}, `threshold`.

    Raises:
        ArtifactError, SpecError, TraceError: one line each.
    """
    spec, models = SystemSpec.load(spec_source), folder or shipped_directory(Role.ALLOCATION).parent
    policies = {role: load(models / role, spec, role) for role in Role}
    guard = policies[Role.ALLOCATION].guard
    if guard is None:
        raise ArtifactError(f"the policies in {str(models)!r} have no guard; fit one: trimtab train --guard-only")
    generated = load_demands(DemandConfig(seeds=seeds or load_protocol().seeds("test")), spec.control_period_seconds)
    days = _played(spec, policies, generated, periods)
    false_alarms = {"generated days": _false_alarms(spec, guard, days)}
    for demand in _declared(spec, traces):
        false_alarms[demand.name] = _false_alarms(spec, guard, _played(spec, policies, [demand], periods))
    false_alarms["testbed, random settings"] = _recorded_alarms(spec, guard)
    return {
        "policies": str(models),
        "threshold": guard.guard.threshold,
        "false_alarms": false_alarms,
        "detection": _detection(spec, guard, days),
        "stuck": _stuck(spec, days),
        "seconds_per_check": _cost(spec, guard, days),
    }


def k_of_n(strange: np.ndarray) -> np.ndarray:
    """(T, N) bool -> (T, N) bool: whether the policy is not asked, see `controller.novelty`."""
    padded = np.concatenate([np.zeros((OF_PERIODS, strange.shape[1])), np.cumsum(strange, axis=0)])
    return np.asarray(padded[OF_PERIODS:] - padded[: len(strange)] >= STRANGE)


def _declared(spec: SystemSpec, traces: Path | None) -> list[Demand]:
    """The public traces that policies are judged on, each fitted to an episode."""
    if traces is None:
        return []
    from training.protocol import trace_status

    demands = demands_in(traces, {})
    status = trace_status(load_protocol(), demands)
    chosen = [demand for demand, line in zip(demands, status, strict=True) if line["set"] == "test"]
    return [fit_demand(demand, float(PERIODS), spec.control_period_seconds) for demand in chosen]


def _played(spec: SystemSpec, policies: Policies, demands: Sequence[Demand], periods: int) -> Rollout:
    """As `trimtab evaluate` does it: from the static default, with randomised parameters."""
    n = len(demands) * SYSTEMS
    plant = SimulatedPlant(spec, demands, n=n, randomize=True)
    plant.reset(seed=SEED, demand_indices=np.arange(n) % len(demands))
    return rollout(plant, policies, periods, start_setting=spec.default_setting)


def _false_alarms(spec: SystemSpec, guard: NoveltyGuard, played: Rollout) -> dict[str, float]:
    strange = guard.is_strange(see(spec, played).observations)  # (T, N)
    systems = range(SYSTEMS)
    doubted = [_doubted(spec, played.values[:, i], played.settings[:, i]).mean() for i in systems]
    return _rates(strange, float(np.mean(doubted)))


def _recorded_alarms(spec: SystemSpec, guard: NoveltyGuard) -> dict[str, float]:
    """Of the held-out recordings, whose settings are drawn at random: the far end of what is still no alarm."""
    recordings = read_recordings(spec, [Trace.load(path) for path in shipped_recordings(held_out=True)])
    strange = [guard.is_strange(observe_recorded(spec, each.values, each.settings)) for each in recordings]
    doubted = np.concatenate([_doubted(spec, each.values, each.settings) for each in recordings])
    return _rates(np.concatenate(strange)[:, None], float(doubted.mean()))


def _rates(strange: np.ndarray, doubted: float) -> dict[str, float]:
    return {
        "per_period": float(strange.mean()),
        "not_asked": float(k_of_n(strange).mean()),
        "not_believed": doubted,
    }


def _doubted(spec: SystemSpec, values: np.ndarray, settings: np.ndarray, checks: Validity | None = None) -> np.ndarray:
    """(T,) bool: periods of one system in which a reading that is there is not believed; `checks` go on from before."""
    checks, found = checks or Validity(spec, host_cores=HOST_CORES, limits_hold=True), []
    for period, (row, setting) in enumerate(zip(values, settings, strict=True)):
        findings = checks.check(Snapshot(float(period), row), setting)[1]
        found.append(any(finding.fault is not Fault.MISSING for finding in findings))
    return np.array(found)


def _detection(spec: SystemSpec, guard: NoveltyGuard, played: Rollout) -> dict[str, dict[str, float]]:
    """Each perturbation of the policies' own observations, or of the readings that these are made of."""
    seen, random = see(spec, played).observations, np.random.default_rng(SEED)
    flat = seen.reshape(-1, seen.shape[-1])
    spread = flat.std(axis=0)
    of_observations: Mapping[str, np.ndarray] = {
        "shuffled columns": np.stack([random.permutation(column) for column in flat.T], axis=1).reshape(seen.shape),
        "noise of 1 sd": seen + random.normal(size=seen.shape) * spread,
        "noise of 4 sd": seen + 4.0 * random.normal(size=seen.shape) * spread,
    }
    found = {name: _found(guard.is_strange(changed)) for name, changed in of_observations.items()}
    cpu = [spec.catalogue.index(objective.cpu_used) for objective in spec.workloads.values()]
    for name, columns, factor in (("all readings zero", slice(None), 0.0), ("CPU readings x 3", cpu, 3.0)):
        values = played.values.copy()
        values[LEARNING_PERIODS:, :, columns] *= factor
        changed = see(spec, Rollout(values, played.settings, played.previous)).observations
        since = LEARNING_PERIODS - spec.window_periods + 1
        found[name] = _found(guard.is_strange(changed)[since:], _doubts_after(spec, values, played.settings))
    return found


def _found(strange: np.ndarray, doubted: np.ndarray | None = None) -> dict[str, float]:
    """Of (T, N) strange ones, and of (N,) systems in which readings were doubted within `WITHIN` periods."""
    blocks = len(strange) // WITHIN
    acted: np.ndarray = np.any(k_of_n(strange)[: blocks * WITHIN].reshape(blocks, WITHIN, -1), axis=1)  # (blocks, N)
    if doubted is not None:
        acted = acted[0, : len(doubted)] | doubted
    return {"per_period": float(strange.mean()), "acted_on": float(acted.mean())}


def _doubts_after(spec: SystemSpec, values: np.ndarray, settings: np.ndarray) -> np.ndarray:
    """(N,) bool: whether a reading is doubted within `WITHIN` periods of the change; of some systems."""
    until = LEARNING_PERIODS + WITHIN
    found = [_doubted(spec, values[:until, i], settings[:until, i])[LEARNING_PERIODS:].any() for i in range(SYSTEMS)]
    return np.array(found)


def _stuck(spec: SystemSpec, played: Rollout) -> dict[str, float]:
    """One sensor after the other keeps its value: how many are found, of those that moved before."""
    values, settings = played.values[:, 0], played.settings[:, 0]
    begin = LEARNING_PERIODS + 100
    learnt = Validity(spec, host_cores=HOST_CORES, limits_hold=True)
    _doubted(spec, values[:begin], settings[:begin], learnt)
    moving = np.flatnonzero((np.diff(values[:begin], axis=0) != 0).mean(axis=0) > 0.5)
    after, found = slice(begin, begin + FOUND_WITHIN), []
    for metric in moving:
        held = values[after].copy()
        held[:, metric] = values[begin - 1, metric]
        found.append(bool(_doubted(spec, held, settings[after], copy.deepcopy(learnt)).any()))
    return {"judged": float(len(moving)), "of": float(values.shape[1]), "found": float(np.mean(found))}


def _cost(spec: SystemSpec, guard: NoveltyGuard, played: Rollout) -> dict[str, float]:
    """Median seconds of one check, of one observation and of one snapshot."""
    observation = see(spec, Rollout(*(part[:50] for part in (played.values, played.settings, played.previous))))[0][
        0, 0
    ]
    checks = Validity(spec, host_cores=HOST_CORES, limits_hold=True)
    values, settings = played.values[:, 0], played.settings[:, 0]

    def distance(_: int) -> None:
        guard.distance(observation)

    def validity(i: int) -> None:
        checks.check(Snapshot(float(i), values[i]), settings[i])

    return {"distance": _median_seconds(distance), "validity": _median_seconds(validity)}


def _median_seconds(what: Callable[[int], None], calls: int = 300) -> float:
    spent = []
    for i in range(calls):
        begin = time.perf_counter()
        what(i)
        spent.append(time.perf_counter() - begin)
    return float(np.median(spent))
