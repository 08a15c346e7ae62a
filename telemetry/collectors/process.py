"""Groups of processes: each the tree below one process id, summed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import psutil

from telemetry.collectors.source import series_key

COUNTERS = ("voluntary", "involuntary", "read_bytes", "write_bytes")

ENDED = (0.0, 0.0)
"""Stands for all processes of a group that ended, among (id, time of creation)."""


class ProcessSource:
    """Processor time, memory, threads, context switches, open files and I/O of process trees.

    A group whose root has vanished is absent; what one process hides from us (I/O and open files of other users) is
    absent for its whole group, since a sum without it would be wrong. CPU seconds include children that were waited
    for, so they do not fall when a worker ends. Context switches and I/O of a process that ended keep the last value
    that was seen.

    Args:
        groups: group name -> process id of the root; or a function that returns this, for
            components that are restarted.
        name: of the source.
    """

    def __init__(self, groups: Mapping[str, int] | Callable[[], Mapping[str, int]], name: str = "process") -> None:
        self.name = name
        self._groups = groups
        self._kernel_lists_children = os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
        self._roots: dict[str, tuple[int, psutil.Process | None]] = {}
        self._seen: dict[str, dict[tuple[float, float], dict[str, float]]] = {}

    def collect(self) -> dict[str, float]:
        """Current values of all groups whose root lives; empty if none does."""
        groups = self._groups() if callable(self._groups) else self._groups
        values: dict[str, float] = {}
        for group, pid in groups.items():
            readings = [reading for reading in map(_read, self._tree(group, pid)) if reading]
            if readings:
                values.update(self._sum(group, readings))
        return values

    def _tree(self, group: str, pid: int) -> list[psutil.Process]:
        """Root and descendants; empty if the root is gone, also when another process has its id by now."""
        if group not in self._roots or self._roots[group][0] != pid:
            self._roots[group] = (pid, _process(pid))
            self._seen[group] = {}  # a restarted component counts from zero
        root = self._roots[group][1]
        if root is None:
            return []
        try:
            if not root.is_running() or root.status() == psutil.STATUS_ZOMBIE:
                return []
            if not self._kernel_lists_children:
                return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        found, todo = [root], _children(pid)
        while todo:
            child = _process(todo.pop())
            if child is not None:
                found.append(child)
                todo += _children(child.pid)
        return found

    def _sum(self, group: str, readings: list[dict[str, float]]) -> dict[str, float]:
        def key(name: str, **labels: str) -> str:
            return series_key(name, group=group, **labels)

        def total(field: str) -> float | None:
            return _sum_of(field, readings)

        def lasting(field: str) -> float | None:
            return _sum_of(field, list(seen.values()))

        seen = self._seen[group]
        now = {(r["pid"], r["created"]): {c: r[c] for c in COUNTERS if c in r} for r in readings}
        ended = [seen.pop(process) for process in set(seen) - set(now) - {ENDED}]
        if ended:
            seen[ENDED] = _add([*ended, seen.get(ENDED, dict.fromkeys(COUNTERS, 0.0))])
        seen.update(now)
        series = {
            key("process_cpu_seconds_total", mode="user"): total("user"),
            key("process_cpu_seconds_total", mode="system"): total("system"),
            key("process_resident_memory_bytes"): total("rss"),
            key("process_virtual_memory_bytes"): total("vms"),
            key("process_threads"): total("threads"),
            key("process_count"): float(len(readings)),
            key("process_open_fds"): total("fds"),
            key("process_context_switches_total", kind="voluntary"): lasting("voluntary"),
            key("process_context_switches_total", kind="involuntary"): lasting("involuntary"),
            key("process_read_bytes_total"): lasting("read_bytes"),
            key("process_write_bytes_total"): lasting("write_bytes"),
        }
        return {name: value for name, value in series.items() if value is not None}


def _add(readings: list[dict[str, float]]) -> dict[str, float]:
    """Sums of the counters that all of them have."""
    sums = {counter: _sum_of(counter, readings) for counter in COUNTERS}
    return {counter: value for counter, value in sums.items() if value is not None}


def _sum_of(field: str, readings: list[dict[str, float]]) -> float | None:
    """None where one of the readings lacks the field."""
    return sum(reading[field] for reading in readings) if all(field in reading for reading in readings) else None


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _children(pid: int) -> list[int]:
    """Ids of the direct children, from the kernel's own list: psutil would read every process of the host."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                children += map(int, file.read().split())
    except OSError:
        pass  # the process or one of its threads ended just now
    return children


def _read(process: psutil.Process) -> dict[str, float]:
    """One process; empty if it vanished meanwhile, without what it hides."""
    try:
        with process.oneshot():
            times, memory, switches = process.cpu_times(), process.memory_info(), process.num_ctx_switches()
            reading = {
                "pid": float(process.pid),
                "created": process.create_time(),
                "user": times.user + times.children_user,
                "system": times.system + times.children_system,
                "rss": float(memory.rss),
                "vms": float(memory.vms),
                "threads": float(process.num_threads()),
                "voluntary": float(switches.voluntary),
                "involuntary": float(switches.involuntary),
            }
            try:
                io = process.io_counters()
                reading |= {"read_bytes": float(io.read_bytes), "write_bytes": float(io.write_bytes)}
                reading["fds"] = float(process.num_fds())
            except psutil.AccessDenied:
                pass  # another user's process
            return reading
    except psutil.Error:
        return {}
