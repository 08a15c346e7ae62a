"""Finds the best static setting and the heuristics' parameters: evolution, one simulated batch a generation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import differential_evolution

from agents.heuristics.aimd import AimdParameters, AimdPolicy, BatchAimdPolicy
from agents.heuristics.static import StaticPolicy
from agents.heuristics.threshold import ThresholdParameters, ThresholdPolicy
from agents.policy import Policy
from agents.progress import Progress
from envs.scaling import KnobScaling
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.workload import Demand
from training.references import BEST_STATIC, HEURISTICS
from training.rollout import rollout
from training.scores import score_rollout

Bounds = dict[str, tuple[float, float]]

THRESHOLD_BOUNDS: Bounds = {
    "serving": (0.3, 0.95),
    "training": (0.3, 0.95),
    "ingest": (0.3, 0.95),
    "window_periods": (1.0, 40.0),
    "tolerance": (0.02, 0.3),
}
AIMD_BOUNDS: Bounds = {
    "increase_cores": (0.02, 0.4),
    "decrease": (0.5, 0.92),  # closer to 1 the move would be within the dead band
    "slack": (0.05, 0.8),
    "growth": (0.02, 1.0),
}
BATCH_BOUNDS: Bounds = {"increase_batch": (0.5, 8.0), "decrease_batch": (0.3, 0.99)}
"""Ranges of the search; they contain the published defaults."""


@dataclass(frozen=True)
class SearchConfig:
    """How much is tried. The same budget for the static setting and for each heuristic."""

    population: int = 48
    """Candidates in one generation."""
    generations: int = 25
    """Generations after the first, which is a Latin hypercube over the whole range."""
    periods: int = 240
    """Length of a candidate's episode on each demand."""
    peak_share: tuple[float, float] = (0.5, 0.95)
    """As in training, and with randomised parameters, as there: the references meet what the policies meet."""
    seed: int = 0

    @property
    def evaluations(self) -> int:
        """Candidates tried in all."""
        return self.population * (self.generations + 1)


Score = Callable[[np.ndarray], np.ndarray]
"""(S, n) candidates -> (S,) mean reward, higher is better."""
Make = Callable[[dict[str, np.ndarray], np.ndarray], dict[Role, Policy]]
"""A heuristic with the given parameters, (S * D,) each, that leaves the other knobs at a setting (n_knobs,)."""


def run_search(
    spec: SystemSpec,
    demands: Sequence[Demand],
    out: Path | None,
    *,
    config: SearchConfig | None = None,
    parameters: Parameters | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Search the best static setting, then each heuristic's parameters with the other knobs at it.

    Args:
        spec: the system.
        demands: training demands.
        out: folder for `best_static.json` and `heuristics.json`; None writes nothing.
        config: budget.
        parameters: of the simulator; None is its default.
        on_progress: called after every generation.

    Returns:
        `best_static` and `heuristics`, as in the files.
    """
    config = config or SearchConfig()
    trial = _Trial(spec, demands, config, parameters)
    how = {
        "fingerprint": spec.fingerprint,
        "method": "differential evolution (scipy), objective: mean reward on the training demands",
        "demands": [demand.name for demand in demands],
        **vars(config),
        "evaluations": config.evaluations,
    }
    report = _Counter(on_progress, 4 * (config.generations + 1))
    knobs = KnobScaling(spec.knobs)
    span = {knob.name: (-1.0, 1.0) for knob in spec.knobs}
    best, score = evolve(
        trial.statics, span, config, report.called("static setting"), start=knobs.scale(spec.default_setting)
    )
    setting = trial.setting(best)
    static = how | {"score": score, "setting": dict(zip(spec.knob_names, setting.tolist(), strict=True))}
    heuristics: dict[str, Any] = dict(how)
    for name, make, bounds in (
        ("threshold", trial.threshold, THRESHOLD_BOUNDS),
        ("aimd", trial.aimd, AIMD_BOUNDS),
        ("aimd+batch", trial.aimd_and_batch, AIMD_BOUNDS | BATCH_BOUNDS),
    ):
        found, score = evolve(trial.of(make, bounds, setting), bounds, config, report.called(name))
        heuristics[name] = {"score": score, "parameters": dict(zip(bounds, found.tolist(), strict=True))}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for file, content in ((BEST_STATIC, static), (HEURISTICS, heuristics)):
            (out / file).write_text(json.dumps(content, indent=2) + "\n")
    return {"best_static": static, "heuristics": heuristics}


def evolve(
    score: Score,
    bounds: Bounds,
    config: SearchConfig,
    on_generation: Callable[[float], None],
    *,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """Differential evolution (Storn and Price 1997) over a box; deterministic in the seed.

    Args:
        score: of a whole generation at once; must be deterministic.
        bounds: low and high of each parameter.
        config: budget.
        on_generation: called after each generation with its best score.
        start: (n,) a candidate of the first generation; None adds none.

    Returns:
        best candidate (n,), its score.
    """
    low, high = np.array(list(bounds.values())).T

    def loss(candidates: np.ndarray) -> np.ndarray:
        scores = score(candidates.T)  # scipy gives (n, S)
        on_generation(float(scores.max()))
        return -scores

    rng = np.random.default_rng(config.seed)
    strata = rng.permuted(np.tile(np.arange(config.population), (len(low), 1)), axis=1).T  # Latin hypercube, (S, n)
    first = low + (high - low) * (strata + rng.random(strata.shape)) / config.population
    if start is not None:
        first[0] = start
    found = differential_evolution(
        loss,
        list(zip(low, high, strict=True)),
        init=first,
        maxiter=config.generations,
        vectorized=True,
        updating="deferred",
        polish=False,
        tol=0.0,
        atol=-1.0,  # never converged: the budget ends the search, so that all searches get the same
        rng=config.seed,
    )
    return np.asarray(found.x), -float(found.fun)


class _Trial:
    """Scores candidates: each on every demand, all in one batch, always with the same seeds (paired)."""

    def __init__(
        self,
        spec: SystemSpec,
        demands: Sequence[Demand],
        config: SearchConfig,
        parameters: Parameters | None,
    ) -> None:
        self._spec, self._demands, self._config, self._parameters = spec, list(demands), config, parameters
        self._tasks = {role: Task(spec, role) for role in Role}
        self._knobs = KnobScaling(spec.knobs)

    def setting(self, candidates: np.ndarray) -> np.ndarray:
        """(..., n_knobs) in [-1, 1] -> settings in natural units that the host can grant."""
        return self._tasks[Role.ALLOCATION].fit_cpu(self._knobs.unscale(candidates))

    def statics(self, candidates: np.ndarray) -> np.ndarray:
        """Scores of settings (S, n_knobs), scaled to [-1, 1]."""
        settings = self._per_system(self.setting(candidates))  # (S * D, n_knobs)
        policies: dict[Role, Policy] = {role: StaticPolicy(task, settings) for role, task in self._tasks.items()}
        return self._score(policies, settings)

    def of(self, make: Make, bounds: Bounds, setting: np.ndarray) -> Score:
        """The score function of a heuristic's parameters, with the knobs that it leaves alone at `setting`."""

        def score(candidates: np.ndarray) -> np.ndarray:
            columns = dict(zip(bounds, self._per_system(candidates).T, strict=True))  # each (S * D,)
            settings = np.broadcast_to(setting, (len(candidates) * len(self._demands), len(setting)))
            return self._score(make(columns, setting), settings)

        return score

    def threshold(self, columns: dict[str, np.ndarray], setting: np.ndarray) -> dict[Role, Policy]:
        """The threshold rule with parameters (S * D,)."""
        policy = ThresholdPolicy(self._tasks[Role.ALLOCATION], ThresholdParameters(**columns))
        return {Role.ALLOCATION: policy, Role.TUNING: StaticPolicy(self._tasks[Role.TUNING], setting)}

    def aimd(self, columns: dict[str, np.ndarray], setting: np.ndarray) -> dict[Role, Policy]:
        """AIMD on cores."""
        policy = AimdPolicy(self._tasks[Role.ALLOCATION], AimdParameters(**columns))
        return {Role.ALLOCATION: policy, Role.TUNING: StaticPolicy(self._tasks[Role.TUNING], setting)}

    def aimd_and_batch(self, columns: dict[str, np.ndarray], setting: np.ndarray) -> dict[Role, Policy]:
        """AIMD on cores and on the serving batch."""
        parameters = AimdParameters(**columns)
        batch = BatchAimdPolicy(self._tasks[Role.TUNING], setting, parameters)
        return {Role.ALLOCATION: AimdPolicy(self._tasks[Role.ALLOCATION], parameters), Role.TUNING: batch}

    def _per_system(self, candidates: np.ndarray) -> np.ndarray:
        return np.repeat(candidates, len(self._demands), axis=0)

    def _score(self, policies: dict[Role, Policy], start: np.ndarray) -> np.ndarray:
        n, count = len(start), len(self._demands)
        plant = SimulatedPlant(
            self._spec,
            self._demands,
            n=n,
            parameters=self._parameters,
            randomize=True,
            peak_share=self._config.peak_share,
        )
        demand = np.tile(np.arange(count), n // count)
        plant.reset(seed=self._config.seed + demand, demand_indices=demand)  # the same noise for every candidate
        played = rollout(plant, policies, self._config.periods, start_setting=start)
        rewards = score_rollout(self._spec, played).reward  # (S * D,)
        return np.asarray(rewards.reshape(-1, count).mean(axis=1))


class _Counter:
    """Turns generations of several searches into one progress."""

    def __init__(self, on_progress: Progress | None, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0

    def called(self, name: str) -> Callable[[float], None]:
        """The callback of one search."""

        def generation(best: float) -> None:
            self._done += 1
            if self._on_progress:
                self._on_progress(self._done, self._total, f"{name}: best of the generation {best:.3f}")

        return generation
