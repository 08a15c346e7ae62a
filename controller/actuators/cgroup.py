"""CPU cores of a workload by control group: a ceiling (quota) and a guarantee (weight), on cgroup v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping

from controller.actuators.actuator import ActuatorError, Capability
from controller.actuators.group import WorkloadGroup
from controller.actuators.hierarchy import Hierarchy, write_text
from controller.components import Component
from controller.revert import Step
from telemetry.processes import process_start

PERIOD_US = 20_000
"""Microseconds. With the usual 100 ms a small quota stalls a latency-critical service for 80 ms at a time."""
LEAST_QUOTA_US = 1_000
"""The kernel refuses less with EINVAL; below 0.05 cores the period grows instead."""
SHARES_PER_CORE, WEIGHT_PER_CORE = 1024, 100
"""The kernel's defaults, v1 and v2: a core granted weighs as much as one ordinary busy process elsewhere."""


class CgroupCpu:
    """CPU cores of one workload.

    Args:
        workload: whose CPU.
        knob: name of its CPU knob.
        component: the process to hold.
        hierarchy: of the cpu controller.
        uncapped: what an unlimited workload has, cores.
        total: weight of all workloads together against the rest of the host, cores.
        parent: name of the group that holds the workloads' groups; None takes `own_group()`.
        group: shared with other actuators of the workload; None makes one.
        weighted: whether the weight follows the ceiling; not where it is a knob of its own.
    """

    def __init__(
        self,
        workload: str,
        knob: str,
        component: Component,
        hierarchy: Hierarchy,
        *,
        uncapped: float,
        total: float,
        parent: str | None = None,
        group: WorkloadGroup | None = None,
        weighted: bool = True,
    ) -> None:
        self.workload = workload
        self.knobs: tuple[str, ...] = (knob,)
        self._hierarchy, self._uncapped, self._total, self._weighted = hierarchy, uncapped, total, weighted
        self._group = group or WorkloadGroup(workload, component, hierarchy, parent)

    def probe(self) -> Capability:
        """Makes the group and removes it again, which is the only proof of being allowed to."""
        if not process_start(self._group.component.pid):
            return Capability(False, True, f"{self.workload} has no process on this host")
        held = self._group.held
        try:
            self._group.prepare(self._hierarchy)
            self._set(self.read()[self.knobs[0]])
        except ActuatorError as error:
            return Capability(False, True, str(error))
        finally:
            if not held:
                self._group.undo()
        return Capability(True, True, f"{self._group.kind} quota{' and weight' if self._weighted else ''}")

    def read(self) -> dict[str, float]:
        """Cores granted; `uncapped` before the first change."""
        ceiling = self._ceiling() if self._group.in_use else None
        return {self.knobs[0]: self._uncapped if ceiling is None else ceiling}

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Set the ceiling and the weight; the process is moved into the group at the first call."""
        self._group.prepare(self._hierarchy)
        self._set(float(values[self.knobs[0]]))
        self._group.take()
        return self.read()

    def attach(self, component: Component) -> None:
        """Hold another process; the quota in force stays in force for it."""
        self._group.attach(component)

    def revert_steps(self) -> list[Step]:
        """Moves the processes back to where they came from and removes the group, or writes what was found in it."""
        names = ("cpu.max", "cpu.weight") if self._group.in_place else ()
        return self._group.revert_steps({name: self._group.found(name) for name in names})

    def undo(self) -> None:
        """Put the processes back into the group they came from and remove ours, or write what was found."""
        self._group.undo()

    def _set(self, cores: float) -> None:
        period = max(PERIOD_US, round(LEAST_QUOTA_US / cores))
        quota = max(LEAST_QUOTA_US, round(cores * period))
        if self._hierarchy.version == 2:
            self._group.write("cpu.max", f"{quota} {period}")
        else:
            if self._group.read("cpu.cfs_period_us").strip() != str(period):
                self._group.write("cpu.cfs_quota_us", "-1")  # a period that the old quota does not suit is refused
                self._group.write("cpu.cfs_period_us", str(period))
            self._group.write("cpu.cfs_quota_us", str(quota))
        if self._weighted:
            self._set_weight(cores)

    def _set_weight(self, cores: float) -> None:
        """That of `cores` busy processes, of the group; and once for all workloads together against the host's rest."""
        name, text = self._weight(cores)
        self._group.write(name, text)
        if not self._group.in_place:
            name, text = self._weight(self._total)
            write_text(self._group.folder.parent / name, text)

    def _weight(self, cores: float) -> tuple[str, str]:
        if self._hierarchy.version == 2:
            return "cpu.weight", str(min(10_000, max(1, round(cores * WEIGHT_PER_CORE))))
        return "cpu.shares", str(max(2, round(cores * SHARES_PER_CORE)))

    def _ceiling(self) -> float | None:
        if self._hierarchy.version == 2:
            quota, period = self._group.read("cpu.max").split()
        else:
            quota, period = self._group.read("cpu.cfs_quota_us"), self._group.read("cpu.cfs_period_us")
        return None if quota == "max" or int(quota) < 0 else int(quota) / int(period)
