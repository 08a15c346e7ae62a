"""Systems at constant demand, without noise: what a test sees then is the effect of what it changed."""

from collections.abc import Callable

import numpy as np
import pytest

from envs.simulator.parameters import Parameters
from envs.simulator.quantities import GOOD_SETTING
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.workload import Demand

GOOD = {
    **GOOD_SETTING, "serving_cpu_cores": 0.7, "training_cpu_cores": 0.6, "ingest_cpu_cores": 0.2,
    "training_threads": 1.0, "training_batch_size": 64.0, "ingest_chunk_events": 64.0, "ingest_cache_entries": 4096.0,
}  # fmt: skip


class Steady:
    """A system, or a pool, that has settled; attributes are its metrics over the periods run so far, (T,) each."""

    def __init__(self, spec: str, requests: float, events: float, knobs: dict[str, float]) -> None:
        self.spec = SystemSpec.load(spec)
        demand = Demand("constant", 1.0, np.full(2, requests), np.full(2, events), "test")
        self.plant = SimulatedPlant(self.spec, [demand], parameters=Parameters(), noise=False, as_recorded=True)
        self.setting = self.spec.default_setting
        self.set(**(GOOD | knobs))
        self.plant.force(self.setting[None])
        self._periods: list[np.ndarray] = []

    def set(self, **knobs: float) -> None:
        for name, value in knobs.items():
            self.setting[self.spec.knob_index(name)] = value
        self.plant.apply(self.setting)

    def run(self, periods: int, seconds: float = 1.0) -> "Steady":
        """Let time pass; what was read before is forgotten."""
        self._periods = [self.plant.advance(seconds).values for _ in range(periods)]
        return self

    def __getattr__(self, metric: str) -> np.ndarray:
        index = self.spec.catalogue.index(metric)
        return np.array([values[index] for values in self._periods])


@pytest.fixture
def steady() -> Callable[..., Steady]:
    """Makes a system: `steady("host", requests=100.0, events=80.0, serving_threads=1.0)`."""

    def make(spec: str = "reference", *, requests: float = 100.0, events: float = 80.0, **knobs: float) -> Steady:
        return Steady(spec, requests, events, knobs)

    return make
