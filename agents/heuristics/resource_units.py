"""Units of resources that one workload gets or gives: what PARTIES moves, one at a time, in N systems."""

from __future__ import annotations

import numpy as np

from agents.heuristics.knobs import Knobs
from envs.task import Task

RESOURCES = ("cpu", "memory", "storage", "network")
NO_KNOB = -1


class ResourceUnits:
    """Grants of the workloads' resources, and what is free of each.

    A unit is a step over the knob's scaled range, the same share of what is granted where the scale is logarithmic.

    Args:
        task: allocation or joint.
        setting: (n_knobs,) or (N, n_knobs), in which the task's other knobs are held.
    """

    def __init__(self, task: Task, setting: np.ndarray) -> None:
        spec = task.spec
        given = [r for r in RESOURCES if any(getattr(o, f"{r}_knob") for o in spec.workloads.values())]
        names = [[getattr(o, f"{resource}_knob") for resource in given] for o in spec.workloads.values()]
        flat = [name for row in names for name in row if name is not None]
        self.knobs = Knobs(task, flat, setting)
        places = [[NO_KNOB if name is None else flat.index(name) for name in row] for row in names]
        self._table = np.array(places)  # (n_workloads, n_resources) -> which of `knobs`
        capacities = {
            "cpu": spec.cores,
            "memory": spec.memory_bytes,
            "storage": spec.storage_bytes_per_second,
            "network": spec.network_bytes_per_second,
        }
        self._capacity = np.array([np.inf if (c := capacities[r]) is None else c for r in given])

    def next_resource(self, workload: np.ndarray, resource: np.ndarray) -> np.ndarray:
        """The resource, (N,), whose turn is after another's; of those that the workload has a knob for."""
        count = self._table.shape[1]
        found = resource
        for step in range(count, 0, -1):  # the nearest last, so that it stays
            candidate = (resource + step) % count
            found = np.where(self._table[workload, candidate] == NO_KNOB, found, candidate)
        return found

    def up(
        self, grants: np.ndarray, workload: np.ndarray, resource: np.ndarray, unit: np.ndarray, slack: np.ndarray
    ) -> np.ndarray:
        """Give one unit more: from what is free, else from the workload with the most slack that has it to give.

        Args:
            grants: (n, N) of `knobs`, natural units.
            workload: (N,) who gets it.
            resource: (N,) of what.
            unit: (N,) step over the scaled range.
            slack: (n_workloads, N).

        Returns:
            grants after it; unchanged where nobody can give, or the knob is at its top.
        """
        systems = np.arange(grants.shape[1])
        knob = self._table[workload, resource]
        raised = self._step(grants, knob, unit)
        amount = raised - grants[knob, systems]
        short = self._granted(grants, resource) + amount > self._capacity[resource] * (1.0 + 1e-9)
        givers = self._table[:, resource]  # (n_workloads, N)
        left = np.where(givers == NO_KNOB, -np.inf, grants[givers, systems] - amount)
        can_give = (left >= self.knobs.low[givers] * (1.0 - 1e-9)) & (np.arange(len(givers))[:, None] != workload)
        giver = np.where(can_give, np.nan_to_num(slack, nan=-np.inf), -np.inf).argmax(axis=0)
        possible = ~short | can_give[giver, systems]
        after = grants.copy()
        after[knob, systems] = np.where(possible, raised, grants[knob, systems])
        given = short & possible
        after[givers[giver, systems][given], systems[given]] = left[giver, systems][given]
        return after

    def down(self, grants: np.ndarray, workload: np.ndarray, resource: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Take one unit, as `up`; unchanged where the knob is at its bottom."""
        knob = self._table[workload, resource]
        after = grants.copy()
        after[knob, np.arange(grants.shape[1])] = self._step(grants, knob, -unit)
        return after

    def _step(self, grants: np.ndarray, knob: np.ndarray, step: np.ndarray) -> np.ndarray:
        """(N,) what a knob becomes by a step over its scaled range; what it was, to the last bit, at the end of it."""
        before = grants[knob, np.arange(grants.shape[1])]
        scaled = self.knobs.scale(grants)
        scaled[knob, np.arange(grants.shape[1])] += step
        after = self.knobs.unscale(scaled)[knob, np.arange(grants.shape[1])]
        return np.where(np.isclose(after, before, rtol=1e-6, atol=0.0), before, after)

    def _granted(self, grants: np.ndarray, resource: np.ndarray) -> np.ndarray:
        """(N,) how much of a resource all workloads have together."""
        knobs = self._table[:, resource]  # (n_workloads, N)
        return np.where(knobs == NO_KNOB, 0.0, grants[knobs, np.arange(grants.shape[1])]).sum(axis=0)
