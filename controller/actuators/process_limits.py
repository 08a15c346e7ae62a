"""What can be set of a process without control groups: nice, I/O priority, processors, resource limits."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from controller import syscalls
from controller.actuators.actuator import ActuatorError, Capability
from controller.components import Component
from controller.revert import Step
from telemetry.processes import process_start, process_tree, thread_ids

T = TypeVar("T")


class ProcessLimit(Generic[T]):
    """One knob that is set on every thread, or every process, of a component.

    Args:
        workload: whose.
        knob: its name.
        component: the process; its descendants are set too.
    """

    WHAT: ClassVar[str]
    """For people."""

    def __init__(self, workload: str, knob: str, component: Component) -> None:
        self.workload = workload
        self.knobs: tuple[str, ...] = (knob,)
        self._component = component
        self._found: dict[int, T] = {}

    def probe(self) -> Capability:
        """Sets what is in force already, and looks whether the way back is open."""
        try:
            if not process_start(self._component.pid):
                raise ActuatorError(f"{self.workload} has no process on this host")
            self.way_back()
            self.put(self._component.pid, self.get(self._component.pid))
        except (ActuatorError, OSError, ValueError) as error:
            return Capability(False, False, f"{self.WHAT}: {' '.join(str(error).split())}")
        return Capability(True, *self.describe())

    def read(self) -> dict[str, float]:
        """That of the process itself."""
        try:
            return {self.knobs[0]: self.number(self.get(self._component.pid))}
        except OSError as error:
            raise ActuatorError(f"cannot tell {self.WHAT} of {self.workload}: {error.strerror}") from None

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Set it everywhere; what ended meanwhile is left out."""
        value = float(values[self.knobs[0]])
        self.check(value)
        if not process_start(self._component.pid):
            raise ActuatorError(f"the process of {self.workload} has ended")
        try:
            for id in self.ids(self._component.pid):
                with contextlib.suppress(ProcessLookupError):
                    found = self._found.setdefault(id, self.get(id))
                    self.put(id, self.wanted(value, found))
        except (OSError, ValueError) as error:
            self.undo()
            raise ActuatorError(f"cannot set {self.WHAT} of {self.workload} to {value:g}: {error}") from None
        return self.read()

    def attach(self, component: Component) -> None:
        """Go on with another process, which has what it was started with."""
        self._component, self._found = component, {}

    def revert_steps(self) -> list[Step]:
        """What was found of the process itself, for it and all that it has started."""
        component = self._component
        try:
            found = self._found[component.pid] if component.pid in self._found else self.get(component.pid)
        except OSError as error:
            raise ActuatorError(f"cannot tell {self.WHAT} of {self.workload}: {error.strerror}") from None
        return [{"pid": component.pid, "start": component.start, **self.step(found)}]

    def undo(self) -> None:
        """Restore it everywhere."""
        own, former = self._found.get(self._component.pid), self._found
        self._found = {}
        for id in {*former, *(self.ids(self._component.pid) if former else ())}:
            value = former.get(id, own)  # what was started since has inherited ours
            if value is not None:
                with contextlib.suppress(OSError, ValueError):  # it ended
                    self.put(id, value)

    def ids(self, pid: int) -> list[int]:
        """Of the threads that are set."""
        return [thread for process in process_tree(pid) for thread in thread_ids(process)]

    def way_back(self) -> None:
        """Look whether what was found can be restored.

        Raises:
            ActuatorError: it cannot.
        """

    def check(self, value: float) -> None:
        """Look whether the value may be set.

        Raises:
            ActuatorError: it would do harm.
        """

    def describe(self) -> tuple[bool, str]:
        """Whether it is a limit that holds, and how it acts."""
        return False, self.WHAT

    def get(self, id: int) -> T:
        """What is in force. May raise OSError."""
        raise NotImplementedError

    def put(self, id: int, value: T) -> None:
        """Put in force. May raise OSError or ValueError."""
        raise NotImplementedError

    def wanted(self, value: float, found: T) -> T:
        """A knob's value in the kernel's terms, given what was found."""
        raise NotImplementedError

    def number(self, value: T) -> float:
        """The knob's value of what is in force."""
        raise NotImplementedError

    def step(self, found: T) -> dict[str, object]:
        """How `controller.revert` restores it."""
        raise NotImplementedError


LAST = 19
"""Highest nice value."""


class Nice(ProcessLimit[int]):
    """From -20 (first) to 19. Refused without the right to lower it again, which is the way back."""

    WHAT = "nice"

    def way_back(self) -> None:
        """Tried on a process of our own: raised by one, and lowered again."""
        sessions = os.getsid(self._component.pid), os.getsid(0)
        if sessions[0] != sessions[1] and _autogroups() and _in_root_group(self._component.pid):
            raise ActuatorError("has no effect between sessions while autogroups are on; take actuator cpu_weight")
        with subprocess.Popen(["sleep", "5"], env={"PATH": os.environ.get("PATH", "")}) as trial:
            try:
                present = os.getpriority(os.PRIO_PROCESS, trial.pid)
                os.setpriority(os.PRIO_PROCESS, trial.pid, present + 1 if present < LAST else present - 1)
                os.setpriority(os.PRIO_PROCESS, trial.pid, present)
            except PermissionError:
                raise ActuatorError(
                    "cannot be taken back without privilege; allow it (LimitNICE=+0), or take actuator cpu_weight"
                ) from None
            finally:
                trial.kill()

    def get(self, id: int) -> int:
        return os.getpriority(os.PRIO_PROCESS, id)

    def put(self, id: int, value: int) -> None:
        os.setpriority(os.PRIO_PROCESS, id, value)

    def wanted(self, value: float, found: int) -> int:
        return min(max(round(value), -20), 19)

    def number(self, value: int) -> float:
        return float(value)

    def step(self, found: int) -> dict[str, object]:
        return {"kind": "nice", "nice": found}


class IoPriority(ProcessLimit[int]):
    """Level of the ordinary class, 0 (first) to 7."""

    WHAT = "I/O priority, which acts under the schedulers bfq and mq-deadline"

    def get(self, id: int) -> int:
        return syscalls.io_priority(id)

    def put(self, id: int, value: int) -> None:
        syscalls.set_io_priority(id, value)

    def wanted(self, value: float, found: int) -> int:
        return syscalls.best_effort(min(max(round(value), 0), 7))

    def number(self, value: int) -> float:
        return float(value & 7) if value >> syscalls.CLASS_SHIFT else 4.0  # never set: as nice 0 has it

    def step(self, found: int) -> dict[str, object]:
        return {"kind": "io_priority", "value": found}


class Affinity(ProcessLimit[frozenset[int]]):
    """How many processors a workload may use, by the affinity of its threads, which may set it themselves.

    `slot` spreads the workloads.
    """

    WHAT = "affinity to processors"
    slot = 0

    def get(self, id: int) -> frozenset[int]:
        return frozenset(os.sched_getaffinity(id))

    def put(self, id: int, value: frozenset[int]) -> None:
        os.sched_setaffinity(id, value)

    def wanted(self, value: float, found: frozenset[int]) -> frozenset[int]:
        ordered = sorted(found)
        begin = self.slot % len(ordered)
        return frozenset((ordered[begin:] + ordered[:begin])[: max(1, round(value))])

    def number(self, value: frozenset[int]) -> float:
        return float(len(value))

    def step(self, found: frozenset[int]) -> dict[str, object]:
        return {"kind": "affinity", "cpus": sorted(found)}


class Rlimit(ProcessLimit[tuple[int, int]]):
    """A soft resource limit; the hard one is left alone, since it can only be lowered.

    Args:
        workload: whose.
        knob: its name.
        component: the process.
        unlimited: what the knob is while there is no limit.
        target: `as`, `data`, `nofile`, `nproc`, or another of setrlimit(2).
    """

    NO = resource.RLIM_INFINITY

    def __init__(self, workload: str, knob: str, component: Component, *, unlimited: float, target: str) -> None:
        super().__init__(workload, knob, component)
        self.WHAT = f"soft limit {target!r}"  # type: ignore[misc]
        self._name, self._unlimited = target.lower(), unlimited

    def describe(self) -> tuple[bool, str]:
        """A process may raise its own again."""
        return True, f"{self.WHAT} of each process"

    def ids(self, pid: int) -> list[int]:
        return process_tree(pid)

    def check(self, value: float) -> None:
        """Not below what the process uses already: its next request would fail."""
        used = _used(self._component.pid, self._name)
        if value < used:
            raise ActuatorError(f"{self.workload} uses {used:g} of {self._name!r} already, {value:g} was asked for")

    def get(self, id: int) -> tuple[int, int]:
        return resource.prlimit(id, self._number())

    def put(self, id: int, value: tuple[int, int]) -> None:
        hard = resource.prlimit(id, self._number())[1]
        resource.prlimit(id, self._number(), (value[0], hard))

    def wanted(self, value: float, found: tuple[int, int]) -> tuple[int, int]:
        if value >= self._unlimited:
            return found
        hard = found[1]
        return (round(value) if hard == self.NO else min(round(value), hard)), hard

    def number(self, value: tuple[int, int]) -> float:
        return self._unlimited if value[0] == self.NO else min(float(value[0]), self._unlimited)

    def step(self, found: tuple[int, int]) -> dict[str, object]:
        return {"kind": "rlimit", "resource": self._number(), "soft": found[0]}

    def _number(self) -> int:
        number = getattr(resource, f"RLIMIT_{self._name.upper()}", None)
        if number is None:
            known = ", ".join(sorted(name[7:].lower() for name in dir(resource) if name.startswith("RLIMIT_")))
            raise ActuatorError(f"no resource {self._name!r}; known are {known}")
        return int(number)


def _used(pid: int, name: str) -> float:
    """How much of a limited resource a process uses; 0 where that is not known."""
    if name == "nofile":
        try:
            return float(max(map(int, os.listdir(f"/proc/{pid}/fd")), default=-1) + 1)
        except OSError:
            return 0.0
    field = {"as": "VmSize:", "data": "VmData:"}.get(name)
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            lines = [line.split() for line in file]
    except OSError:
        return 0.0
    return next((1024.0 * float(line[1]) for line in lines if line[0] == field), 0.0)


def _autogroups() -> bool:
    try:
        with open("/proc/sys/kernel/sched_autogroup_enabled", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def _in_root_group(pid: int) -> bool:
    """Whether a process is in the root cpu group, the only one in which autogroups act."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if "cpu" in controllers.split(",") or (not controllers and path != "/"):
                return path == "/"
    return True
