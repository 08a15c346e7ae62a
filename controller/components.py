"""The running components of the learning system: where each answers, and which process it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetry.collectors.targets import process_start, thread_ids


@dataclass(frozen=True)
class Component:
    """One running component.

    Attributes:
        name: serving, training, ingest or load.
        url: base URL of its HTTP face.
        pid: process id; 0 where it is not known (a component on another host).
        start: the process's start, clock ticks since boot; a number that is not used twice tells a restart from a
            process that merely has the same id. 0 where the process cannot be seen.
    """

    name: str
    url: str
    pid: int = 0
    start: int = 0


class Components:
    """The components by name, read again whenever their directory file changes.

    Args:
        source: path of the launcher's `testbed.json`, or the same content as a mapping.
    """

    def __init__(self, source: str | Path | Mapping[str, Mapping[str, Any]]) -> None:
        self._path = None if isinstance(source, Mapping) else Path(source)
        self._stamp: tuple[int, int] | None = None
        self._entries: Mapping[str, Mapping[str, Any]] = source if isinstance(source, Mapping) else {}

    def read(self) -> dict[str, Component]:
        """The components as they are now; a file that cannot be read or parsed leaves the last good one in force."""
        if self._path is not None:
            self._reread(self._path)
        return {name: _component(name, entry) for name, entry in self._entries.items()}

    def _reread(self, path: Path) -> None:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            return
        if isinstance(content, dict) and all(_is_entry(entry) for entry in content.values()):
            self._entries, self._stamp = content, stamp


def process_tree(pid: int) -> list[int]:
    """A process and its descendants, ids, parents first; empty if it is gone."""
    found, todo = [], [pid] if os.path.isdir(f"/proc/{pid}") else []
    while todo:
        process = todo.pop(0)
        found.append(process)
        for thread in thread_ids(process):
            try:
                with open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as file:
                    todo += map(int, file.read().split())
            except OSError:
                continue  # the thread ended just now
    return found


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("url"), str) and isinstance(entry.get("pid", 0), int)


def _component(name: str, entry: Mapping[str, Any]) -> Component:
    pid = int(entry.get("pid", 0))
    return Component(name, str(entry["url"]).rstrip("/"), pid, process_start(pid) if pid else 0)
