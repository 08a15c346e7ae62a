"""Picks the best actuator that works here for every knob of a spec."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from controller.actuators.actuator import Actuator, ActuatorError, Capability
from controller.actuators.cgroup import CgroupCpu
from controller.actuators.hierarchy import Hierarchy
from controller.actuators.http import HttpKnobs
from controller.actuators.process import ProcessCpu
from controller.components import Component
from controller.revert import Step
from envs.spec import SystemSpec

logger = logging.getLogger(__name__)


class NoCpu:
    """Stands where no CPU actuator works: the workload keeps what it has, and `setting` says so."""

    def __init__(self, workload: str, knob: str, uncapped: float) -> None:
        self.workload = workload
        self.knobs: tuple[str, ...] = (knob,)
        self._uncapped = uncapped

    def probe(self) -> Capability:
        """Always off."""
        return Capability(False, False, "no CPU actuator works here", reversible=True)

    def read(self) -> dict[str, float]:
        """What an unlimited workload has, cores."""
        return {self.knobs[0]: self._uncapped}

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Changes nothing."""
        return self.read()

    def attach(self, component: Component) -> None:
        """Nothing to do."""

    def revert_steps(self) -> list[Step]:
        """Nothing to do."""
        return []

    def undo(self) -> None:
        """Nothing to do."""


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
            c.enforced for a, c in zip(self.used, self.capabilities, strict=True) if not isinstance(a, HttpKnobs)
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
    spec: SystemSpec, components: Mapping[str, Component], hierarchy: Hierarchy | None = None
) -> Actuators:
    """Probe what works here and take the best for each knob: cgroup, else autogroup nice, else none.

    Args:
        spec: whose knobs.
        components: by workload.
        hierarchy: of the cpu controller; None looks for it.
    """
    chosen = Actuators()
    try:
        hierarchy = hierarchy or Hierarchy.detect()
        for name in hierarchy.remove_stale():
            logger.warning("removed group %s, left by a controller that was killed", name)
    except ActuatorError as error:
        hierarchy = None
        chosen.off.append(f"cgroup: {error}")
    for slot, workload in enumerate(spec.workloads):
        component = components.get(workload, Component(workload, ""))
        for candidates in _candidates(spec, workload, component, hierarchy, slot):
            _take_first(candidates, chosen)
    return chosen


def _candidates(
    spec: SystemSpec, workload: str, component: Component, hierarchy: Hierarchy | None, slot: int
) -> list[list[Actuator]]:
    """For each set of knobs, the actuators that could serve, best first."""
    own = [knob for knob in spec.knobs if knob.workload == workload]
    most = float(np.max([knob.high for knob in spec.knobs if knob.actuator == "cpu"], initial=1.0))
    groups: list[list[Actuator]] = []
    for knob in own:
        if knob.actuator == "cpu":
            ways: list[Actuator] = []
            if hierarchy is not None:
                ways.append(CgroupCpu(workload, knob.name, component, hierarchy, uncapped=knob.high, total=spec.cores))
            ways.append(ProcessCpu(workload, knob.name, component, uncapped=most, slot=slot))
            groups.append([*ways, NoCpu(workload, knob.name, knob.high)])
    inside = tuple(knob.name for knob in own if knob.actuator == "component")
    if inside:
        groups.append([HttpKnobs(workload, inside, component)])
    return groups


def _take_first(candidates: list[Actuator], chosen: Actuators) -> None:
    """The first that works; the last of the candidates where none does, so that every knob has one."""
    for actuator in candidates:
        capability = actuator.probe()
        if capability.available and capability.reversible:
            break
        chosen.off.append(f"{type(actuator).__name__} of {actuator.workload}: {capability.reason}")
    chosen.used.append(actuator)
    chosen.capabilities.append(capability)
