"""How good a period was. Reward, evaluation, rollback verdict and report all call this."""

from __future__ import annotations

import numpy as np

from envs.scaling import KnobScaling
from envs.spec import RESOURCES, Slo, SystemSpec

GIB = 2.0**30
MEGABYTE = 1e6


class Objective:
    """Named terms of one period, and the quantities they are made of.

    All methods take values (..., n_metrics) in natural units and settings (..., n_knobs); leading shape is kept.
    A missing reading (NaN) makes the terms that need it NaN: no data is never a good result.
    """

    def __init__(self, spec: SystemSpec) -> None:
        self.spec = spec
        catalogue = spec.catalogue
        self._objectives = list(spec.workloads.values())
        self._done = catalogue.indices([o.done for o in self._objectives])  # (n_workloads,)
        self._wanted = catalogue.indices([o.wanted for o in self._objectives])
        self._cpu_used = catalogue.indices([o.cpu_used for o in self._objectives])
        self._memory_used = catalogue.indices([o.memory_used for o in self._objectives])
        self._cpu_knobs = np.array([spec.knob_index(o.cpu_knob) for o in self._objectives])
        self._values = np.array([o.value for o in self._objectives])
        self._storage, self._network = catalogue.index(spec.storage_written), catalogue.index(spec.network_moved)
        self._slos = [(slo, catalogue.index(slo.metric)) for slo in spec.slos]
        self._slo_weights = np.array([slo.weight for slo in spec.slos])
        self._prices = np.array([getattr(spec.prices, name) for name in RESOURCES])  # (n_resources,)
        self._default_cost = float(spec.default_setting[self._cpu_knobs].sum()) * spec.prices.cpu_cores
        self._knobs = KnobScaling(spec.knobs)

    def done(self, values: np.ndarray) -> np.ndarray:
        """Useful work per second of each workload, (..., n_workloads), in the order of `spec.workloads`."""
        return values[..., self._done]

    def useful(self, values: np.ndarray) -> np.ndarray:
        """Share of the wanted work that was done, (..., n_workloads), up to `catch_up`; 1 where nothing was wanted."""
        done, wanted = values[..., self._done], values[..., self._wanted]
        share = np.where(wanted == 0, 1.0, done / np.where(wanted == 0, 1.0, wanted))
        most = np.array([o.catch_up for o in self._objectives])
        return np.clip(share, 0.0, most)

    def reserved(self, values: np.ndarray, setting: np.ndarray) -> np.ndarray:
        """Resources set aside, (..., n_resources) in the units of `RESOURCES`.

        CPU is what the knob grants, or what was used where that is more (a share without a ceiling can be exceeded).
        Memory, storage and network have no reservation knob: what is used counts.
        """
        cores = np.maximum(setting[..., self._cpu_knobs], values[..., self._cpu_used]).sum(axis=-1, keepdims=True)
        return np.concatenate([cores, self.used(values)[..., 1:]], axis=-1)

    def used(self, values: np.ndarray) -> np.ndarray:
        """Resources in use, (..., n_resources) in the units of `RESOURCES`."""
        cores = values[..., self._cpu_used].sum(axis=-1)
        memory = values[..., self._memory_used].sum(axis=-1) / GIB
        storage, network = values[..., self._storage] / MEGABYTE, values[..., self._network] / MEGABYTE
        return np.stack([cores, memory, storage, network], axis=-1)

    def value(self, values: np.ndarray) -> np.ndarray:
        """Value-weighted useful work; 1 is all that was wanted."""
        return (self.useful(values) * self._values).sum(axis=-1) / self._values.sum()

    def cost(self, values: np.ndarray, setting: np.ndarray) -> np.ndarray:
        """Price of what is reserved; 1 is the price of the static default's CPU."""
        return (self.reserved(values, setting) * self._prices).sum(axis=-1) / self._default_cost

    def breaches(self, values: np.ndarray) -> np.ndarray:
        """How far each SLO is broken, (..., n_slos): 0 while it holds, else 0.5 to 1 growing with the excess."""
        return np.stack([_breach(slo, values[..., index]) for slo, index in self._slos], axis=-1)

    def slo_met(self, values: np.ndarray) -> np.ndarray:
        """Whether every SLO holds; False where a reading is missing."""
        return (self.breaches(values) == 0).all(axis=-1)

    def score(self, values: np.ndarray, setting: np.ndarray, previous: np.ndarray) -> dict[str, np.ndarray]:
        """The reward terms of one period; their sum is the reward.

        Args:
            values: (..., n_metrics) of the period.
            setting: (..., n_knobs) in force during it.
            previous: (..., n_knobs) in force before it.
        """
        breach = (self.breaches(values) * self._slo_weights).sum(axis=-1) / self._slo_weights.sum()
        moved = np.abs(self._knobs.scale(setting) - self._knobs.scale(previous)).sum(axis=-1) / 2.0
        return {
            "efficiency": self.value(values) / self.cost(values, setting),
            "slo": -self.spec.violation_penalty * breach,
            "change": -self.spec.change_penalty * moved,
        }


def _breach(slo: Slo, values: np.ndarray) -> np.ndarray:
    bound = slo.at_most if slo.at_most is not None else slo.at_least
    excess = values - bound if slo.at_most is not None else bound - values
    relative = np.clip(excess / max(abs(float(bound or 0.0)), 1e-9), 0.0, 1.0)
    return np.where(np.isnan(values), np.nan, np.where(excess > 0, 0.5 + 0.5 * relative, 0.0))
