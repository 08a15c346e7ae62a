"""The newest sweep ready for display: found by name, with what every series grew by per second."""

from __future__ import annotations

import numpy as np

from telemetry.collectors.source import parse_key
from telemetry.sweep import Sweep

NAN = float("nan")


class LiveReadings:
    """Levels and rates of the newest sweep.

    Attributes:
        sweep: the newest; None before the first.
        seconds: between it and the one before; NaN at first.
        row: (n,) its values.
        rates: (n,) growth per second; NaN where it is not known, or negative: a counter was reset.
    """

    def __init__(self) -> None:
        self.sweep: Sweep | None = None
        self.seconds = NAN
        self.row = self.rates = np.empty(0)
        self._names: tuple[str, ...] = ()
        self._index: dict[str, list[tuple[dict[str, str], int]]] = {}

    def update(self, sweep: Sweep) -> None:
        """This sweep is the newest."""
        before = self.row
        if sweep.names is not self._names:
            columns = {name: column for column, name in enumerate(self._names)}
            before = np.array([before[columns[name]] if name in columns else NAN for name in sweep.names])
            self._set_names(sweep.names)
        self.seconds = sweep.time - self.sweep.time if self.sweep is not None else NAN
        growth = sweep.row - before
        self.rates = np.where(growth >= 0, growth, NAN) / self.seconds
        self.sweep, self.row = sweep, sweep.row

    def _set_names(self, names: tuple[str, ...]) -> None:
        self._names, self._index = names, {}
        for column, series in enumerate(names):
            name, labels = parse_key(series)
            self._index.setdefault(name, []).append((labels, column))

    @property
    def names(self) -> tuple[str, ...]:
        """Full series names, (n,)."""
        return self._names

    @property
    def metrics(self) -> list[str]:
        """Names without labels, each once."""
        return list(self._index)

    def columns(self, name: str, /, **labels: str) -> list[tuple[dict[str, str], int]]:
        """Labels and columns of the series of a metric that have these labels."""
        return [(has, column) for has, column in self._index.get(name, []) if labels.items() <= has.items()]

    def level(self, name: str, /, **labels: str) -> float:
        """Sum of the series of a metric that have these labels; NaN where there is none, or one is missing."""
        return self._sum(self.row, name, labels)

    def rate(self, name: str, /, **labels: str) -> float:
        """Sum of their growth per second; NaN where there is none, or one is not known."""
        return self._sum(self.rates, name, labels)

    def _sum(self, values: np.ndarray, name: str, labels: dict[str, str]) -> float:
        found = [float(values[column]) for _, column in self.columns(name, **labels)]
        return sum(found) if found else NAN
