"""Fixed, elementwise maps between natural units and [-1, 1].

No running statistics: the bounds stand in the spec. Every function works on the last axis and is elementwise, so a
batch of N systems gives bit for bit what N single systems give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.spec import Knob
from telemetry.metrics import MetricSpec, Scale


class MetricScaling:
    """Natural metric values <-> [-1, 1]; values beyond the bounds are clipped, NaN stays NaN.

    Args:
        metrics: give bounds and scale.
        dtype: of what `scale` computes with; float32 takes half the time.
    """

    def __init__(self, metrics: Sequence[MetricSpec], dtype: type[np.floating[Any]] = np.float64) -> None:
        self._low = np.array([m.low for m in metrics])  # (n_metrics,)
        self._span = np.array([m.high - m.low for m in metrics])
        self._knee = np.array([m.knee for m in metrics])
        self._log = np.array([m.scale is Scale.LOG for m in metrics])
        self._logs = np.flatnonzero(self._log)
        self._log_span = np.log1p(self._span / self._knee)
        self._factor = np.where(self._log, 1.0 / self._knee, 2.0 / self._span)
        self._log_factor = 2.0 / self._log_span[self._logs]
        self._dtype = dtype
        self._bounds = [array.astype(dtype) for array in (self._low, self._span, self._factor)]
        self._log_factor = self._log_factor.astype(dtype)

    def scale(self, values: np.ndarray) -> np.ndarray:
        """(..., n_metrics) in natural units -> (..., n_metrics) in [-1, 1]."""
        low, span, factor = self._bounds
        scaled = values.astype(self._dtype) - low
        np.maximum(scaled, 0.0, out=scaled)
        np.minimum(scaled, span, out=scaled)
        scaled *= factor
        by_metric = scaled.T
        by_metric[self._logs] = (np.log1p(by_metric[self._logs]).T * self._log_factor).T
        scaled -= 1.0
        return np.minimum(scaled, 1.0, out=scaled)  # rounding may lead beyond by one last digit

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """The inverse of `scale` within the bounds."""
        unit = (scaled + 1.0) / 2.0
        above = np.where(self._log, self._knee * np.expm1(unit * self._log_span), unit * self._span)
        return self._low + above


class KnobScaling:
    """Natural knob values <-> [-1, 1]."""

    def __init__(self, knobs: Sequence[Knob]) -> None:
        self.low = np.array([k.low for k in knobs], dtype=float)  # (n_knobs,)
        self.high = np.array([k.high for k in knobs], dtype=float)
        self.integer = np.array([k.integer for k in knobs])
        self._integers = np.flatnonzero(self.integer)
        self._logs = np.flatnonzero([k.scale is Scale.LOG for k in knobs])
        self._from, to = self.low.copy(), self.high.copy()
        for ends in (self._from, to):
            ends[self._logs] = np.log(ends[self._logs])
        self._half_span = (to - self._from) / 2.0
        self._least, self._most = np.full(len(knobs), -1.0), np.ones(len(knobs))

    def scale(self, setting: np.ndarray) -> np.ndarray:
        """(..., n_knobs) in natural units -> (..., n_knobs) in [-1, 1]."""
        moved = np.maximum(setting, self.low)
        np.minimum(moved, self.high, out=moved)
        by_knob = moved.T
        by_knob[self._logs] = np.log(by_knob[self._logs])
        moved -= self._from
        moved /= self._half_span
        moved -= 1.0
        return moved

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """(..., n_knobs) in [-1, 1] -> natural units, integer knobs rounded, always within the bounds."""
        moved = np.maximum(scaled, self._least)
        np.minimum(moved, self._most, out=moved)
        moved += 1.0
        moved *= self._half_span
        moved += self._from
        by_knob = moved.T
        by_knob[self._logs] = np.exp(by_knob[self._logs])
        if len(self._integers):
            by_knob[self._integers] = np.rint(by_knob[self._integers])
        np.maximum(moved, self.low, out=moved)
        return np.minimum(moved, self.high, out=moved)


def columns(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`array[..., index]`, fast where the array is a transposed (n, N) one."""
    return array.T[index].T if array.ndim <= 2 else array[..., index]
