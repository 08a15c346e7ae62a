"""CPU of a workload without privilege: a relative weight by autogroup nice, and the number of processors it may use."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import time
from collections.abc import Callable, Mapping

from controller.actuators.actuator import ActuatorError, Capability
from controller.components import Component
from controller.revert import Step
from telemetry.processes import process_start, process_tree, thread_ids

WEIGHT_PER_NICE = 1.25
"""The kernel's: each step of nice changes the weight by this factor."""
MOST_NICE = 19
RETRIES, RETRY_SECONDS = 8, 0.06
"""The kernel refuses a second write within 0.1 s with EAGAIN, whoever made the first."""


class ProcessCpu:
    """CPU cores of one workload as a weight: nothing here holds a workload down on an idle host.

    Plain nice is not used. Without privilege it cannot be lowered again, and between sessions it has no effect while
    autogroups are on; the autogroup's own nice has neither fault.

    Args:
        workload: whose CPU.
        knob: name of its CPU knob.
        component: the process; it must lead a session of its own.
        uncapped: cores that stand for nice 0, the largest of all workloads; or a weight, for a knob that is one.
        slot: position among the workloads, so that those on one processor are spread.
        pins: whether a core or less means one processor; not for a weight.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        workload: str,
        knob: str,
        component: Component,
        *,
        uncapped: float,
        slot: int = 0,
        pins: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.workload = workload
        self.knobs: tuple[str, ...] = (knob,)
        self._component, self._uncapped, self._slot, self._sleep = component, uncapped, slot, sleep
        self._pins = pins
        self._asked: float | None = None
        self._found_nice: int | None = None
        self._found_cpus: dict[int, set[int]] = {}

    def probe(self) -> Capability:
        """Writes the nice value that is in force already."""
        try:
            pid = self._component.pid
            if not process_start(pid):
                raise ActuatorError(f"{self.workload} has no process on this host")
            if os.getsid(pid) == os.getsid(0):
                raise ActuatorError(
                    f"{self.workload} shares the session of the controller, so its weight cannot be told apart"
                )
            if _read("/proc/sys/kernel/sched_autogroup_enabled").strip() != "1":
                raise ActuatorError("autogroups are off (kernel.sched_autogroup_enabled)")
            if not _in_root_cpu_group(pid):
                raise ActuatorError(f"{self.workload} is in a cpu control group, where autogroups have no effect")
            self._write_nice(self._nice())
        except (ActuatorError, OSError) as error:
            return Capability(False, False, str(error))
        also = " and affinity" if self._pins else ""
        return Capability(True, False, f"autogroup nice{also}: relative weights, no ceiling")

    def read(self) -> dict[str, float]:
        """Cores last asked for, if the nice value that stands for them is in force; else those of the value found."""
        nice = self._nice()
        if self._asked is not None and nice == self._nice_of(self._asked):
            return {self.knobs[0]: self._asked}
        return {self.knobs[0]: self._uncapped * WEIGHT_PER_NICE ** -max(0, nice)}

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Set the weight, and one processor for a core or less."""
        cores = float(values[self.knobs[0]])
        if self._found_nice is None:
            self._found_nice = self._nice()
        if self._nice() != self._nice_of(cores):
            self._write_nice(self._nice_of(cores))
        if self._pins:
            self._pin(cores)
        self._asked = cores
        return self.read()

    def attach(self, component: Component) -> None:
        """Go on with another process, which has a session and hence a nice value of its own."""
        self._component = component
        self._asked, self._found_nice, self._found_cpus = None, None, {}

    def revert_steps(self) -> list[Step]:
        """The nice value and the processors of the main thread, which new threads inherit."""
        component = self._component
        found = self._nice() if self._found_nice is None else self._found_nice
        cpus = self._found_cpus.get(component.pid) or _cpus_of(component.pid)
        process = {"pid": component.pid, "start": component.start}
        return [
            {"kind": "autogroup", **process, "nice": found},
            {"kind": "affinity", **process, "cpus": sorted(cpus)},
        ]

    def undo(self) -> None:
        """Restore nice value and processors."""
        for thread, cpus in self._found_cpus.items():
            with contextlib.suppress(OSError):  # the thread ended
                os.sched_setaffinity(thread, cpus)
        if self._found_nice is not None:
            with contextlib.suppress(ActuatorError):  # the process ended
                self._write_nice(self._found_nice)
        self._asked, self._found_nice, self._found_cpus = None, None, {}

    def _nice_of(self, cores: float) -> int:
        steps = math.log(max(self._uncapped / max(cores, 1e-6), 1.0)) / math.log(WEIGHT_PER_NICE)
        return min(MOST_NICE, round(steps))

    def _nice(self) -> int:
        text = _read(f"/proc/{self._component.pid}/autogroup")
        if "nice" not in text:
            raise ActuatorError(f"process {self._component.pid} has no autogroup")
        return int(text.split()[-1])

    def _write_nice(self, nice: int) -> None:
        path = f"/proc/{self._component.pid}/autogroup"
        for attempt in range(RETRIES):
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(descriptor, str(nice).encode())
                finally:
                    os.close(descriptor)
                return
            except OSError as error:
                if error.errno != errno.EAGAIN or attempt == RETRIES - 1:
                    raise ActuatorError(f"cannot write nice {nice} to {path}: {error.strerror}") from None
            self._sleep(RETRY_SECONDS)

    def _pin(self, cores: float) -> None:
        """All threads of the process tree to one processor, or back to those they had; new threads inherit it."""
        for pid in process_tree(self._component.pid):
            for thread in thread_ids(pid):
                with contextlib.suppress(OSError):  # the thread ended
                    found = self._found_cpus.setdefault(thread, os.sched_getaffinity(thread))
                    own = {sorted(found)[self._slot % len(found)]}
                    os.sched_setaffinity(thread, own if cores <= 1.0 else found)


def _cpus_of(pid: int) -> set[int]:
    try:
        return os.sched_getaffinity(pid)
    except OSError as error:
        raise ActuatorError(f"cannot tell the processors of process {pid}: {error.strerror}") from None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError as error:
        raise ActuatorError(f"cannot read {path}: {error.strerror}") from None


def _in_root_cpu_group(pid: int) -> bool:
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(",") or (not controllers and path != "/"):
            return path == "/"
    return True
