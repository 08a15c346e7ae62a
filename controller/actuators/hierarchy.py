"""A control group tree of the host, cgroup v1 or v2: where a controller is, and what is done with its groups."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path

from controller.actuators.actuator import ActuatorError
from telemetry.processes import process_start, process_tree

logger = logging.getLogger(__name__)

WITHOUT_CONTROLLER = ("freezer",)
"""What version 2 has in every group, without a controller that has to be turned on."""


class Hierarchy:
    """The group tree that a controller lives in.

    Args:
        mount: directory of the root group.
        version: 1 or 2.
        controller: by its name in version 1 or 2, such as `cpu` or `blkio`.
        base: group below which ours are made: the root, or where we may write without privilege (delegation).
    """

    def __init__(self, mount: Path, version: int, controller: str = "cpu", base: Path | None = None) -> None:
        self.mount, self.version, self.controller = mount, version, controller
        self.base = base or Path()

    @classmethod
    def detect(
        cls, controller: str = "cpu", mounts: str | Path = "/proc/self/mounts", unified_name: str = ""
    ) -> Hierarchy:
        """Find a controller.

        Args:
            controller: its name in version 1.
            mounts: table of what is mounted.
            unified_name: its name in version 2, where that is another one.

        Raises:
            ActuatorError: it is mounted nowhere.
        """
        name, unified = unified_name or controller, None
        for line in read_text(Path(mounts)).splitlines():
            _, path, kind, options, *_ = line.split()
            if kind == "cgroup" and controller in options.split(","):
                return cls(Path(path), 1, controller)
            if kind == "cgroup2":
                unified = Path(path)
        if unified is not None and (
            name in WITHOUT_CONTROLLER or name in read_text(unified / "cgroup.controllers").split()
        ):
            return cls(unified, 2, name, _delegated(unified))
        raise ActuatorError(f"no cgroup hierarchy with the {controller} controller is mounted")

    @classmethod
    def unified(cls, mounts: str | Path = "/proc/self/mounts") -> Hierarchy:
        """Version 2, also where its controllers are in version 1: each process has a group there.

        Raises:
            ActuatorError: it is mounted nowhere.
        """
        for line in read_text(Path(mounts)).splitlines():
            _, path, kind, *_ = line.split()
            if kind == "cgroup2":
                return cls(Path(path), 2, WITHOUT_CONTROLLER[0], _delegated(Path(path)))
        raise ActuatorError("cgroup version 2 is mounted nowhere")

    def create(self, group: Path) -> None:
        """Make a group, its parents too, with the controller on; `group` is relative to the root, and below `base`.

        Raises:
            ActuatorError: not permitted, or a parent holds processes (v2).
        """
        made = self.mount / self.base
        for part in group.relative_to(self.base).parts:
            self._enable(made)
            parent, made = made, made / part
            try:
                os.mkdir(made)
            except FileExistsError:
                continue
            except OSError as error:
                raise ActuatorError(f"cannot make group {made}: {error.strerror}") from None
            if (self.version, self.controller) == (1, "cpuset"):
                for name in ("cpuset.mems", "cpuset.cpus"):  # empty at first, and no process may enter then
                    write_text(made / name, read_text(parent / name).strip())

    def group_of(self, pid: int) -> Path:
        """The group that a process is in, relative to the root group.

        Raises:
            ActuatorError: the process is gone.
        """
        for line in read_text(Path(f"/proc/{pid}/cgroup")).splitlines():
            _, controllers, path = line.split(":", 2)
            names = controllers.split(",")
            if (self.version == 2 and not controllers) or (self.version == 1 and self.controller in names):
                return Path(path.lstrip("/"))
        return Path()

    def move(self, pid: int, group: Path) -> None:
        """Put a process with all its threads and descendants into a group.

        Raises:
            ActuatorError: the process itself cannot be moved.
        """
        procs = self.mount / group / "cgroup.procs"
        write_text(procs, str(pid))
        moved = {pid}
        # Once more after the last that was new: a child forked while its parent was being moved is missed by one pass.
        while fresh := [child for child in process_tree(pid) if child not in moved]:
            for child in fresh:
                moved.add(child)
                with contextlib.suppress(ActuatorError):  # it ended in the meantime
                    write_text(procs, str(child))

    def remove(self, group: Path, refuge: Path) -> None:
        """Take a group away; whatever runs in it moves to `refuge`. Does nothing if there is no such group."""
        folder = self.mount / group
        for _ in range(10):  # processes that fork while they are moved out
            try:
                for pid in read_text(folder / "cgroup.procs").split():
                    with contextlib.suppress(ActuatorError):  # it ended in the meantime
                        write_text(self.mount / refuge / "cgroup.procs", pid)
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

        A controller that was killed leaves its limits in force: the next one lifts them.
        """
        found = []
        for folder in (self.mount / self.base).glob("trimtab-*"):
            match = re.fullmatch(r"trimtab-(\d+)-(\d+)", folder.name)
            if match is None or process_start(int(match[1])) == int(match[2]):
                continue
            for child in [path for path in folder.iterdir() if path.is_dir()]:
                self.remove(child.relative_to(self.mount), self.base)
            self.remove(folder.relative_to(self.mount), self.base)
            found.append(folder.name)
        return found

    def _enable(self, folder: Path) -> None:
        """Let the children of a group have the controller (v2). One at a time: a write of several fails as a whole."""
        if self.version == 1 or self.controller in WITHOUT_CONTROLLER:
            return
        if self.controller not in read_text(folder / "cgroup.subtree_control").split():
            write_text(folder / "cgroup.subtree_control", f"+{self.controller}")


def own_group() -> str:
    """Name of this process's group: id and start, so that a later controller can tell whether the owner lives."""
    return f"trimtab-{os.getpid()}-{process_start(os.getpid())}"


def _delegated(mount: Path) -> Path:
    """Where our groups may be: below the root, or without the right to that, beside the group that we are in.

    Beside, since a group with processes of its own cannot hand controllers to its children; so whoever delegates a
    subtree to us starts us in a group of its own in it.
    """
    if os.access(mount, os.W_OK):
        return Path()
    for line in read_text(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::/"):
            parent = Path(line[4:]).parent
            return parent if os.access(mount / parent, os.W_OK) else Path()
    return Path()


def read_text(path: Path) -> str:
    """A small file of the kernel.

    Raises:
        ActuatorError: it cannot be read.
    """
    try:
        return path.read_text()
    except OSError as error:
        raise ActuatorError(f"cannot read {path}: {error.strerror}") from None


def write_text(path: Path, text: str) -> None:
    """One write(2). A buffered file would raise EACCES or EINVAL only when it is closed, or lose it.

    Raises:
        ActuatorError: the kernel refused.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ActuatorError(f"cannot write {text!r} to {path}: {error.strerror}") from None
