"""Judges policies: the same demands and seeds for all, paired, with intervals; whoever wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from agents.progress import Progress
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.workload import Demand
from training.demands import fit_demand
from training.leak import PolicySource, future_leak
from training.rollout import rollout
from training.scores import Scores, score_rollout
from training.verdict import STATIC, Played, Verdict

SYSTEMS_AT_ONCE = 512
"""Episodes in one batch. Microseconds per system and period (AIMD): 26 with 21, 5.6 with 128, 2.7 with 512, 2.0 with
1024, where keeping all readings begins to take hundreds of MB."""
Kind = Literal["static", "rule", "search", "learned", "oracle"]


class EvaluationError(ValueError):
    """An evaluation that cannot be made; one line."""


@dataclass(frozen=True)
class Contestant:
    """A way to control the system."""

    kind: Kind
    """`rule`: a published heuristic; `search`: weights found by black-box search; `oracle`: an upper bound."""
    policies: tuple[PolicySource, ...]
    """One for each training seed; one where nothing was trained."""
    obtained_seconds: float | None = None
    """Wall-clock time that it took to obtain it; None where nobody knows."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What every policy is put through."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each gives other arrivals, noise and (with `randomize`) parameters on every demand."""
    episode_seconds: float = 600.0
    """Longer demands are compressed in time so that an episode covers all of them."""
    peak_share: float = 0.8
    """Peak load, as a share of what the system can do."""
    randomize: bool = False
    """Whether the simulator's parameters differ from seed to seed, as in training."""


def run_evaluate(
    spec: SystemSpec,
    contestants: Mapping[str, Contestant],
    demands: Sequence[Demand],
    *,
    config: EvaluationConfig | None = None,
    parameters: Parameters | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Run every contestant on every demand and seed.

    Args:
        spec: the system.
        contestants: by name; must hold `static`, the static default, which efficiencies are relative to. The one to be
            judged is `ppo`, or else the last.
        demands: traces, best such as were never trained on.
        config: seeds, length, load.
        parameters: of the simulator; None is its default.
        on_progress: called after every contestant.

    Returns:
        JSON-able, see docs/evaluation.md.

    Raises:
        EvaluationError: no `static` among the contestants, no demand, or the judged policy knows the future.
        NotReproducible: a policy acts differently on the same observations.
    """
    config = config or EvaluationConfig()
    if STATIC not in contestants or not demands:
        raise EvaluationError(
            f"an evaluation needs the policy {STATIC!r} and a demand, given {list(contestants)}, {len(demands)} demands"
        )
    judged = "ppo" if "ppo" in contestants else list(contestants)[-1]
    leaks = {name: _leaks(spec, contestant, parameters) for name, contestant in contestants.items()}
    if leaks[judged]:
        raise EvaluationError(f"{judged!r} acts on demand that is still to come: no such policy can exist")
    fitted = [fit_demand(demand, config.episode_seconds, spec.control_period_seconds) for demand in demands]
    played: dict[str, Played] = {}
    for i, (name, contestant) in enumerate(contestants.items()):
        scores = [_play(spec, source, fitted, config, parameters) for source in contestant.policies]
        played[name] = Played(contestant.kind, _joined(scores), contestant.obtained_seconds, leaks[name])
        if on_progress:
            on_progress(i + 1, len(contestants), f"{name} done")
    traces = [demand.name for demand in fitted]
    return {"spec": spec.name, "judged": judged, **Verdict(spec, played, traces, len(config.seeds)).result(judged)}


def _leaks(spec: SystemSpec, contestant: Contestant, parameters: Parameters | None) -> bool:
    """Whether a contestant knows the future; the oracle says so itself."""
    if contestant.kind == "oracle":
        return False
    return any(future_leak(spec, source, parameters) for source in contestant.policies)


def _play(
    spec: SystemSpec,
    source: PolicySource,
    demands: Sequence[Demand],
    config: EvaluationConfig,
    parameters: Parameters | None,
) -> Scores:
    """Scores of one policy; episode `d * n_seeds + s` is demand d with seed s."""
    periods = round(config.episode_seconds / spec.control_period_seconds)
    # An oracle tries dozens of copies of each system, and its candidates must not depend on the number of seeds.
    at_once = 1 if callable(source) else max(1, SYSTEMS_AT_ONCE // len(demands))
    parts = []
    for start in range(0, len(config.seeds), at_once):
        seeds = np.array(config.seeds[start : start + at_once])
        demand = np.tile(np.arange(len(demands)), len(seeds))
        plant = SimulatedPlant(
            spec,
            demands,
            n=len(demand),
            parameters=parameters,
            randomize=config.randomize,
            peak_share=config.peak_share,
        )
        # No noise is shared between two episodes, and none depends on which others are in the batch.
        plant.reset(seed=np.repeat(seeds, len(demands)) * 100_003 + demand, demand_indices=demand)
        policies = source(plant) if callable(source) else source
        parts.append(score_rollout(spec, rollout(plant, policies, periods, start_setting=spec.default_setting)))
    by_seed = _joined(parts)
    shape = (len(config.seeds), len(demands))

    def by_demand(figure: np.ndarray) -> np.ndarray:
        return np.moveaxis(figure.reshape(*shape, *figure.shape[1:]), 0, 1).reshape(figure.shape)

    return Scores(*(by_demand(getattr(by_seed, f.name)) for f in fields(Scores)))


def _joined(parts: Sequence[Scores]) -> Scores:
    return Scores(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Scores)))
