"""Plant: something with a setting that can be applied and that moves forward in time."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from envs.spec import SystemSpec
from telemetry.metrics import Snapshot


class PlantError(RuntimeError):
    """A plant that cannot be read or set at all; one line."""


@runtime_checkable
class Plant(Protocol):
    """A learning system: simulated, live or a toy of the tests.

    A plant of one system has a setting of shape (n_knobs,) and snapshots of shape (n_metrics,); a batch of N systems
    has (N, n_knobs) and (N, n_metrics).
    """

    spec: SystemSpec

    @property
    def setting(self) -> np.ndarray:
        """What is really in force, after every clipping by actuators, (..., n_knobs) in natural units; a copy."""
        ...

    def apply(self, setting: np.ndarray) -> None:
        """Ask for a setting; idempotent. What was really applied shows in `setting`.

        Raises:
            ValueError: not finite, or of the wrong shape; nothing is changed.
        """
        ...

    def advance(self, seconds: float) -> Snapshot:
        """Let time pass and read: simulated time, or waiting for the wall clock.

        Returns:
            The period's metrics; NaN where a reading is missing, never an invented number.
        """
        ...

    def close(self) -> None:
        """Release what is held; may be called twice."""
        ...


def check_plant(plant: Plant, periods: int = 3) -> None:
    """Conformance test for every plant, the live one included. Leaves the plant's setting as it found it.

    Raises:
        AssertionError: with the broken rule.
    """
    spec, before = plant.spec, plant.setting
    _require(before.shape[-1] == len(spec.knobs), f"{before.shape[-1]} entries in setting, not {len(spec.knobs)} knobs")
    _require(bool(np.isfinite(before).all()), "the setting in force is not finite")
    before[...] = -1.0
    _require(bool((plant.setting != before).any()), "`setting` must be a copy: writing into it changed the plant")
    before = plant.setting
    for bad in (np.full_like(before, np.nan), before[..., :-1]):
        _require(_refuses(plant, bad), f"apply must raise ValueError for {bad!r}")
        _require(bool((plant.setting == before).all()), "a refused setting must change nothing")
    last = -np.inf
    for _ in range(periods):
        snapshot = plant.advance(spec.control_period_seconds)
        expected = (*before.shape[:-1], len(spec.metrics))
        _require(snapshot.values.shape == expected, f"snapshot has shape {snapshot.values.shape}, not {expected}")
        _require(not np.isinf(snapshot.values).any(), "a missing reading is NaN, never infinite")
        _require(snapshot.time > last, f"time went from {last} to {snapshot.time}")
        last = snapshot.time
    low, high = (np.array([getattr(k, side) for k in spec.knobs]) for side in ("low", "high"))
    plant.apply(np.broadcast_to(high * 10 + 1, before.shape).copy())
    inside = (plant.setting >= low - 1e-9).all() and (plant.setting <= high + 1e-9).all()
    _require(bool(inside), "a setting in force must lie within the knobs' bounds")
    plant.apply(before)
    plant.advance(spec.control_period_seconds)  # a plant may delay actuation by a period
    plant.apply(before)
    _require(bool(np.allclose(plant.setting, before)), "applying the former setting must restore it")


def _refuses(plant: Plant, setting: np.ndarray) -> bool:
    try:
        plant.apply(setting)
    except ValueError:
        return True
    return False


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(rule)
