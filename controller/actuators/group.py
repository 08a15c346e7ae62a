"""The control group of one workload: the one it is alone in, or else one of ours that it is moved to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from controller.actuators import systemd
from controller.actuators.actuator import ActuatorError
from controller.actuators.hierarchy import Hierarchy, own_group, read_text, write_text
from controller.components import Component
from controller.revert import Step
from telemetry.processes import ids_in, process_start, process_tree

UNLIMITED = {"cpu.max": "max 100000", "cpu.weight": "100", "cpuset.cpus": "", "memory.high": "max", "pids.max": "max"}
"""What a version 2 group has while a controller is not turned on for it, as with the first limit of its kind."""


class WorkloadGroup:
    """Where the limits of one workload are written, and how everything there is taken back.

    A workload that is alone in its group (a container, a systemd unit) keeps it, since moving it out would free it from
    the limits it has and leave behind the memory that is charged to it. The files of a systemd unit belong to systemd,
    which takes raw writes back at its next chance; so they are set as properties of the unit. Anything else is moved to
    a group of ours. On version 2 all actuators of a workload share one.

    Args:
        workload: whose.
        component: its process.
        hierarchy: of one of the controllers.
        parent: name of the group that holds the workloads' groups; None takes `own_group()`.
    """

    def __init__(self, workload: str, component: Component, hierarchy: Hierarchy, parent: str | None = None) -> None:
        self.workload = workload
        self._component, self._hierarchy = component, hierarchy
        self._own = hierarchy.base / (parent or own_group()) / workload
        self._path: Path | None = None
        self._unit: str | None = None
        self._used, self._taken = False, False
        self._found = hierarchy.base
        self._restores: dict[str, str] = {}

    @property
    def component(self) -> Component:
        """The process that is held."""
        return self._component

    @property
    def folder(self) -> Path:
        """The directory of the group in use."""
        return self._hierarchy.mount / self._locate()

    @property
    def in_place(self) -> bool:
        """Whether it is the group that the workload was found in."""
        return self._locate() != self._own

    @property
    def in_use(self) -> bool:
        """Whether there is anything to read: a group of ours before the first change has no limits yet."""
        # The warden may have removed the group, if our lease ran out.
        self._used = self._used and self.folder.is_dir()
        if not self._used:
            self._taken = False
        return self.in_place or self._used

    @property
    def held(self) -> bool:
        """Whether we changed something that is still there."""
        return self.in_use and self._used

    @property
    def kind(self) -> str:
        """What it is, for people."""
        version = f"cgroup v{self._hierarchy.version}"
        if self._unit is not None:
            return f"{version}, {self._unit} by systemd"
        return f"{version}, its own group" if self.in_place else version

    def prepare(self, hierarchy: Hierarchy) -> None:
        """Make sure that the group is there, with the controller of `hierarchy` on; idempotent.

        Raises:
            ActuatorError: it cannot be made.
        """
        if not self.in_use:
            self._restores.clear()
        self._used = True
        if not self.in_place:
            hierarchy.create(self._own)

    def take(self) -> None:
        """Let the process be in the group, after its limits were written; idempotent.

        Raises:
            ActuatorError: it cannot be moved.
        """
        if self.in_place or self._taken:
            return
        found = self._hierarchy.group_of(self._component.pid)
        self._hierarchy.move(self._component.pid, self._own)
        self._taken = True
        if found != self._own:  # a component that forked its successor is in our group already
            self._found = found

    def read(self, name: str) -> str:
        """The content of one of its files.

        Raises:
            ActuatorError: there is no such file.
        """
        path = self.folder / name
        try:
            return read_text(path)
        except ActuatorError:  # it may go while it is read: systemd turns off what has no limit left
            if self._hierarchy.version == 2 and name in UNLIMITED and path.parent.is_dir() and not path.exists():
                return UNLIMITED[name]
            raise

    def found(self, name: str) -> str:
        """What a file held before our first write; empty in a group of ours, which held nothing.

        Raises:
            ActuatorError: there is no such file.
        """
        if not self.in_place:
            return ""
        if name in self._restores:
            return self._restores[name]
        return self.read(name).strip()

    def write(self, name: str, text: str, restore: str | None = None) -> None:
        """Write one of its files.

        Args:
            name: of the file.
            text: its new content.
            restore: what undoes it, in a group that was there before us; kept from the first write. None is what the
                file held.

        Raises:
            ActuatorError: the kernel, or systemd, refused.
        """
        if self.in_place:
            self._restores.setdefault(name, self.found(name) if restore is None else restore)
        assignments = None if self._unit is None else systemd.assignments(name, text)
        if self._unit is None or assignments is None:
            write_text(self.folder / name, text)
        else:
            systemd.set_properties(self._unit, assignments)
            systemd.wait_for(self.folder / name, text)

    def attach(self, component: Component) -> None:
        """Go on with another process of the workload.

        Raises:
            ActuatorError: it cannot be moved.
        """
        former, self._component = self._path, component
        if self._used and not self.in_place:
            self._taken = False
            self.take()
            return
        self._path = None
        if self._locate() != former:  # a new container, in which everything is as at first
            self._used, self._restores = False, {}

    def revert_steps(self, restores: Mapping[str, str]) -> list[Step]:
        """How to take everything back, for `controller.revert`.

        Args:
            restores: for each file that is going to be written, what undoes it.
        """
        if not self.in_place:
            found = self._found if self._taken else self._hierarchy.group_of(self._component.pid)
            mount = self._hierarchy.mount
            return [{"kind": "group", "path": str(mount / self._own), "refuge": str(mount / found)}]
        steps: list[Step] = []
        for name, text in {**restores, **{n: t for n, t in self._restores.items() if n in restores}}.items():
            assignments = None if self._unit is None else systemd.assignments(name, text)
            if assignments is None:
                steps.append({"kind": "file", "path": str(self.folder / name), "text": f"{text}\n"})
            else:
                steps.append({"kind": "systemd", "unit": self._unit, "assignments": assignments})
        return steps

    def undo(self) -> None:
        """Take everything back; may be called twice."""
        if not self._used:
            return
        if self.in_place:
            former, self._restores = self._restores, {}
            for name, text in reversed(former.items()):
                with contextlib.suppress(ActuatorError):  # the group ended with its processes
                    self.write(name, f"{text}\n" if self._unit is None else text)
            self._restores = {}
        else:
            self._hierarchy.remove(self._own, self._found)
            with contextlib.suppress(OSError):  # other workloads are still in it
                os.rmdir(self.folder.parent)
        self._used, self._taken = False, False

    def _locate(self) -> Path:
        if self._path is None:
            self._path, self._unit = self._own, None
            if self._component.pid and process_start(self._component.pid):
                found = self._hierarchy.group_of(self._component.pid)
                if self._alone_in(found):
                    self._path, self._unit = found, systemd.unit_of(found) if self._hierarchy.version == 2 else None
        return self._path

    def _alone_in(self, group: Path) -> bool:
        # On version 1 a quota found there has a period that ours may not suit, and CPU time is charged to no group.
        if group == Path() or (self._hierarchy.version, self._hierarchy.controller) == (1, "cpu"):
            return False
        folder = self._hierarchy.mount / group
        if group.parent.name.startswith("trimtab-") or not folder.is_dir():
            return False
        inside = set(ids_in(str(folder / "cgroup.procs")))
        nested = any(entry.is_dir() for entry in os.scandir(folder))
        return bool(inside) and not nested and inside <= set(process_tree(self._component.pid))
