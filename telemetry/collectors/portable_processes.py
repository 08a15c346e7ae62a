"""Sums over process trees by psutil, where there is no procfs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import psutil

from telemetry.collectors.source import SourceError, series_key
from telemetry.collectors.targets import ControlGroup, Named, Target


class PortableProcesses:
    """CPU seconds, memory, threads and open files of trees and of processes found by name, one sum a group.

    Args:
        groups: as `ProcessSource` takes them, but no control groups.
    """

    def __init__(self, groups: Mapping[str, int | Target] | Callable[[], Mapping[str, int | Target]]) -> None:
        self._groups = groups
        self.names: tuple[str, ...] = ()

    def read(self, out: np.ndarray) -> bool:
        """Write the values in the order of `names`; False if `names` are new.

        Raises:
            SourceError: on a group that only Linux knows.
        """
        values: dict[str, float] = {}
        for group, target in (self._groups() if callable(self._groups) else self._groups).items():
            readings = [reading for reading in map(_read, _processes(group, target)) if reading]
            for name, labels, field in SERIES if readings else ():
                if all(field in reading for reading in readings):
                    values[series_key(name, group=group, **labels)] = sum(reading[field] for reading in readings)
        if tuple(values) != self.names:
            self.names = tuple(values)
            return False
        out[:] = list(values.values())
        return True


SERIES: tuple[tuple[str, dict[str, str], str], ...] = (
    ("process_cpu_seconds_total", {"mode": "user"}, "user"),
    ("process_cpu_seconds_total", {"mode": "system"}, "system"),
    ("process_resident_memory_bytes", {}, "rss"),
    ("process_virtual_memory_bytes", {}, "vms"),
    ("process_threads", {}, "threads"),
    ("process_count", {}, "count"),
    ("process_open_fds", {}, "fds"),
)


def _processes(group: str, target: int | Target) -> list[psutil.Process]:
    if isinstance(target, ControlGroup):
        raise SourceError(f"group {group}: control groups are there on Linux only; give a process id or a name")
    if isinstance(target, Named):
        return [process for process in psutil.process_iter(["name", "cmdline"]) if target.matches(_title(process.info))]
    try:
        root = psutil.Process(target if isinstance(target, int) else target.pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _title(info: Mapping[str, object]) -> list[str]:
    words = info["cmdline"]
    return [str(info["name"]), " ".join(words) if isinstance(words, list) else ""]


def _read(process: psutil.Process) -> dict[str, float]:
    """One process; empty if it vanished meanwhile, without what it hides."""
    try:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            reading = {
                "user": times.user + getattr(times, "children_user", 0.0),
                "system": times.system + getattr(times, "children_system", 0.0),
                "rss": float(memory.rss),
                "vms": float(memory.vms),
                "threads": float(process.num_threads()),
                "count": 1.0,
            }
            if hasattr(process, "num_fds"):
                reading["fds"] = float(process.num_fds())
            return reading
    except psutil.Error:
        return {}
