"""What a metric is, and one reading of many of them.

Everything downstream (traces, environment, policies, controller) names metrics as this module does: Prometheus style,
base units in the name, fixed physical bounds.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class UnknownMetric(KeyError):
    """A name that the catalogue does not hold; the message suggests the closest one."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class MetricKind(StrEnum):
    """How a metric moves: a gauge is a level, a counter only grows until it is reset."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Scale(StrEnum):
    """How a bounded quantity is mapped to [-1, 1]."""

    LINEAR = "linear"
    LOG = "log"


@dataclass(frozen=True)
class MetricSpec:
    """One metric: its name with unit, its bounds and its meaning.

    Attributes:
        name: Prometheus style, base unit last (`serving_latency_p99_seconds`).
        low: smallest physical value, in the metric's unit.
        high: largest value that is told apart; larger readings are clipped when scaled.
        help: one sentence for people.
        kind: gauge or counter.
        scale: how [low, high] maps to [-1, 1]; `log` needs no positive `low` (log1p relative to `knee`).
        knee: for `log`: the value around which resolution matters, in the metric's unit.
    """

    name: str
    low: float
    high: float
    help: str
    kind: MetricKind = MetricKind.GAUGE
    scale: Scale = Scale.LINEAR
    knee: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"metric {self.name}: bounds [{self.low}, {self.high}] must be finite with low < high")
        if self.scale is Scale.LOG and self.knee <= 0:
            raise ValueError(f"metric {self.name}: knee {self.knee} must be positive for a log scale")


class Catalogue:
    """An ordered set of metrics; position in it is position in every values array."""

    def __init__(self, metrics: Iterable[MetricSpec]) -> None:
        self.metrics: tuple[MetricSpec, ...] = tuple(metrics)
        self.names: tuple[str, ...] = tuple(metric.name for metric in self.metrics)
        self._index = {name: i for i, name in enumerate(self.names)}
        if len(self._index) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"metrics named twice: {', '.join(twice)}")

    def __len__(self) -> int:
        return len(self.metrics)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __getitem__(self, name: str) -> MetricSpec:
        return self.metrics[self.index(name)]

    def index(self, name: str) -> int:
        """Position of `name`.

        Raises:
            UnknownMetric: with the closest known name.
        """
        if name not in self._index:
            close = difflib.get_close_matches(name, self.names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(self.names)}"
            raise UnknownMetric(f"unknown metric {name!r}; {hint}")
        return self._index[name]

    def indices(self, names: Sequence[str]) -> np.ndarray:
        """Positions of several names, (len(names),) int."""
        return np.array([self.index(name) for name in names], dtype=int)


@dataclass(frozen=True)
class Snapshot:
    """One reading of a whole catalogue.

    Attributes:
        time: seconds on the plant's clock (monotonic), the end of the period that the values describe.
        values: (n_metrics,) or (N, n_metrics) float64 in the order of the catalogue; NaN where missing.
        day: share of the demand's day that has passed, in [0, 1), a number or (N,); NaN where it is not known.
    """

    time: float
    values: np.ndarray
    day: float | np.ndarray = np.nan
