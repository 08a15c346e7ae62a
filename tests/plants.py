"""Toy plants for every test: small, deterministic, on a clock of their own. Both pass `check_plant`."""

from __future__ import annotations

import numpy as np

from envs.plant import PlantError
from envs.recent import Recent
from envs.scaling import KnobScaling
from envs.spec import SystemSpec
from telemetry.metrics import Snapshot

HEALTHY = {
    "serving_arrivals_per_second": 100.0,
    "serving_goodput_per_second": 100.0,
    "serving_within_slo_ratio": 1.0,
    "serving_latency_p50_seconds": 0.02,
    "serving_latency_p99_seconds": 0.06,
    "serving_batch_mean_size": 4.0,
    "serving_memory_bytes": 3e8,
    "serving_accuracy_ratio": 0.9,
    "serving_model_age_seconds": 5.0,
    "training_samples_per_second": 200.0,
    "training_goodput_per_second": 200.0,
    "training_demand_per_second": 200.0,
    "training_memory_bytes": 5e8,
    "ingest_arrivals_per_second": 80.0,
    "ingest_written_per_second": 80.0,
    "ingest_backlog_events": 20.0,
    "ingest_lag_seconds": 0.5,
    "ingest_memory_bytes": 2e8,
    "host_cpu_used_ratio": 0.5,
    "storage_written_bytes_per_second": 1e6,
    "network_moved_bytes_per_second": 1e5,
}
"""A period in which every SLO of the reference spec holds; metrics that are not named are 0."""


def recent(spec: SystemSpec, window: np.ndarray) -> Recent:
    """What is remembered after a window (T, n_metrics), or (T, N, n_metrics) of N systems."""
    remembered = Recent(spec, window.shape[1] if window.ndim == 3 else None)
    for period, values in enumerate(window):
        remembered.append(Snapshot(float(period), values))
    return remembered


class FakeClock:
    """A clock that moves when told to. Call it for the time in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class ToyPlant:
    """One healthy system whose readings do not depend on its setting, except for CPU: half of what is granted is used.

    Args:
        spec: None for the reference spec.
        clock: moved by `advance`; None for one of its own.
    """

    def __init__(self, spec: SystemSpec | None = None, clock: FakeClock | None = None) -> None:
        self.spec = spec if spec is not None else SystemSpec.load("reference")
        self.clock = clock if clock is not None else FakeClock()
        self.applied: list[np.ndarray] = []
        """Every setting that `apply` accepted, as it was asked for."""
        self.closed = False
        self._setting = self.spec.default_setting
        self._scaling = KnobScaling(self.spec.knobs)
        self._next: dict[str, float] = {}
        self._dropped: dict[str, int] = {}
        self._failing: set[str] = set()
        self._bent: dict[str, float] = {}

    @property
    def setting(self) -> np.ndarray:
        """In force, (n_knobs,)."""
        return self._setting.copy()

    def next_reading(self, **metrics: float) -> None:
        """The next snapshot, and no other, holds these values."""
        for name in metrics:
            self.spec.catalogue.index(name)  # a misspelt metric must not go unnoticed
        self._next.update(metrics)

    def drop(self, *metrics: str, periods: int = 1) -> None:
        """These metrics (none named: all) are NaN in the next snapshots."""
        self._dropped.update(dict.fromkeys(metrics or self.spec.catalogue.names, periods))

    def fail(self, *knobs: str) -> None:
        """From now on `apply` raises PlantError for a setting that changes one of these knobs; none named: no more."""
        self._failing = {self.spec.knobs[self.spec.knob_index(knob)].name for knob in knobs}

    def bend(self, **knobs: float) -> None:
        """From now on these knobs get these values, whatever is asked for; none named: no more."""
        self._bent = {self.spec.knobs[self.spec.knob_index(knob)].name: value for knob, value in knobs.items()}

    def apply(self, setting: np.ndarray) -> None:
        """Put a setting in force, clipped to the bounds.

        Raises:
            ValueError: not finite, or of the wrong shape.
            PlantError: it changes a knob that `fail` named.
        """
        given = np.asarray(setting, dtype=float)
        if given.shape != self._setting.shape or not np.isfinite(given).all():
            raise ValueError(f"setting {given!r} must be {self._setting.shape} finite numbers")
        low, high = self._scaling.low, self._scaling.high
        wanted = np.clip(np.where(self._scaling.integer, np.rint(given), given), low, high)
        changed = {
            name for name, new, old in zip(self.spec.knob_names, wanted, self._setting, strict=True) if new != old
        }
        if changed & self._failing:
            raise PlantError(f"the actuator of {sorted(changed & self._failing)[0]} failed")
        self.applied.append(given.copy())
        for name, value in self._bent.items():
            wanted[self.spec.knob_index(name)] = value
        self._setting = wanted

    def advance(self, seconds: float) -> Snapshot:
        """Move the clock and read."""
        self.clock.advance(seconds)
        readings = self._readings() | self._next
        self._next = {}
        readings.update(dict.fromkeys(self._dropped, np.nan))
        self._dropped = {name: left - 1 for name, left in self._dropped.items() if left > 1}
        return Snapshot(self.clock(), np.array([readings.get(name, 0.0) for name in self.spec.catalogue.names]))

    def _readings(self) -> dict[str, float]:
        used = {
            objective.cpu_used: 0.5 * self._setting[self.spec.knob_index(objective.cpu_knob)]
            for objective in self.spec.workloads.values()
        }
        return HEALTHY | used

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class ValleyPlant(ToyPlant):
    """A toy with a best setting: useful work falls with the mean distance to `best`, in the scaled range.

    Args:
        best: (n_knobs,) in natural units; None for the default.
    """

    def __init__(
        self, best: np.ndarray | None = None, spec: SystemSpec | None = None, clock: FakeClock | None = None
    ) -> None:
        super().__init__(spec, clock)
        self.best = self._setting.copy() if best is None else np.asarray(best, dtype=float)

    def _readings(self) -> dict[str, float]:
        readings = super()._readings()
        away = np.abs(self._scaling.scale(self._setting) - self._scaling.scale(self.best)).mean() / 2.0
        for objective in self.spec.workloads.values():
            readings[objective.done] = readings.get(objective.wanted, 0.0) * float(1.0 - away)
        return readings
