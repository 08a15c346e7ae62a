"""Finds the best static setting and the best that each heuristic can do: one simulated batch a generation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from agents.progress import Progress
from envs.simulator.parameters import Parameters
from envs.spec import SystemSpec
from telemetry.workload import Demand
from training.candidates import CandidateScorer
from training.evolution import SearchConfig, evolve
from training.heuristics import HEURISTICS, Heuristic
from training.references import BEST_STATIC, TUNED


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
    """Search the best static setting, then each heuristic's parameters and the setting that it moves in.

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
    scorer = CandidateScorer(spec, demands[:: config.every_demand], config, parameters)
    for_static = replace(config, generations=config.static_generations)
    total = 1 + for_static.generations + len(heuristics) * (1 + config.generations)
    report = _Counter(on_progress, total)
    begun = perf_counter()
    best, score = evolve(scorer.statics, for_static, report.called("static setting"), start=scorer.default)
    static = {
        **_how(spec, scorer, for_static),
        "score": score,
        "seconds": round(perf_counter() - begun, 1),
        "setting": scorer.named(best),
    }
    tuned = _how(spec, scorer, config)
    for heuristic in heuristics:
        tuned[heuristic.name] = tune(heuristic, scorer, best, report.called(heuristic.name))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for file, content in ((BEST_STATIC, static), (TUNED, tuned)):
            (out / file).write_text(json.dumps(content, indent=2) + "\n")
    return {"best_static": static, "heuristics": tuned}


def tune(
    heuristic: Heuristic, scorer: CandidateScorer, static: np.ndarray, on_generation: Callable[[float], None]
) -> dict[str, Any]:
    """Search a heuristic's parameters together with the values of the knobs that it leaves alone.

    Args:
        heuristic: which.
        scorer: of its candidates.
        static: (n_knobs,) best static setting, scaled to [-1, 1], that the search starts from.
        on_generation: called after each generation with its best score.

    Returns:
        JSON-able: `score`, `published_score` (of the parameters as published, as near as the ranges allow, at the best
        static setting), `seconds` that it took, `parameters`, `setting` (what it says of the knobs that the heuristic
        moves means nothing).
    """
    begun, count = perf_counter(), len(heuristic.ranges)
    score, start = scorer.of(heuristic), np.concatenate([heuristic.start, static])
    spread = np.concatenate([np.full(count, np.inf), np.full(len(static), scorer.config.knob_spread)])
    found, best = evolve(score, scorer.config, on_generation, start=start, spread=spread)
    return {
        "score": best,
        "published_score": float(score(start[None])[0]),
        "seconds": round(perf_counter() - begun, 1),
        "parameters": {name: float(value) for name, value in heuristic.parameters(found[:count]).items()},
        "setting": scorer.named(found[count:]),
    }


def _how(spec: SystemSpec, scorer: CandidateScorer, config: SearchConfig) -> dict[str, Any]:
    """What a result says of how it was found."""
    return {
        "fingerprint": spec.setting_fingerprint,
        "method": "differential evolution (scipy), objective: mean reward on the training demands",
        "demands": [demand.name for demand in scorer.demands],
        **vars(config),
        "evaluations": config.evaluations,
    }


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
