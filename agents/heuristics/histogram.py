"""The decaying histogram of cluster autoscalers: exponential buckets, weights that halve every half-life.

Source: kubernetes/autoscaler `vertical-pod-autoscaler/pkg/recommender/util/{histogram,decaying_histogram}.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from agents.heuristics.knobs import Number

FIRST, GROWTH = 0.01, 1.05
"""Width of the first bucket, cores, and by how much each is wider than the one before (VPA's values for CPU)."""


class DecayingHistogram:
    """Weighted histograms of N systems' CPU use.

    Args:
        half_life_periods: after which a sample counts half; a number or (N,).
        most: cores; what is above lands in the last bucket.
    """

    def __init__(self, half_life_periods: Number, most: float) -> None:
        self._keep = 2.0 ** (-1.0 / np.asarray(half_life_periods, dtype=float))
        starts = np.arange(int(_bucket(np.asarray(most))) + 2)
        self._starts = FIRST * (GROWTH**starts - 1.0) / (GROWTH - 1.0)  # of every bucket, and of one more
        self.clear()

    def clear(self) -> None:
        """Forget all samples."""
        self._weights: np.ndarray | None = None  # (n_buckets, ...)

    def add(self, cores: np.ndarray, weights: np.ndarray | float = 1.0) -> None:
        """Let a period pass and add a sample of each system, (..., N); a missing one (NaN) adds nothing.

        Args:
            cores: used.
            weights: how much they count.
        """
        if self._weights is None:
            self._weights = np.zeros((len(self._starts) - 1, *np.shape(cores)))
        self._weights *= self._keep
        there = np.isfinite(cores)
        bucket = np.minimum(_bucket(np.where(there, cores, 0.0)), len(self._weights) - 1)
        columns = self._weights.reshape(len(self._weights), -1)  # a view
        columns[np.ravel(bucket), np.arange(columns.shape[1])] += np.ravel(np.where(there, weights, 0.0))

    def percentiles(self, shares: Sequence[Number]) -> list[np.ndarray]:
        """The end of the bucket that holds each share of the weight, (..., N); NaN where there is no sample.

        Args:
            shares: in (0, 1], numbers or arrays that broadcast with (..., N).
        """
        if self._weights is None:
            raise ValueError("a histogram without a sample has no percentiles; add one first")
        upto = self._weights.copy()
        for before, now in pairwise(upto):  # ten times as fast as np.cumsum along the first axis
            now += before
        total, last = upto[-1], len(upto) - 1
        found = []
        for share in shares:
            bucket = np.minimum((upto < share * total).sum(axis=0, dtype=np.int16), last)
            end = self._starts[np.where(bucket < last, bucket + 1, bucket)]  # VPA: of the last bucket, the start
            found.append(np.where(total > 0.0, end, np.nan))
        return found


def _bucket(cores: np.ndarray) -> np.ndarray:
    """Bucket of each value: the widths grow, so the first reaches to FIRST, the second to FIRST * (1 + GROWTH)."""
    grown = np.log1p(np.maximum(cores, 0.0) * (GROWTH - 1.0) / FIRST) / np.log(GROWTH)
    return np.where(cores < FIRST, 0, np.floor(grown)).astype(int)
