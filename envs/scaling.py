"""Fixed, elementwise maps between natural units and [-1, 1].

No running statistics: the bounds stand in the spec. Every function works on the last axis and is elementwise, so a
batch of N systems gives bit for bit what N single systems give.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.spec import Knob
from telemetry.metrics import MetricSpec, Scale


class MetricScaling:
    """Natural metric values <-> [-1, 1]; values beyond the bounds are clipped, NaN stays NaN."""

    def __init__(self, metrics: Sequence[MetricSpec]) -> None:
        self._low = np.array([m.low for m in metrics])  # (n_metrics,)
        self._span = np.array([m.high - m.low for m in metrics])
        self._knee = np.array([m.knee for m in metrics])
        self._log = np.array([m.scale is Scale.LOG for m in metrics])
        self._log_span = np.log1p(self._span / self._knee)

    def scale(self, values: np.ndarray) -> np.ndarray:
        """(..., n_metrics) in natural units -> (..., n_metrics) in [-1, 1]."""
        above = np.clip(values - self._low, 0.0, self._span)
        unit = np.where(self._log, np.log1p(above / self._knee) / self._log_span, above / self._span)
        return 2.0 * unit - 1.0

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
        self._log = np.array([k.scale is Scale.LOG for k in knobs])
        self._from = np.where(self._log, np.log(np.where(self._log, self.low, 1.0)), self.low)
        to = np.where(self._log, np.log(np.where(self._log, self.high, 1.0)), self.high)
        self._span = to - self._from

    def scale(self, setting: np.ndarray) -> np.ndarray:
        """(..., n_knobs) in natural units -> (..., n_knobs) in [-1, 1]."""
        inside = np.clip(setting, self.low, self.high)
        moved = np.where(self._log, np.log(np.where(self._log, inside, 1.0)), inside)
        return 2.0 * (moved - self._from) / self._span - 1.0

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """(..., n_knobs) in [-1, 1] -> natural units, integer knobs rounded, always within the bounds."""
        moved = self._from + (np.clip(scaled, -1.0, 1.0) + 1.0) / 2.0 * self._span
        natural = np.where(self._log, np.exp(np.where(self._log, moved, 0.0)), moved)
        return np.clip(np.where(self.integer, np.rint(natural), natural), self.low, self.high)
