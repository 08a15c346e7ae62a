"""Comparisons that hold: paired, with confidence intervals, robust to a lucky episode."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

RESAMPLES = 5_000
"""Bootstrap resamples: the ends of a 95 % interval are then exact to about 1 % of its width."""
LEVEL = 0.95
Interval = tuple[float, float]
"""Low and high end at `LEVEL`."""


def interquartile_mean(samples: np.ndarray) -> float:
    """Mean of the middle half of the samples, (n,) -> float (Agarwal et al. 2021, "statistical precipice").

    The outermost samples count with a fraction where n is no multiple of four.
    """
    flat = np.asarray(samples, dtype=float).ravel()
    return float(_interquartile(flat, np.ones((1, len(flat))))[0])


@lru_cache(maxsize=8)
def resample_counts(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """How often each sample occurs in each bootstrap resample.

    Traces and training seeds are drawn first, crossed, since what is common to all episodes of a trace or of a trained
    policy does not average out over episodes; then, within every trace and training seed (the strata of Agarwal et al.
    2021), episodes.

    Args:
        shape: (n_policies, n_traces, n_episodes): training seeds, traces, episodes of each on each.
        seed: the same seed gives the same resamples, so that two figures of one evaluation are resampled alike.

    Returns:
        (RESAMPLES, n_policies * n_traces * n_episodes) float32, read-only; a row sums to the number of samples.
    """
    policies, traces, episodes = shape
    rng = np.random.default_rng(seed)
    drawn_traces = rng.multinomial(traces, np.full(traces, 1 / traces), RESAMPLES)  # (R, n_traces)
    drawn_policies = rng.multinomial(policies, np.full(policies, 1 / policies), RESAMPLES)  # (R, n_policies)
    cells = drawn_policies[:, :, None] * drawn_traces[:, None]  # (R, n_policies, n_traces)
    counts = rng.multinomial(cells * episodes, np.full(episodes, 1 / episodes))  # (R, ..., n_episodes)
    flat = counts.reshape(RESAMPLES, -1).astype(np.float32)
    flat.flags.writeable = False
    return flat


def interval(resampled: np.ndarray, level: float = LEVEL) -> Interval:
    """Percentile interval of a figure, given its value in every resample, (R,)."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_means(samples: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The mean in every resample, (RESAMPLES,).

    Args:
        samples: (n,) episodes, (n_traces, n), or (n_policies, n_traces, n).
        seed: of the resampling.
    """
    stacked = _stacked(samples)
    centre = stacked.mean()  # in float32, which the counts are, what deviates from the mean is exact enough
    deviations = resample_counts(stacked.shape, seed) @ (stacked - centre).ravel().astype(np.float32)
    return np.asarray(centre + deviations.astype(float) / stacked.size)


def bootstrap_interval(samples: np.ndarray, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean.

    Args:
        samples: (n,) independent samples, or (n_groups, n) samples of equally large groups: groups are resampled first,
            then samples within each, since seeds on one trace are no independent traces; or
            (n_policies, n_groups, n), where policies of several training seeds are resampled, too.
        level: coverage.
        seed: of the resampling; the same seed gives the same interval.

    Returns:
        low, high; both equal the sample when there is only one.
    """
    return interval(resampled_means(samples, seed=seed), level)


def relative_gain(ours: np.ndarray, theirs: np.ndarray, *, seed: int = 0) -> tuple[float, Interval]:
    """How much better `ours` is than `theirs`, paired episode by episode: 0.4 means 40 % more.

    The geometric mean of the ratios: swapping the two gives the inverse, and equal but noisy policies tie; a mean of
    ratios would favour whichever stands in the numerator.

    Args:
        ours: positive figures in a shape that `bootstrap_interval` takes.
        theirs: the same episodes; the same shape, or without the training seeds.
        seed: of the bootstrap.

    Returns:
        gain, (low, high) at 95 %.
    """
    logs = log_ratios(ours, theirs)
    low, high = bootstrap_interval(logs, seed=seed)
    return float(np.expm1(logs.mean())), (float(np.expm1(low)), float(np.expm1(high)))


def log_ratios(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Logarithms of the ratios, episode by episode; training seeds of one side are averaged where both have some."""
    mine, other = np.log(np.asarray(ours, dtype=float)), np.log(np.asarray(theirs, dtype=float))
    return np.asarray(mine - paired(other, mine))


def paired(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Figures of a reference to set beside ours: the mean over its training seeds where it has another number of them.

    Args:
        theirs: (..., n) or (n_policies, n_traces, n).
        ours: of the same episodes.
    """
    apart = theirs.ndim == 3 and theirs.shape != ours.shape
    return np.asarray(theirs.mean(axis=0, keepdims=True) if apart else theirs)


def aggregate(scores: np.ndarray, *, seed: int = 0) -> dict[str, float | list[float]]:
    """The aggregates of Agarwal et al. (2021), each with `_ci`.

    Args:
        scores: (n_policies, n_traces, n) of one method; more is better.
        seed: of the bootstrap.

    Returns:
        `iqm` over all episodes, `mean`, and `median` over traces of their means.
    """
    stacked = _stacked(scores)
    counts, flat = resample_counts(stacked.shape, seed), stacked.ravel()
    figures = {
        "iqm": (interquartile_mean(flat), _interquartile(flat, counts)),
        "mean": (float(flat.mean()), resampled_means(stacked, seed=seed)),
        "median": (float(np.median(stacked.mean(axis=(0, 2)))), _median_of_traces(stacked, counts)),
    }
    found: dict[str, float | list[float]] = {}
    for name, (value, resampled) in figures.items():
        found |= {name: value, f"{name}_ci": list(interval(resampled))}
    return found


def optimality_gap(scores: np.ndarray, target: float = 1.0, *, seed: int = 0) -> tuple[float, Interval]:
    """By how much scores fall short of a target in the mean, where what is above counts as the target.

    Args:
        scores: in a shape that `bootstrap_interval` takes.
        target: the score that is wanted.
        seed: of the bootstrap.

    Returns:
        gap, (low, high) at 95 %.
    """
    short = np.maximum(target - np.asarray(scores, dtype=float), 0.0)
    return float(short.mean()), bootstrap_interval(short, seed=seed)


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray, *, seed: int = 0) -> tuple[float, Interval]:
    """How probable it is that an episode goes better: the share of paired episodes, where equal ones count half.

    Args:
        ours: in a shape that `bootstrap_interval` takes; more is better.
        theirs: the same episodes; the same shape, or without the training seeds.
        seed: of the bootstrap.

    Returns:
        probability, (low, high) at 95 %.
    """
    better = 0.5 + 0.5 * np.sign(np.asarray(ours, dtype=float) - paired(np.asarray(theirs, dtype=float), ours))
    return float(better.mean()), bootstrap_interval(better, seed=seed)


def _stacked(samples: np.ndarray) -> np.ndarray:
    """(n,) or (n_traces, n) or (n_policies, n_traces, n) -> the last."""
    samples = np.asarray(samples, dtype=float)
    return samples.reshape((1,) * (3 - samples.ndim) + samples.shape)


def _interquartile(samples: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of the middle half of samples (n,) that occur so often, (R, n); (R,)."""
    order = np.argsort(samples)
    ranks = np.cumsum(counts[:, order], axis=1, dtype=float)  # (R, n)
    ranks /= ranks[:, -1:]
    inside = np.diff(np.clip(ranks, 0.25, 0.75), axis=1, prepend=0.25)
    return np.asarray(inside @ samples[order] / 0.5)


def _median_of_traces(samples: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """In every resample the median over the traces drawn of their mean, (R,)."""
    shaped = counts.reshape(-1, *samples.shape)  # (R, n_policies, n_traces, n)
    drawn = shaped.sum(axis=(1, 3))  # (R, n_traces), how often each trace was drawn times the samples of a trace
    means = np.einsum("rptn,ptn->rt", shaped, samples) / np.maximum(drawn, 1.0)
    order = np.argsort(means, axis=1)
    ranked = np.take_along_axis(means, order, axis=1)
    ranks = np.cumsum(np.take_along_axis(drawn, order, axis=1), axis=1) / drawn.sum(axis=1, keepdims=True)
    # Two middle values where a half of the draws lies on either side; the tolerance is for the rounding of the ranks.
    lower, upper = (np.argmax(ranks > 0.5 + side * 1e-4, axis=1) for side in (-1, 1))
    rows = np.arange(len(ranked))
    return np.asarray(0.5 * (ranked[rows, lower] + ranked[rows, upper]))
