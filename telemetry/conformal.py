"""Split conformal bands: how far off were the last forecasts that have come true? No model of the noise is needed."""

from __future__ import annotations

import math

import numpy as np

MATURED = 168
"""Errors that a band rests on. Default: a week of hourly forecasts, so that it follows a changing metric."""
MIN_MATURED = 24


def error_band(errors: np.ndarray, coverage: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Band around a forecast that holds at least `coverage` of what comes, if the coming errors are like the past ones.

    Args:
        errors: (..., n) truth minus forecast of matured forecasts, NaN where unknown; in any order.
        coverage: in (0, 1), half of the rest on either side.

    Returns:
        Lowest and highest error, each (...); NaN where fewer than `MIN_MATURED` are known.

    Raises:
        ValueError: a coverage outside (0, 1).
    """
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage of {coverage}; it must lie between 0 and 1, e.g. 0.8")
    ordered = np.sort(errors, axis=-1)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=-1)
    tail = (1.0 - coverage) / 2.0
    # The rank among n + 1: the error to come is one more of them (Vovk; Romano et al. 2019).
    above = np.minimum(np.ceil((count + 1) * (1.0 - tail)).astype(int), count)
    low, high = (_ranked(ordered, rank) for rank in (count + 1 - above, above))
    few = count < max(MIN_MATURED, math.ceil(1.0 / tail) - 1)
    return np.where(few, np.nan, low), np.where(few, np.nan, high)


def _ranked(ordered: np.ndarray, rank: np.ndarray) -> np.ndarray:
    index = np.clip(rank - 1, 0, ordered.shape[-1] - 1)
    return np.take_along_axis(ordered, index[..., None], axis=-1)[..., 0]
