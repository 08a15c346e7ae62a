"""Picks the best actuator that works here for every knob of a spec."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from controller.actuators.absent import Absent
from controller.actuators.actuator import Actuator, ActuatorError, Capability
from controller.actuators.cgroup import CgroupCpu
from controller.actuators.file import FileKnobs
from controller.actuators.group import WorkloadGroup
from controller.actuators.hierarchy import Hierarchy
from controller.actuators.http import HttpKnobs
from controller.actuators.limits import CgroupLimit, CpuWeight, Pause, Processes, Processors
from controller.actuators.memory import Memory
from controller.actuators.network import NetworkRate
from controller.actuators.network_share import NetworkShare
from controller.actuators.process import ProcessCpu
from controller.actuators.process_limits import Affinity, IoPriority, Nice, Rlimit
from controller.actuators.replica_knobs import ReplicaKnobs
from controller.actuators.storage import Storage, StorageOperations
from controller.components import Component
from envs.spec import Knob, SystemSpec

logger = logging.getLogger(__name__)

LIMITS: dict[str, type[CgroupLimit]] = {
    "cpu_weight": CpuWeight, "processors": Processors, "memory": Memory, "storage": Storage,
    "storage_operations": StorageOperations, "processes": Processes, "pause": Pause,
}  # fmt: skip
NAMES = {"cpu": ("cpu", "cpu"), **{name: limit.NAMES for name, limit in LIMITS.items()}}
"""Actuator -> its cgroup controller, in version 1 and 2."""


@dataclass
class Actuators:
    """The actuators in use, and those that are off with the reason.

    Attributes:
        used: in the order of workloads, CPU before component knobs.
        capabilities: of each in use, same order.
        off: one line each.
    """

    used: list[Actuator] = field(default_factory=list)
    capabilities: list[Capability] = field(default_factory=list)
    off: list[str] = field(default_factory=list)

    @property
    def enforced(self) -> bool:
        """Whether every CPU knob is a limit that holds; False without root."""
        return all(
            capability.enforced
            for actuator, capability in zip(self.used, self.capabilities, strict=True)
            if isinstance(actuator, CgroupCpu | ProcessCpu) or (isinstance(actuator, Absent) and actuator.is_cpu)
        )

    def of(self, workload: str) -> list[Actuator]:
        """The actuators of one workload."""
        return [actuator for actuator in self.used if actuator.workload == workload]

    def report(self) -> str:
        """What is used for which knob, and what is off and why; lines of plain text."""
        used = [
            f"{actuator.workload}: {capability.reason} ({', '.join(actuator.knobs)})"
            for actuator, capability in zip(self.used, self.capabilities, strict=True)
        ]
        return "\n".join([*used, *(f"off: {line}" for line in self.off)])

    def undo(self) -> None:
        """Restore everything that was found at start; may be called twice."""
        for actuator in self.used:
            actuator.undo()


def build_actuators(
    spec: SystemSpec,
    components: Mapping[str, Component],
    hierarchy: Hierarchy | None = None,
    *,
    own: Sequence[Actuator] = (),
) -> Actuators:
    """Probe what works here and take the best for each knob: its control group, else without privilege, else none.

    Args:
        spec: whose knobs.
        components: by workload.
        hierarchy: of the cpu controller; None looks for it.
        own: the caller's, such as `CallbackKnobs`; they are taken for the knobs that they have.
    """
    chosen = Actuators()
    hierarchies = {} if hierarchy is None else {"cpu": hierarchy}
    for name, (old, new) in NAMES.items():
        if name in hierarchies or not any(knob.actuator == name for knob in spec.knobs):
            continue
        try:
            hierarchies[name] = Hierarchy.detect(old, unified_name=new)
        except ActuatorError as error:
            chosen.off.append(f"cgroup: {error}")
    for tree in {(h.mount, h.base): h for h in hierarchies.values()}.values():
        for stale in tree.remove_stale():
            logger.warning("removed group %s, left by a controller that was killed", stale)
    most = float(np.max([knob.high for knob in spec.knobs if knob.actuator == "cpu"], initial=1.0))
    for slot, workload in enumerate(spec.workloads):
        component = components.get(workload, Component(workload, ""))
        candidates = _Candidates(spec, component, hierarchies, slot, most)
        for given in (actuator for actuator in own if actuator.workload == workload):
            _take_first([given], chosen)
        for ways in candidates.by_knob({name for actuator in own for name in actuator.knobs}):
            _take_first(ways, chosen)
    return chosen


@dataclass
class _Candidates:
    """The actuators that could serve one workload.

    Attributes:
        spec: whose knobs.
        component: of the workload.
        hierarchies: by actuator, of its cgroup controller.
        slot: position among the workloads, so that those on one processor are spread.
        most: the largest CPU knob of all, cores.
        groups: by mount; on version 2 the actuators of a workload share one.
    """

    spec: SystemSpec
    component: Component
    hierarchies: Mapping[str, Hierarchy]
    slot: int
    most: float
    groups: dict[Path, WorkloadGroup] = field(default_factory=dict)

    def by_knob(self, served: set[str]) -> list[list[Actuator]]:
        """For each set of knobs, the actuators that could serve, best first; `served` are left out."""
        own = [k for k in self.spec.knobs if k.workload == self.component.name and k.name not in served]
        if self.component.replicas:
            return self._of_replicas(own)
        outside = [k for k in own if k.actuator not in ("component", "file")]
        found = [[*self._ways(knob), Absent(knob)] for knob in outside]
        inside = tuple(knob.name for knob in own if knob.actuator == "component")
        if inside:
            found.append([HttpKnobs(self.component.name, inside, self.component)])
        return found + [[actuator] for actuator in self._files([k for k in own if k.actuator == "file"])]

    def _of_replicas(self, own: list[Knob]) -> list[list[Actuator]]:
        """A limit of a host would have to be shared out among the replicas that happen to run on it."""
        reason = f"{self.component.name} has replicas, on which only PATCH /knobs is set"
        found: list[list[Actuator]] = [[Absent(knob, reason)] for knob in own if knob.actuator != "component"]
        inside = tuple(knob.name for knob in own if knob.actuator == "component")
        return [*found, [ReplicaKnobs(self.component.name, inside, self.component)]] if inside else found

    def _ways(self, knob: Knob) -> list[Actuator]:
        workload, component, name = self.component.name, self.component, knob.name
        without: dict[str, list[Actuator]] = {}
        if knob.actuator == "cpu":
            without["cpu"] = [ProcessCpu(workload, name, component, uncapped=self.most, slot=self.slot)]
        if knob.actuator == "cpu_weight":
            without["cpu_weight"] = [ProcessCpu(workload, name, component, uncapped=knob.default, pins=False)]
        if knob.actuator == "processors":
            affinity = Affinity(workload, name, component)
            affinity.slot = self.slot
            without["processors"] = [affinity]
        if knob.actuator == "rlimit":
            without["rlimit"] = [Rlimit(workload, name, component, unlimited=knob.high, target=knob.target)]
        if knob.actuator == "network":
            without["network"] = [NetworkRate(workload, name, component, unlimited=knob.high, target=knob.target)]
        if knob.actuator == "network_share":
            share = NetworkShare(workload, name, component, unlimited=knob.high, target=knob.target)
            share.slot = self.slot
            without["network_share"] = [share]
        if knob.actuator == "nice":
            without["nice"] = [Nice(workload, name, component)]
        if knob.actuator == "io_priority":
            without["io_priority"] = [IoPriority(workload, name, component)]
        return [*self._by_group(knob), *without.get(knob.actuator, [])]

    def _by_group(self, knob: Knob) -> list[Actuator]:
        hierarchy = self.hierarchies.get(knob.actuator)
        if hierarchy is None:
            return []
        workload, name = self.component.name, knob.name
        group = self.groups.setdefault(hierarchy.mount, WorkloadGroup(workload, self.component, hierarchy))
        if knob.actuator == "cpu":
            weighted = not any(k.actuator == "cpu_weight" and k.workload == workload for k in self.spec.knobs)
            return [
                CgroupCpu(
                    workload, name, self.component, hierarchy,
                    uncapped=knob.high, total=self.spec.cores, group=group, weighted=weighted,
                )
            ]  # fmt: skip
        if knob.actuator in ("storage", "storage_operations"):
            kind = Storage if knob.actuator == "storage" else StorageOperations
            return [kind(workload, name, hierarchy, group, unlimited=knob.high, target=knob.target)]
        unlimited = {"cpu_weight": knob.default, "pause": 0.0}.get(knob.actuator, knob.high)
        limit = LIMITS[knob.actuator](workload, name, hierarchy, group, unlimited=unlimited)
        if isinstance(limit, Processors):
            limit.slot = self.slot
        return [limit]

    def _files(self, knobs: list[Knob]) -> list[FileKnobs]:
        """One for each file: what stands together is replaced together."""
        files: dict[tuple[str, str], dict[str, str]] = {}
        for knob in knobs:
            path, _, key = knob.target.partition("#")
            files.setdefault((path, knob.reload), {})[knob.name] = key or knob.name
        return [
            FileKnobs(self.component.name, keys, self.component, path, reload) for (path, reload), keys in files.items()
        ]


def _take_first(candidates: Sequence[Actuator], chosen: Actuators) -> None:
    """The first that works; the last of the candidates where none does, so that every knob has one."""
    for actuator in candidates:
        capability = actuator.probe()
        if capability.available and capability.reversible:
            break
        chosen.off.append(f"{type(actuator).__name__} of {actuator.workload}: {capability.reason}")
    chosen.used.append(actuator)
    chosen.capabilities.append(capability)
