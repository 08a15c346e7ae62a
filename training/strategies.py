"""Black-box search over real vectors, a generation at a time: random search, (1+1)-ES and separable CMA-ES."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from training.extras import extra

SUCCESS_SHARE = 0.2
"""Of the children; Rechenberg's rule (1973) keeps the step so long that one in five is better."""


class Strategy(Protocol):
    """Proposes candidates and learns from how good they were; more is better."""

    population: int
    """S, candidates in a generation."""

    def ask(self) -> np.ndarray:
        """(S, n) candidates."""
        ...

    def tell(self, candidates: np.ndarray, scores: np.ndarray) -> None:
        """Learn the scores (S,) of the candidates (S, n) that were asked for last."""
        ...

    @property
    def best(self) -> np.ndarray:
        """(n,): the answer so far."""
        ...


class RandomSearch:
    """The best of many Gaussian steps from the start, their lengths log-uniform.

    The best so far meets every generation's episodes again: what won by luck does not stay.

    Args:
        start: (n,).
        spread: longest standard deviation of a step; the shortest is a hundredth of it.
        population: S.
        seed: of the steps.
    """

    def __init__(self, start: np.ndarray, spread: float, population: int, seed: int) -> None:
        self.population, self._start, self._spread = population, start, spread
        self._rng, self._best = np.random.default_rng(seed), start

    def ask(self) -> np.ndarray:
        """(S, n): the best so far, and S - 1 new ones."""
        lengths = self._spread * 10.0 ** self._rng.uniform(-2.0, 0.0, (self.population - 1, 1))
        steps = lengths * self._rng.standard_normal((self.population - 1, len(self._start)))
        return np.concatenate([self._best[None], self._start + steps])

    def tell(self, candidates: np.ndarray, scores: np.ndarray) -> None:
        """Keep the best of the generation."""
        self._best = candidates[np.argmax(scores)]

    @property
    def best(self) -> np.ndarray:
        """(n,)."""
        return self._best


class OnePlusOne:
    """(1+1)-ES with Rechenberg's 1/5 rule: a child takes its parent's place if it is better on the same episodes.

    Args:
        start: (n,) the first parent.
        spread: standard deviation of the first steps.
        seed: of the steps.
    """

    population = 2

    def __init__(self, start: np.ndarray, spread: float, seed: int) -> None:
        self._rng, self._best, self.spread = np.random.default_rng(seed), start, spread

    def ask(self) -> np.ndarray:
        """(2, n): parent and child."""
        return np.stack([self._best, self._best + self.spread * self._rng.standard_normal(len(self._best))])

    def tell(self, candidates: np.ndarray, scores: np.ndarray) -> None:
        """Choose the parent of the next generation and the length of its step."""
        success = scores[1] > scores[0]
        self._best = candidates[int(success)]
        self.spread *= math.exp((float(success) - SUCCESS_SHARE) / (1.0 - SUCCESS_SHARE) / 3.0)

    @property
    def best(self) -> np.ndarray:
        """(n,): the parent."""
        return self._best


class CmaEs:
    """CMA-ES with a diagonal covariance (Ros and Hansen 2008), of the library `cmaes`: for hundreds of dimensions.

    Args:
        start: (n,) the first mean.
        spread: standard deviation of the first generation.
        seed: of the steps.
        population: S; None for the library's 4 + 3 ln n.

    Raises:
        MissingExtra: `cmaes` is not installed.
    """

    def __init__(self, start: np.ndarray, spread: float, seed: int, population: int | None = None) -> None:
        self._search = extra("cmaes").SepCMA(start.astype(float), spread, seed=seed, population_size=population)
        self.population = int(self._search.population_size)

    def ask(self) -> np.ndarray:
        """(S, n)."""
        return np.stack([self._search.ask() for _ in range(self.population)])

    def tell(self, candidates: np.ndarray, scores: np.ndarray) -> None:
        """Move the distribution towards the better half."""
        self._search.tell([(candidate, -float(score)) for candidate, score in zip(candidates, scores, strict=True)])

    @property
    def best(self) -> np.ndarray:
        """(n,): the mean of the distribution, better than its samples where scores are noisy."""
        return np.array(self._search.mean)  # a copy: the library changes it in place
