"""The processes of workloads: each workload's sum, and every process and thread of it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.collectors.budget import Budget
from telemetry.collectors.process_group import ProcessGroup
from telemetry.collectors.source import named
from telemetry.collectors.targets import Target, Tree

if TYPE_CHECKING:
    from telemetry.collectors.portable_processes import PortableProcesses

Groups = Mapping[str, int | Target]


@dataclass(frozen=True)
class ProcessDetail:
    """How closely processes are watched."""

    processes: bool = True
    """Whether each process has series of its own: 36, for 30 microseconds a reading."""
    threads: bool = True
    """Whether each thread has: 3, for 3 microseconds."""
    settled_seconds: float = 30.0
    """Age from which on a process or thread has series of its own; those that are there at the first reading have them
    at once. Short-lived ones count in their group's sums, but would fill the memory with series that hold a few values
    each: 100 kB in a ring of 300 sweeps."""
    search_share: float = 0.0002
    """Share of a processor for finding processes and threads that are new: 5 seconds apart at 1 ms, which is what 50
    threads take, 20 seconds where all processes of a host of 100 are looked through for a name; at least a second."""
    memory_share: float = 0.0001
    """Share of a processor for the proportional memory, one process at a time: 10 seconds apart at 1 ms; 37 ms, so
    six minutes, for a process of 2 GiB."""


class ProcessSource:
    """Processor time, memory, threads, context switches, open files and I/O of groups of processes.

    A group without a process is absent; what one process hides from us (I/O and open files of other users) is absent
    for its whole group, since a sum without it would be wrong. CPU seconds include children that were waited for, so
    they do not fall when a worker ends. Context switches and I/O of a process that ended keep the last value seen.

    Series: `process_*{group}` are the sums, `workload_process_*{group,pid}` and `workload_thread_*{group,pid,tid}` the
    single ones. Where there is no procfs psutil tells the sums.

    Args:
        groups: group name -> process id of the root of a tree, or what else belongs to it (`ControlGroup`, `Named`);
            or a function that returns this, for components that are restarted.
        name: of the source.
        detail: what is read beyond the sums.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        groups: Groups | Callable[[], Groups],
        name: str = "process",
        detail: ProcessDetail | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.missing: Counter[str] = Counter()
        self._told, self._clock, self._detail = groups, clock, detail or ProcessDetail()
        self._portable: PortableProcesses | None = None
        if not os.path.exists("/proc/self/stat"):
            from telemetry.collectors.portable_processes import PortableProcesses

            self._portable = PortableProcesses(groups)
        self._asked: dict[str, int | Target] = {}
        self._groups: dict[str, ProcessGroup] = {}
        self._search = Budget(self._detail.search_share, clock=clock)
        self._memory = Budget(self._detail.memory_share, clock=clock)
        self._memory_turn = 0
        self._parts: list[tuple[str, ...]] = []
        self._names: tuple[str, ...] = ()

    def series(self) -> tuple[str, ...]:
        """Full series names; the same tuple object until a process or thread is listed, or one that was has ended."""
        if self._portable is not None:
            return self._portable.names
        parts = self._names_of_groups()
        if not _same(parts, self._parts):
            self._parts = parts
            self._names = tuple(name for names in parts for name in names)
        return self._names

    def read(self, out: np.ndarray) -> bool:
        """Write the current values in the order of `series()`; a group without a process is NaN."""
        if self._portable is not None:
            return self._portable.read(out)
        self._follow()
        if self._search.due():
            with self._search.spend():
                for group in self._groups.values():
                    group.search(self._clock())
        rows = [group.read() for group in self._groups.values()]
        self._read_memory()
        if not _same(self._names_of_groups(), self._parts):
            return False
        if rows:
            out[:] = np.concatenate(rows)
        return True

    def collect(self) -> dict[str, float]:
        """Current values of all groups that have a process; empty if none has."""
        return named(self)

    def _names_of_groups(self) -> list[tuple[str, ...]]:
        return [group.names for group in self._groups.values()]

    def _follow(self) -> None:
        """Take over what the groups are now; a restarted component counts from zero."""
        told = self._told() if callable(self._told) else self._told
        if told == self._asked:
            return
        for name in [name for name in self._groups if told.get(name) != self._asked.get(name)]:
            self._groups.pop(name).close()
        settled = self._detail.settled_seconds if self._detail.processes else None
        kept = self._groups
        self._groups = {
            name: kept.get(name) or ProcessGroup(name, _target(target), settled, self._detail.threads, self.missing)
            for name, target in told.items()
        }
        self._asked = dict(told)
        self._search.at_once()

    def _read_memory(self) -> None:
        """The proportional memory of one process, whose turn it is, if what the last one cost is paid off."""
        listed = [files for group in self._groups.values() for files in group.listed()]
        if listed and self._memory.due():
            with self._memory.spend():
                listed[self._memory_turn % len(listed)].read_smaps()
            self._memory_turn += 1


def _target(target: int | Target) -> Target:
    return Tree.of(target) if isinstance(target, int) else target


def _same(a: list[tuple[str, ...]], b: list[tuple[str, ...]]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
