"""Limits of a workload by control group besides its CPU cores: weight, processors, processes, pause; v1 and v2."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from controller.actuators.actuator import ActuatorError, Capability
from controller.actuators.group import WorkloadGroup
from controller.actuators.hierarchy import Hierarchy, read_text
from controller.components import Component
from controller.revert import Step
from telemetry.processes import process_start, process_tree, thread_ids

NO_LIMIT = 1 << 60
"""Version 1 says a number of about 2 to the 63 where it means none."""


class CgroupLimit:
    """One knob of one workload that is a file of its control group.

    What differs between limits are the files, what is written to them, and what is refused before.

    Args:
        workload: whose.
        knob: its name.
        hierarchy: of the controller.
        group: of the workload.
        unlimited: what the knob is while there is no limit, in its unit.
    """

    NAMES: ClassVar[tuple[str, str]]
    """Of the controller, in version 1 and 2."""
    FILE: ClassVar[tuple[str, str]]
    """In version 1 and 2."""
    WHAT: ClassVar[str]
    """For people."""

    def __init__(
        self, workload: str, knob: str, hierarchy: Hierarchy, group: WorkloadGroup, *, unlimited: float
    ) -> None:
        self.workload = workload
        self.knobs: tuple[str, ...] = (knob,)
        self._hierarchy, self._group, self._unlimited = hierarchy, group, unlimited

    def probe(self) -> Capability:
        """Writes what is in force into the group, made for it if need be, and takes it back."""
        if not process_start(self._group.component.pid):
            return Capability(False, True, f"{self.workload} has no process on this host")
        held = self._group.held
        try:
            self._group.prepare(self._hierarchy)
            self.put(self._value() if self._group.in_place else self._unlimited)
        except ActuatorError as error:
            return Capability(False, True, str(error))
        finally:
            if not held:
                self._group.undo()
        return Capability(True, *self.describe())

    def read(self) -> dict[str, float]:
        """The limit in force."""
        return {self.knobs[0]: self._value() if self._group.in_use else self._unlimited}

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Set the limit; the process is moved into the group at the first call, if it is one of ours."""
        value = float(values[self.knobs[0]])
        self.check(value)
        self._group.prepare(self._hierarchy)
        self.put(value)
        self._group.take()
        return self.read()

    def attach(self, component: Component) -> None:
        """Hold another process; the limit in force stays in force for it, in a group of ours."""
        self._group.attach(component)

    def revert_steps(self) -> list[Step]:
        """Moves the processes back and removes the group, or writes what was found in it."""
        return self._group.revert_steps(self.restores() if self._group.in_place else {})

    def undo(self) -> None:
        """Take back everything in the group, the limits of other actuators too."""
        self._group.undo()

    def describe(self) -> tuple[bool, str]:
        """Whether the limit is one that holds, and how it acts; one line."""
        return True, f"{self._group.kind}: {self.WHAT}"

    def check(self, value: float) -> None:
        """Look before anything is made whether the value may be set.

        Raises:
            ActuatorError: it would do harm, or nothing.
        """

    def put(self, value: float) -> None:
        """Write the value.

        Raises:
            ActuatorError: the kernel refused.
        """
        amount = self.amount(value)
        self._group.write(self.file, "max" if amount is None else str(amount))

    def restores(self) -> dict[str, str]:
        """What undoes the writes of `put` in a group that was there before us, by file."""
        return {self.file: self._group.found(self.file)}

    @property
    def v2(self) -> bool:
        """Whether this is cgroup v2."""
        return self._hierarchy.version == 2

    @property
    def file(self) -> str:
        """Name of its file."""
        return self.FILE[self._hierarchy.version - 1]

    def _value(self) -> float:
        text = self._text()
        return self._unlimited if text in ("", "max") else min(self.parse(text), self._unlimited)

    def _text(self) -> str:
        return self._group.read(self.file).strip() if self._group.held else self._group.found(self.file)

    def amount(self, value: float) -> int | None:
        """What to write for a value; None for no limit, which is never lifted where one was found (a container's)."""
        if value < self._unlimited:
            return round(value)
        found = self.found_amount()
        return None if found is None else max(round(value), found)

    def found_amount(self) -> int | None:
        """The limit that was there before us."""
        text = self._group.found(self.file)
        return None if text in ("", "max") or int(text) >= NO_LIMIT else int(text)

    def parse(self, text: str) -> float:
        """The value of what its file says."""
        return float(text)


class CpuWeight(CgroupLimit):
    """Relative weight of a workload's CPU, 1 to 10,000, 100 being that of an ordinary group: work-conserving."""

    NAMES, FILE = ("cpu", "cpu"), ("cpu.shares", "cpu.weight")
    WHAT = "weight, which acts where CPU is short"

    def describe(self) -> tuple[bool, str]:
        """No limit, but it can always be taken back."""
        return False, f"{self._group.kind}: {self.WHAT}"

    def put(self, value: float) -> None:
        """In version 1 a weight of 100 is 1024 shares."""
        weight = round(min(max(value, 1.0), 10_000.0))
        self._group.write(self.file, str(weight if self.v2 else max(2, round(value * 10.24))))

    def parse(self, text: str) -> float:
        """Shares as a weight."""
        return float(text) if self.v2 else round(int(text) / 10.24, 2)

    def _value(self) -> float:
        text = self._text()
        return self.parse(text) if text else self._unlimited


class Processors(CgroupLimit):
    """How many processors a workload may use; `slot` spreads the workloads."""

    NAMES, FILE = ("cpuset", "cpuset"), ("cpuset.cpus", "cpuset.cpus")
    WHAT = "set of processors; thread counts do not follow by themselves"
    slot = 0

    def put(self, value: float) -> None:
        """The first so many of those that the group's parent may use, beginning at the slot."""
        allowed = processors_in(self._allowed())
        begin = self.slot % len(allowed)
        chosen = (allowed[begin:] + allowed[:begin])[: max(1, round(value))]
        self._group.write(self.file, ",".join(map(str, sorted(chosen))))

    def parse(self, text: str) -> float:
        """Their number."""
        return float(len(processors_in(text)))

    def _allowed(self) -> str:
        name = "cpuset.cpus.effective" if self.v2 else "cpuset.cpus"
        folder = self._group.folder.parent
        while not (folder / name).exists() and folder != folder.parent:
            folder = folder.parent  # the controller is not turned on here (v2): what holds is further up
        return read_text(folder / name).strip()


class Processes(CgroupLimit):
    """How many processes and threads a workload may have; beyond it, fork fails."""

    NAMES, FILE = ("pids", "pids"), ("pids.max", "pids.max")
    WHAT = "number of processes and threads"

    def check(self, value: float) -> None:
        """Not below what there are: the next request for a thread would fail."""
        now = sum(len(thread_ids(pid)) for pid in process_tree(self._group.component.pid))
        if value < now:
            raise ActuatorError(f"{self.workload} has {now} processes and threads, more than the {value:g} asked for")


class Pause(CgroupLimit):
    """Whether a workload is stopped: 1 freezes all its processes where they are, 0 lets them go on."""

    NAMES, FILE = ("freezer", "freezer"), ("freezer.state", "cgroup.freeze")
    WHAT = "freezer"
    FROZEN_SECONDS = 0.5
    """Within so long everything must stand still. Measured: 0.5 ms on v1, 1.5 to 30 ms on v2."""
    LOOKS_BEFORE_AGAIN = 10
    """Version 1 misses a process that was just starting another, and stays at it: seen once in twenty times."""
    LEAST_WEIGHT, LEAST_QUOTA = 10, 0.05
    """A process must run to reach the freezer: at weight 1 against 10,000 it took more than 30 s."""

    clock: Callable[[], float] = staticmethod(time.monotonic)
    sleep: Callable[[float], None] = staticmethod(time.sleep)

    def check(self, value: float) -> None:
        """Not with a share of the CPU that keeps its processes from getting there."""
        if value < 0.5 or not self.v2 or not self._group.in_use:
            return
        quota, period = self._now("cpu.max", "max 100000").split()
        weight = int(self._now("cpu.weight", "100"))
        if weight < self.LEAST_WEIGHT or (quota != "max" and int(quota) / int(period) < self.LEAST_QUOTA):
            raise ActuatorError(f"{self.workload} has too little CPU to be frozen: weight {weight}, quota {quota}")

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """The process is moved first: a group that is empty counts as frozen at once."""
        value = float(values[self.knobs[0]])
        self.check(value)
        self._group.prepare(self._hierarchy)
        self._group.take()
        self.put(value)
        return self.read()

    def put(self, value: float) -> None:
        """Write it, and wait until all stand still; what cannot be frozen in time goes on."""
        frozen = value >= 0.5
        self._group.write(self.file, self._word(frozen), self._word(False))
        end, looks = self.clock() + self.FROZEN_SECONDS, 0
        while frozen and not self._is_frozen():
            if self.clock() > end:
                self._group.write(self.file, self._word(False))
                raise ActuatorError(f"{self.workload} was not frozen within {self.FROZEN_SECONDS} s, and goes on")
            self.sleep(0.002)
            looks += 1
            if not self.v2 and looks % self.LOOKS_BEFORE_AGAIN == 0:
                self._group.write(self.file, self._word(False))
                self._group.write(self.file, self._word(True))

    def restores(self) -> dict[str, str]:
        """Going on."""
        return {self.file: self._word(False)}

    def _value(self) -> float:
        return float(self._is_frozen())

    def _now(self, name: str, otherwise: str) -> str:
        return self._group.read(name) if (self._group.folder / name).exists() else otherwise

    def _word(self, frozen: bool) -> str:
        return str(int(frozen)) if self.v2 else ("FROZEN" if frozen else "THAWED")

    def _is_frozen(self) -> bool:
        if self.v2:
            return "frozen 1" in self._group.read("cgroup.events")
        return self._group.read(self.file).strip() == "FROZEN"


def processors_in(text: str) -> list[int]:
    """A list of the kernel such as `0-3,6`.

    >>> processors_in("0-2,6")
    [0, 1, 2, 6]
    """
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return found
