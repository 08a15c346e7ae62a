"""Evolution of candidates, a generation at a time: how much is tried, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import differential_evolution

Score = Callable[[np.ndarray], np.ndarray]
"""(S, n) candidates in [-1, 1] -> (S,), higher is better."""


@dataclass(frozen=True)
class SearchConfig:
    """How much is tried: the same for each heuristic."""

    population: int = 48
    """Candidates in one generation."""
    generations: int = 20
    """Of a heuristic, after the first."""
    static_generations: int = 60
    """Of the static setting, after the first. Every heuristic's search begins where this one ends: after 20 generations
    two seeds were 1.2 % apart, after 60 only 0.05 %."""
    knob_spread: float = 0.3
    """How far around the best static setting a heuristic's first generation holds the knobs, as a standard deviation in
    the scaled range [-1, 1]. What is best without a rule need not be so beside it: held at the best static setting,
    the fast HPA scored 1.03, with values found for it 1.15 (20 generations both)."""
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


def evolve(
    score: Score,
    config: SearchConfig,
    on_generation: Callable[[float], None],
    *,
    start: np.ndarray,
    spread: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """Differential evolution (Storn and Price 1997) over [-1, 1]^n; deterministic in the seed.

    Args:
        score: of a whole generation at once; must be deterministic.
        config: budget.
        on_generation: called after each generation with its best score.
        start: (n,) a candidate of the first generation.
        spread: (n,) standard deviation of the others around it; infinite for a Latin hypercube over the whole range,
            as which None stands for all.

    Returns:
        best candidate (n,), its score.
    """

    def loss(candidates: np.ndarray) -> np.ndarray:
        scores = score(candidates.T)  # scipy gives (n, S)
        on_generation(float(scores.max()))
        return -scores

    rng = np.random.default_rng(config.seed)
    strata = rng.permuted(np.tile(np.arange(config.population), (len(start), 1)), axis=1).T  # Latin hypercube, (S, n)
    first = 2.0 * (strata + rng.random(strata.shape)) / config.population - 1.0
    if spread is not None:
        near = np.isfinite(spread)
        first[:, near] = np.clip(rng.normal(start[near], spread[near], first[:, near].shape), -1.0, 1.0)
    first[0] = start
    found = differential_evolution(
        loss,
        [(-1.0, 1.0)] * len(start),
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
