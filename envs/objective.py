"""How good a period was. Reward, evaluation, rollback verdict and report all call this."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.scaling import KnobScaling, columns
from envs.spec import RESOURCES, SystemSpec

GIB = 2.0**30
MEGABYTE = 1e6
LEAST_WANTED = 1e-9
"""Per second; less is nothing."""
BYTES_PER_UNIT = {"memory": GIB, "storage": MEGABYTE, "network": MEGABYTE}
"""What the unit is that a resource is priced in."""


class Assessment(NamedTuple):
    """What a period is worth, (...) each where nothing else is said."""

    terms: dict[str, np.ndarray]
    """Reward terms by name; their sum is the reward."""
    objectives: np.ndarray
    """(..., n_objectives) in the order of `objective_names`; more is better."""
    cost: np.ndarray
    """Constraint cost: the weighted share of the SLOs that is broken, 0 to 1."""
    slo_met: np.ndarray
    """Whether every SLO holds."""


class Objective:
    """Named terms of one period, and the quantities they are made of.

    All methods take values (..., n_metrics) in natural units and settings (..., n_knobs); leading shape is kept.
    A missing reading (NaN) makes the terms that need it NaN: no data is never a good result.
    """

    def __init__(self, spec: SystemSpec) -> None:
        self.spec = spec
        index = spec.catalogue.index
        self._objectives = list(spec.workloads.values())
        self._done = np.array([index(o.done) for o in self._objectives])  # (n_workloads,)
        self._wanted = np.array([index(o.wanted) for o in self._objectives])
        self._most = np.array([o.catch_up for o in self._objectives])
        self._cpu_used = [index(o.cpu_used) for o in self._objectives]
        self._memory_used = [index(o.memory_used) for o in self._objectives]
        self._limits = {
            resource: [spec.knob_index(knob) for o in self._objectives if (knob := getattr(o, f"{resource}_knob"))]
            for resource in ("cpu", *BYTES_PER_UNIT)
        }
        self._hosts = None if spec.hosts_knob is None else spec.knob_index(spec.hosts_knob)
        self._ready = None if spec.hosts_knob is None else index(spec.ready_hosts)
        self._storage, self._network = index(spec.storage_written), index(spec.network_moved)
        self._slo_metrics = np.array([index(slo.metric) for slo in spec.slos])  # (n_slos,)
        bounds = [float(slo.at_most if slo.at_most is not None else slo.at_least or 0.0) for slo in spec.slos]
        sides = [1.0 if slo.at_most is not None else -1.0 for slo in spec.slos]
        self._slo_bounds = np.array(bounds)
        self._per_slo_bound = np.array(sides) / np.maximum(np.abs(self._slo_bounds), 1e-9)
        self._slo_shares = [slo.weight / sum(s.weight for s in spec.slos) for slo in spec.slos]
        self._prices = [getattr(spec.prices, name) for name in RESOURCES]
        default = spec.default_setting
        cores = spec.cores * default[self._hosts] if self._hosts is not None else default[self._limits["cpu"]].sum()
        self._default_cost = float(cores) * spec.prices.cpu_cores
        self._knobs = KnobScaling(spec.knobs)
        self.objective_names = (*spec.workloads, "resources", "slo")
        """What `Assessment.objectives` holds: useful work of each workload, minus the price of what is reserved, minus
        the constraint cost."""
        self.weights = np.array([*(o.value for o in self._objectives), spec.violation_penalty])
        """(n_workloads + 1,): value of each workload's work, then `violation_penalty`."""

    def done(self, values: np.ndarray) -> np.ndarray:
        """Useful work per second of each workload, (..., n_workloads), in the order of `spec.workloads`."""
        return values[..., self._done]

    def useful(self, values: np.ndarray) -> np.ndarray:
        """Share of the wanted work that was done, (..., n_workloads), up to `catch_up`; 1 where nothing was wanted."""
        done, asked = columns(values, self._done), columns(values, self._wanted)
        nothing = asked < LEAST_WANTED
        share = np.where(nothing, 1.0, done / np.where(nothing, 1.0, asked))
        return np.minimum(np.maximum(share, 0.0), self._most)

    def reserved(self, values: np.ndarray, setting: np.ndarray) -> np.ndarray:
        """Resources set aside, (..., n_resources) in the units of `RESOURCES`.

        What the knobs grant together, or what was used where that is more (a share without a ceiling can be exceeded);
        what was used where no knob grants. Where hosts are provisioned, all of each host's cores and memory.
        """
        return np.stack(self._reserved(values, setting), axis=-1)

    def used(self, values: np.ndarray) -> np.ndarray:
        """Resources in use, (..., n_resources) in the units of `RESOURCES`."""
        return np.stack(self._used(values), axis=-1)

    def value(self, values: np.ndarray) -> np.ndarray:
        """Value-weighted useful work; 1 is all that was wanted."""
        return self._weighted(self.useful(values), self.weights)

    def shares(self, values: np.ndarray) -> np.ndarray:
        """What each workload adds to `value`, (..., n_workloads)."""
        weights = self.weights[:-1]
        return self.useful(values) * weights / weights.sum()

    def cpu_prices(self, values: np.ndarray, setting: np.ndarray) -> np.ndarray:
        """What the CPU reserved for each workload adds to `cost`, (..., n_workloads); 0 where hosts are provisioned."""
        if self._hosts is not None:
            return np.zeros((*np.shape(setting)[:-1], len(self._objectives)))
        granted, used = columns(setting, np.array(self._limits["cpu"])), columns(values, np.array(self._cpu_used))
        return np.maximum(granted, used) * self.spec.prices.cpu_cores / self._default_cost

    def cost(self, values: np.ndarray, setting: np.ndarray) -> np.ndarray:
        """Price of what is reserved; 1 is the price of the static default's CPU."""
        priced = [price * part for price, part in zip(self._prices, self._reserved(values, setting), strict=True)]
        return _sum(priced) / self._default_cost

    def breaches(self, values: np.ndarray) -> np.ndarray:
        """How far each SLO is broken, (..., n_slos): 0 while it holds, else 0.5 to 1 growing with the excess."""
        excess = (columns(values, self._slo_metrics) - self._slo_bounds) * self._per_slo_bound
        # The maximum keeps a missing reading missing, so that its breach is NaN.
        return 0.5 * (excess > 0) + 0.5 * np.minimum(np.maximum(excess, 0.0), 1.0)

    def slo_met(self, values: np.ndarray) -> np.ndarray:
        """Whether every SLO holds; False where a reading is missing."""
        return _sum(_each(self.breaches(values))) == 0

    def score(self, values: np.ndarray, setting: np.ndarray, previous: np.ndarray) -> dict[str, np.ndarray]:
        """The reward terms of one period; their sum is the reward.

        Args:
            values: (..., n_metrics) of the period.
            setting: (..., n_knobs) in force during it.
            previous: (..., n_knobs) in force before it.
        """
        return self.assess(values, setting, self._knobs.scale(setting) - self._knobs.scale(previous)).terms

    def assess(
        self, values: np.ndarray, setting: np.ndarray, moved: np.ndarray, weights: np.ndarray | None = None
    ) -> Assessment:
        """All that there is to say about one period.

        Args:
            values: (..., n_metrics) of the period.
            setting: (..., n_knobs) in force during it.
            moved: (..., n_knobs) by how much the knobs were moved, in the scaled range [-1, 1].
            weights: (..., n_workloads + 1) as `weights`, which None stands for.
        """
        weights = self.weights if weights is None else weights
        useful, cost = self.useful(values), self.cost(values, setting)
        weighted = zip(self._slo_shares, _each(self.breaches(values)), strict=True)
        constraint = _sum([share * breach for share, breach in weighted])
        terms = {
            "efficiency": self._weighted(useful, weights) / cost,
            "slo": -weights[..., -1] * constraint,
            "change": -0.5 * self.spec.change_penalty * _sum(_each(np.abs(moved))),
        }
        objectives = np.concatenate([useful, -cost[..., None], -constraint[..., None]], axis=-1)
        return Assessment(terms, objectives, constraint, constraint == 0)

    def _weighted(self, useful: np.ndarray, weights: np.ndarray) -> np.ndarray:
        each = _each(weights[..., :-1])
        return _sum([weight * part for weight, part in zip(each, _each(useful), strict=True)]) / _sum(each)

    def _used(self, values: np.ndarray) -> list[np.ndarray]:
        cores, memory = (_sum([values[..., i] for i in column]) for column in (self._cpu_used, self._memory_used))
        used = [cores, memory / GIB, values[..., self._storage] / MEGABYTE, values[..., self._network] / MEGABYTE]
        if self._ready is None:
            return used
        return [part * values[..., self._ready] for part in used]  # readings of a pool are those of one host

    def _reserved(self, values: np.ndarray, setting: np.ndarray) -> list[np.ndarray]:
        used = self._used(values)
        if self._hosts is not None:
            hosts, memory = setting[..., self._hosts], float(self.spec.memory_bytes or 0.0) / GIB
            return [hosts * self.spec.cores, hosts * memory, *used[2:]]
        pairs = zip(self._limits["cpu"], self._cpu_used, strict=True)
        parts = [_sum([np.maximum(setting[..., knob], values[..., metric]) for knob, metric in pairs])]
        for i, (resource, unit) in enumerate(BYTES_PER_UNIT.items(), start=1):
            granted = [setting[..., knob] / unit for knob in self._limits[resource]]
            parts.append(np.maximum(_sum(granted), used[i]) if granted else used[i])
        return parts


def _each(array: np.ndarray) -> list[np.ndarray]:
    """(..., n) -> n of (...)."""
    return [array[..., i] for i in range(array.shape[-1])]


def _sum(parts: list[np.ndarray]) -> np.ndarray:
    """Sum in explicit order: np.sum may add a batch in another order than a single system."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
