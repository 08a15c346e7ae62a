"""Which processes belong to a workload: a tree, a control group, or those of a name."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from telemetry.collectors.source import SourceError
from telemetry.processes import ids_in, process_start, process_tree

V1_CONTROLLERS = ("cpuacct", "cpu", "memory", "pids")
"""Hierarchies of version 1 that are asked for a group's processes, the first that has the group."""


@dataclass(frozen=True)
class Tree:
    """A process and its descendants; nothing once the process has ended, even if its id is used again.

    The kernel's own lists of children are followed, thread by thread: no process of others is looked at.

    Attributes:
        pid: id of the root.
        start: of the root, clock ticks since boot; 0 where it does not run.
    """

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Tree:
        """The tree below the process that has this id now."""
        return cls(pid, process_start(pid))

    def pids(self) -> list[int]:
        """Ids of all, root first."""
        if not self.start or process_start(self.pid) != self.start:
            return []
        return process_tree(self.pid)


@dataclass(frozen=True)
class ControlGroup:
    """The processes of a control group and of those below it.

    Attributes:
        path: below the hierarchy, e.g. `trimtab/serving`.
        root: where the hierarchies are mounted.
    """

    path: str
    root: str = "/sys/fs/cgroup"

    def pids(self) -> list[int]:
        """Ids of all; empty while there is no such group."""
        folders = [Path(self.root, self.path), *(Path(self.root, name, self.path) for name in V1_CONTROLLERS)]
        for folder in folders:
            if (folder / "cgroup.procs").exists():
                return [pid for parent, _, _ in os.walk(folder) for pid in ids_in(f"{parent}/cgroup.procs")]
        return []


@dataclass(frozen=True)
class Named:
    """All processes whose name or command line matches; every process of the host is looked at.

    Attributes:
        pattern: regular expression, searched in the name (15 characters at most) and in the command line.

    Raises:
        SourceError: at the making, where it is no regular expression.
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise SourceError(f"process name {self.pattern!r} is no regular expression: {error}") from None

    def pids(self) -> list[int]:
        """Ids of all but ourselves: our own command line tells the pattern."""
        every = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in every if pid != os.getpid() and self.matches(_titles(pid))]

    def matches(self, titles: Iterable[str]) -> bool:
        """Whether one of a process's names and command lines matches."""
        return any(map(re.compile(self.pattern).search, titles))


Target = Tree | ControlGroup | Named


def _titles(pid: int) -> Iterator[str]:
    for name in ("comm", "cmdline"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
            yield file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
