"""Observations of the reference system with chosen readings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from envs.spec import Role, SystemSpec
from envs.task import Task
from plants import recent

Observe = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def spec() -> SystemSpec:
    return SystemSpec.load("reference")


@pytest.fixture(scope="session")
def allocation(spec: SystemSpec) -> Task:
    return Task(spec, Role.ALLOCATION)


@pytest.fixture(scope="session")
def tuning(spec: SystemSpec) -> Task:
    return Task(spec, Role.TUNING)


@pytest.fixture(scope="session")
def observe(spec: SystemSpec, allocation: Task) -> Observe:
    """observe(metric=value, ..., setting=...) -> (n_observation,); all else is calm: everything 0, SLOs held."""

    def build(setting: np.ndarray | None = None, **readings: float) -> np.ndarray:
        values = np.zeros(len(spec.metrics))
        calm = {"serving_within_slo_ratio": 1.0, "serving_accuracy_ratio": 1.0}
        for name, value in (calm | readings).items():
            values[spec.catalogue.index(name)] = value
        window = np.tile(values, (spec.window_periods, 1))
        return allocation.observe(recent(spec, window), spec.default_setting if setting is None else setting)

    return build
