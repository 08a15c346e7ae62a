"""The processes of one workload: their sum, and what each of them and of their threads tells."""

from __future__ import annotations

from collections import Counter

import numpy as np

from telemetry.collectors.process_files import PROCESS, THREAD, ProcessFiles, ThreadFile, names_of
from telemetry.collectors.source import series_key
from telemetry.collectors.targets import Target, Tree
from telemetry.processes import thread_ids

SUMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("process_cpu_seconds_total", {"mode": "user"}),
    ("process_cpu_seconds_total", {"mode": "system"}),
    ("process_cpu_clock_seconds_total", {}),
    ("process_resident_memory_bytes", {}),
    ("process_virtual_memory_bytes", {}),
    ("process_threads", {}),
    ("process_count", {}),
    ("process_open_fds", {}),
    ("process_context_switches_total", {"kind": "voluntary"}),
    ("process_context_switches_total", {"kind": "involuntary"}),
    ("process_read_bytes_total", {}),
    ("process_write_bytes_total", {}),
)


def _column(name: str, kind: str = "") -> int:
    return next(i for i, field in enumerate(PROCESS) if (field.name, field.kind) == (name, kind))


FACTORS = np.array([field.factor for field in PROCESS])
THREAD_FACTORS = np.array([field.factor for field in THREAD])
OWN_CPU = [_column("cpu_seconds_total", mode) for mode in ("user", "system")]
CHILDREN_CPU = [_column("children_cpu_seconds_total", mode) for mode in ("user", "system")]
CLOCK = _column("cpu_clock_seconds_total")
FDS = _column("open_fds")
LEVELS = [_column(name) for name in ("resident_memory_bytes", "virtual_memory_bytes", "threads")]
LASTING = [
    _column("context_switches_total", "voluntary"),
    _column("context_switches_total", "involuntary"),
    _column("read_bytes_total"),
    _column("write_bytes_total"),
]
"""Counters of which a process that ended leaves its last value to the group; CPU seconds go to who waits for it."""


class _Member:
    """A process: its files, its last row, its threads."""

    def __init__(self, files: ProcessFiles, since: float) -> None:
        self.files, self.since, self.listed = files, since, False
        self.row = np.full(len(PROCESS), np.nan)
        self.seen: dict[int, float] = {}
        self.threads: dict[int, ThreadFile] = {}

    def close(self) -> None:
        self.files.close()
        for thread in self.threads.values():
            thread.close()


class ProcessGroup:
    """Reads the processes that belong to a workload.

    Args:
        name: of the workload.
        target: which processes belong to it.
        settled_seconds: age from which on a process or thread has series of its own; None lists none.
        threads: whether threads have.
        missing: reason -> count of values that could not be read; counted up here.
    """

    def __init__(
        self, name: str, target: Target, settled_seconds: float | None, threads: bool, missing: Counter[str]
    ) -> None:
        self.name, self._target = name, target
        self._settled, self._with_threads, self._missing = settled_seconds, threads, missing
        self._members: dict[int, _Member] = {}
        self._ended = np.zeros(len(LASTING))
        self._clock = 0.0
        self._searched = False
        self.names: tuple[str, ...] = ()
        self._name()

    def search(self, now: float) -> None:
        """Look who belongs to the group; those who are there at the first search count as settled.

        Args:
            now: seconds, monotonic.
        """
        since = now if self._searched else -float("inf")
        self._searched = True
        found = self._target.pids()
        changed = [self._retire(pid) for pid in set(self._members) - set(found)]
        for pid in found:
            if pid not in self._members:
                self._members[pid] = _Member(ProcessFiles(pid, self._missing), since)
        if self._settled is not None:
            changed += [self._list(member, now, self._settled) for member in self._members.values()]
        if any(changed):
            self._name()

    def read(self) -> np.ndarray:
        """Values in the order of `names`, which are new where somebody who was listed has ended."""
        while self._read_processes():
            pass  # who waited for the ended counts their CPU time only now, so all are read again
        members = list(self._members.values())
        parts = [self._sums(members), *(member.row * FACTORS for member in members if member.listed)]
        threads = [value for member in members if member.listed for value in self._read_threads(member)]
        if threads:
            parts.append((np.reshape(threads, (-1, len(THREAD))) * THREAD_FACTORS).ravel())
        return np.concatenate(parts)

    def listed(self) -> list[ProcessFiles]:
        """The processes that have series of their own."""
        return [member.files for member in self._members.values() if member.listed]

    def close(self) -> None:
        """Give all descriptors back."""
        for member in self._members.values():
            member.close()

    def _list(self, member: _Member, now: float, settled: float) -> bool:
        """Whether the process or one of its threads is listed from now on."""
        before = (member.listed, len(member.threads))
        member.listed = member.since + settled <= now
        if member.listed and self._with_threads:
            pid = member.files.pid
            alive = thread_ids(pid)
            # Threads that are there when their process is listed are as old as it.
            first = now if member.seen else -float("inf")
            member.seen = {tid: member.seen.get(tid, first) for tid in alive}
            for tid, since in member.seen.items():
                if tid not in member.threads and since + settled <= now:
                    member.threads[tid] = ThreadFile(pid, tid)
        return (member.listed, len(member.threads)) != before

    def _read_processes(self) -> bool:
        """Read every process; whether one has ended."""
        ended = []
        for pid, member in self._members.items():
            try:
                member.row[:] = member.files.read()
            except OSError:
                ended.append(pid)
        root = self._members.get(self._target.pid) if isinstance(self._target, Tree) else None
        if root is not None and (root.files.zombie or root.files.pid in ended):
            ended = list(self._members)  # a tree is gone with its root
        was_listed = [self._retire(pid) for pid in ended]
        if any(was_listed):
            self._name()
        return bool(ended)

    def _read_threads(self, member: _Member) -> list[float]:
        values: list[float] = []
        ended = []
        for tid, file in member.threads.items():
            try:
                values += file.read()
            except OSError:
                ended.append(tid)
        for tid in ended:
            member.threads.pop(tid).close()
        if ended:
            self._name()
        return values

    def _retire(self, pid: int) -> bool:
        """Forget a process that ended; whether it was listed."""
        member = self._members.pop(pid)
        member.close()
        if not np.isnan(member.row).all():
            self._ended += member.row[LASTING] * FACTORS[LASTING]
        return member.listed

    def _sums(self, members: list[_Member]) -> np.ndarray:
        if not members:
            return np.full(len(SUMS), np.nan)
        rows = np.array([member.row for member in members]) * FACTORS  # (P, len(PROCESS))
        zombies = np.array([member.files.zombie for member in members])
        rows[zombies, FDS] = 0.0  # closed when it ended; all else that a zombie lacks is not summed
        total = rows.sum(axis=0)
        clock = total[CLOCK] + total[CHILDREN_CPU].sum()
        # A child that is waited for goes over from its own clock to its parent's ticks, which are cut off below 10 ms.
        self._clock = np.fmax(self._clock, clock)
        cpu = [*(total[OWN_CPU] + total[CHILDREN_CPU]), clock if np.isnan(clock) else self._clock]
        return np.array([*cpu, *total[LEVELS], len(members), total[FDS], *(total[LASTING] + self._ended)])

    def _name(self) -> None:
        names = [series_key(name, group=self.name, **labels) for name, labels in SUMS]
        listed = [member for member in self._members.values() if member.listed]
        for member in listed:
            names += names_of("workload_process", PROCESS, group=self.name, pid=str(member.files.pid))
        for member in listed:
            for tid in member.threads:
                labels = {"group": self.name, "pid": str(member.files.pid), "tid": str(tid)}
                names += names_of("workload_thread", THREAD, **labels)
        self.names = tuple(names)
