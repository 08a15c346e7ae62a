"""CPU cores of a workload by control group: a ceiling (quota) and a guarantee (weight), on cgroup v1 and v2."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from controller.actuators.actuator import ActuatorError, Capability
from controller.components import Component, process_tree
from telemetry.collectors.targets import process_start

logger = logging.getLogger(__name__)

PERIOD_US = 20_000
"""Microseconds. With the usual 100 ms a small quota stalls a latency-critical service for 80 ms at a time."""
LEAST_QUOTA_US = 1_000
"""The kernel refuses less with EINVAL; below 0.05 cores the period grows instead."""
SHARES_PER_CORE, WEIGHT_PER_CORE = 1024, 100
"""The kernel's defaults, v1 and v2: a core granted weighs as much as one ordinary busy process elsewhere."""


class CpuHierarchy:
    """The cpu controller's group tree, whichever version is mounted.

    Args:
        mount: directory of the controller's root group.
        version: 1 or 2.
    """

    def __init__(self, mount: Path, version: int) -> None:
        self.mount, self.version = mount, version

    @classmethod
    def detect(cls, mounts: str | Path = "/proc/self/mounts") -> CpuHierarchy:
        """Find the cpu controller.

        Raises:
            ActuatorError: no cpu controller is mounted.
        """
        unified = None
        for line in _read(Path(mounts)).splitlines():
            _, path, kind, options, *_ = line.split()
            if kind == "cgroup" and "cpu" in options.split(","):
                return cls(Path(path), 1)
            if kind == "cgroup2":
                unified = Path(path)
        if unified is not None and "cpu" in _read(unified / "cgroup.controllers").split():
            return cls(unified, 2)
        raise ActuatorError("no cgroup hierarchy with the cpu controller is mounted")

    def create(self, group: Path) -> None:
        """Make a group below the root, its parents too, with the cpu controller on.

        Raises:
            ActuatorError: not permitted, or a parent holds processes (v2).
        """
        made = self.mount
        for part in group.parts:
            if self.version == 2 and "cpu" not in _read(made / "cgroup.subtree_control").split():
                _write(made / "cgroup.subtree_control", "+cpu")
            made = made / part
            try:
                os.mkdir(made)
            except FileExistsError:
                continue
            except OSError as error:
                raise ActuatorError(f"cannot make group {made}: {error.strerror}") from None

    def set_cores(self, group: Path, cores: float) -> None:
        """Ceiling and weight of a group.

        Raises:
            ActuatorError: the kernel refused.
        """
        period = max(PERIOD_US, round(LEAST_QUOTA_US / cores))
        quota = max(LEAST_QUOTA_US, round(cores * period))
        folder = self.mount / group
        if self.version == 2:
            _write(folder / "cpu.max", f"{quota} {period}")
        else:
            if _read(folder / "cpu.cfs_period_us").strip() != str(period):
                _write(folder / "cpu.cfs_quota_us", "-1")  # a period that the old quota does not suit is refused
                _write(folder / "cpu.cfs_period_us", str(period))
            _write(folder / "cpu.cfs_quota_us", str(quota))
        self.set_weight(group, cores)

    def set_weight(self, group: Path, cores: float) -> None:
        """Weight of a group against its siblings: that of `cores` busy processes.

        Raises:
            ActuatorError: the kernel refused.
        """
        if self.version == 2:
            _write(self.mount / group / "cpu.weight", str(min(10_000, max(1, round(cores * WEIGHT_PER_CORE)))))
        else:
            _write(self.mount / group / "cpu.shares", str(max(2, round(cores * SHARES_PER_CORE))))

    def cores(self, group: Path) -> float | None:
        """The ceiling in force, cores; None without one.

        Raises:
            ActuatorError: the group is gone.
        """
        folder = self.mount / group
        if self.version == 2:
            quota, period = _read(folder / "cpu.max").split()
        else:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        return None if quota in ("max", "-1") or int(quota) < 0 else int(quota) / int(period)

    def group_of(self, pid: int) -> Path:
        """The group that a process is in, relative to the root group.

        Raises:
            ActuatorError: the process is gone.
        """
        for line in _read(Path(f"/proc/{pid}/cgroup")).splitlines():
            _, controllers, path = line.split(":", 2)
            if (self.version == 2 and not controllers) or (self.version == 1 and "cpu" in controllers.split(",")):
                return Path(path.lstrip("/"))
        return Path()

    def move(self, pid: int, group: Path) -> None:
        """Put a process with all its threads and descendants into a group.

        Raises:
            ActuatorError: the process itself cannot be moved.
        """
        procs = self.mount / group / "cgroup.procs"
        _write(procs, str(pid))
        moved = {pid}
        # Once more after the last that was new: a child forked while its parent was being moved is missed by one pass.
        while fresh := [child for child in process_tree(pid) if child not in moved]:
            for child in fresh:
                moved.add(child)
                with contextlib.suppress(ActuatorError):  # it ended in the meantime
                    _write(procs, str(child))

    def remove(self, group: Path, refuge: Path) -> None:
        """Take a group away; whatever runs in it moves to `refuge`. Does nothing if there is no such group."""
        folder = self.mount / group
        for _ in range(10):  # processes that fork while they are moved out
            try:
                for pid in _read(folder / "cgroup.procs").split():
                    with contextlib.suppress(ActuatorError):  # it ended in the meantime
                        _write(self.mount / refuge / "cgroup.procs", pid)
                os.rmdir(folder)
            except ActuatorError:
                return
            except OSError as error:
                failure = error.strerror
            else:
                return
        logger.warning("group %s is still there: %s", folder, failure)

    def remove_stale(self) -> list[str]:
        """Remove the groups of controllers that are gone without cleaning up; returns their names.

        A controller that was killed leaves its quotas in force: the next one lifts them.
        """
        found = []
        for folder in self.mount.glob("trimtab-*"):
            match = re.fullmatch(r"trimtab-(\d+)-(\d+)", folder.name)
            if match is None or process_start(int(match[1])) == int(match[2]):
                continue
            for child in [path for path in folder.iterdir() if path.is_dir()]:
                self.remove(child.relative_to(self.mount), Path())
            self.remove(folder.relative_to(self.mount), Path())
            found.append(folder.name)
        return found


def own_group() -> str:
    """Name of this process's group: id and start, so that a later controller can tell whether the owner lives."""
    return f"trimtab-{os.getpid()}-{process_start(os.getpid())}"


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
    """

    def __init__(
        self,
        workload: str,
        knob: str,
        component: Component,
        hierarchy: CpuHierarchy,
        *,
        uncapped: float,
        total: float,
        parent: str | None = None,
    ) -> None:
        self.workload = workload
        self.knobs: tuple[str, ...] = (knob,)
        self._component, self._hierarchy, self._uncapped, self._total = component, hierarchy, uncapped, total
        self._group = Path(parent or own_group()) / workload
        self._made = False
        self._found = Path()

    def probe(self) -> Capability:
        """Makes the group and removes it again, which is the only proof of being allowed to."""
        if not process_start(self._component.pid):
            return Capability(False, True, f"{self.workload} has no process on this host")
        try:
            self._hierarchy.create(self._group)
            self._hierarchy.set_cores(self._group, self._uncapped)
        except ActuatorError as error:
            return Capability(False, True, str(error))
        finally:
            if not self._made:
                self._remove()
        return Capability(True, True, f"cgroup v{self._hierarchy.version} quota and weight")

    def read(self) -> dict[str, float]:
        """Cores granted; `uncapped` before the first change."""
        ceiling = self._hierarchy.cores(self._group) if self._made else None
        return {self.knobs[0]: self._uncapped if ceiling is None else ceiling}

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Set the ceiling and the weight; the process is moved into the group at the first call."""
        cores = float(values[self.knobs[0]])
        first = not self._made
        if first:
            self._hierarchy.create(self._group)
            self._made = True
            self._hierarchy.set_weight(self._group.parent, self._total)
        self._hierarchy.set_cores(self._group, cores)
        if first:
            self._take(self._component)
        return self.read()

    def attach(self, component: Component) -> None:
        """Hold another process; the quota in force stays in force for it."""
        self._component = component
        if self._made:
            self._take(component)

    def undo(self) -> None:
        """Put the processes back into the group they came from, and remove ours."""
        if self._made:
            self._remove()
            self._made = False

    def _take(self, component: Component) -> None:
        found = self._hierarchy.group_of(component.pid)
        self._hierarchy.move(component.pid, self._group)
        if found != self._group:  # a component that forked its successor is in our group already
            self._found = found

    def _remove(self) -> None:
        """Ours, and the parent with the last of the workloads."""
        self._hierarchy.remove(self._group, self._found)
        with contextlib.suppress(OSError):  # other workloads are still in it
            os.rmdir(self._hierarchy.mount / self._group.parent)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ActuatorError(f"cannot read {path}: {error.strerror}") from None


def _write(path: Path, text: str) -> None:
    """One write(2). A buffered file would raise EACCES or EINVAL only when it is closed, or lose it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ActuatorError(f"cannot write {text!r} to {path}: {error.strerror}") from None
