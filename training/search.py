"""Finds the best static setting and the heuristics' parameters: evolution, one simulated batch a generation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.optimize import differential_evolution

from agents.heuristics.static import StaticPolicy
from agents.policy import Policy
from agents.progress import Progress
from envs.objective import Objective
from envs.scaling import KnobScaling
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.workload import Demand
from training.heuristics import HEURISTICS, Bounds, Heuristic
from training.references import BEST_STATIC, TUNED
from training.rollout import play

Score = Callable[[np.ndarray], np.ndarray]
"""(S, n) candidates -> (S,) mean reward, higher is better."""


@dataclass(frozen=True)
class SearchConfig:
    """How much is tried. The same budget for the static setting and for each heuristic."""

    population: int = 48
    """Candidates in one generation."""
    generations: int = 25
    """Generations after the first, which is a Latin hypercube over the whole range and what is default or published."""
    periods: int = 600
    """Length of a candidate's episode on each demand. Default: a whole compressed day, as in an evaluation; a rule that
    looks back for 300 periods has done nothing yet after 240."""
    every_demand: int = 2
    """One of so many demands is played, from the first on. Default 2: whole days of half of them tell more than parts
    of all, at the same price."""
    peak_share: tuple[float, float] = (0.5, 0.95)
    """As in training, and with randomised parameters, as there: the references meet what the policies meet."""
    seed: int = 0

    @property
    def evaluations(self) -> int:
        """Candidates tried in all."""
        return self.population * (self.generations + 1)


def run_search(
    spec: SystemSpec,
    demands: Sequence[Demand],
    out: Path | None,
    *,
    config: SearchConfig | None = None,
    parameters: Parameters | None = None,
    heuristics: Sequence[Heuristic] = HEURISTICS,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Search the best static setting, then each heuristic's parameters with the other knobs at it.

    Args:
        spec: the system.
        demands: training demands.
        out: folder for `best_static.json` and `heuristics.json`; None writes nothing.
        config: budget.
        parameters: of the simulator; None is its default.
        heuristics: which ones are tuned.
        on_progress: called after every generation.

    Returns:
        `best_static` and `heuristics`, as in the files.
    """
    config = config or SearchConfig()
    trial = Trial(spec, demands[:: config.every_demand], config, parameters)
    how = {
        "fingerprint": spec.fingerprint,
        "method": "differential evolution (scipy), objective: mean reward on the training demands",
        "demands": [demand.name for demand in trial.demands],
        **vars(config),
        "evaluations": config.evaluations,
    }
    report = _Counter(on_progress, (1 + len(heuristics)) * (config.generations + 1))
    span = {knob.name: (-1.0, 1.0) for knob in spec.knobs}
    begun = perf_counter()
    best, score = evolve(trial.statics, span, config, report.called("static setting"), start=trial.default)
    setting = trial.setting(best)
    static = {
        **how,
        "score": score,
        "seconds": round(perf_counter() - begun, 1),
        "setting": dict(zip(spec.knob_names, setting.tolist(), strict=True)),
    }
    tuned: dict[str, Any] = dict(how)
    for heuristic in heuristics:
        tuned[heuristic.name] = tune(heuristic, trial, setting, report.called(heuristic.name))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for file, content in ((BEST_STATIC, static), (TUNED, tuned)):
            (out / file).write_text(json.dumps(content, indent=2) + "\n")
    return {"best_static": static, "heuristics": tuned}


def tune(
    heuristic: Heuristic, trial: Trial, setting: np.ndarray, on_generation: Callable[[float], None]
) -> dict[str, Any]:
    """Search one heuristic's parameters, with the knobs that it leaves alone at `setting`, (n_knobs,).

    Returns:
        JSON-able: `score`, `published_score` (of the parameters as published, as near as the ranges allow), `seconds`
        that it took, `parameters`.
    """
    begun = perf_counter()
    score = trial.of(heuristic, setting)
    published = float(score(heuristic.start[None])[0])
    found, best = evolve(score, heuristic.ranges, trial.config, on_generation, start=heuristic.start)
    return {
        "score": best,
        "published_score": published,
        "seconds": round(perf_counter() - begun, 1),
        "parameters": dict(zip(heuristic.ranges, found.tolist(), strict=True)),
    }


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


class Trial:
    """Scores candidates: each on every demand, all in one batch, always with the same seeds (paired).

    As in an evaluation, all begin with the static default in force.

    Args:
        spec: the system.
        demands: that every candidate meets.
        config: length, load, seed.
        parameters: of the simulator; None is its default.
    """

    def __init__(
        self, spec: SystemSpec, demands: Sequence[Demand], config: SearchConfig, parameters: Parameters | None = None
    ) -> None:
        self.demands, self.config = list(demands), config
        self._spec, self._parameters = spec, parameters
        self._tasks = {role: Task(spec, role) for role in Role}
        self._knobs, self._objective = KnobScaling(spec.knobs), Objective(spec)
        self.default = self._knobs.scale(spec.default_setting)
        """The static default as a candidate, (n_knobs,) in [-1, 1]."""

    def setting(self, candidates: np.ndarray) -> np.ndarray:
        """(..., n_knobs) in [-1, 1] -> settings in natural units that the host can grant."""
        return self._tasks[Role.ALLOCATION].fit(self._knobs.unscale(candidates))

    def statics(self, candidates: np.ndarray) -> np.ndarray:
        """Scores of settings (S, n_knobs), scaled to [-1, 1]."""
        settings = self._per_system(self.setting(candidates))  # (S * D, n_knobs)
        policies = {role: StaticPolicy(task, settings) for role, task in self._tasks.items()}
        return self._score(policies, len(candidates))

    def of(self, heuristic: Heuristic, setting: np.ndarray) -> Score:
        """The score function of a heuristic's parameters, with the knobs that it leaves alone at `setting`."""

        def score(candidates: np.ndarray) -> np.ndarray:
            columns = dict(zip(heuristic.ranges, self._per_system(candidates).T, strict=True))  # each (S * D,)
            return self._score(heuristic.policies(self._spec, setting, columns), len(candidates))

        return score

    def _per_system(self, candidates: np.ndarray) -> np.ndarray:
        return np.repeat(candidates, len(self.demands), axis=0)

    def _score(self, policies: Mapping[Role, Policy], candidates: int) -> np.ndarray:
        """(S,) mean reward over periods and demands, of policies for S * D systems."""
        count = len(self.demands)
        n = candidates * count
        plant = SimulatedPlant(
            self._spec,
            self.demands,
            n=n,
            parameters=self._parameters,
            randomize=True,
            peak_share=self.config.peak_share,
        )
        demand = np.tile(np.arange(count), candidates)
        plant.reset(seed=self.config.seed + demand, demand_indices=demand)  # the same noise for every candidate
        rewards = np.zeros(n)
        # Added up as they come: to keep every period of 2000 systems takes more time than to simulate them.
        for period in islice(play(plant, policies), self.config.periods):
            assessed = self._objective.assess(period.values, period.setting, period.moved)
            rewards += sum(assessed.terms.values())
        return np.asarray(rewards.reshape(-1, count).mean(axis=1) / self.config.periods)


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
