"""The running components of the learning system: where each answers, and which process it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetry.processes import process_start

READY_SHARE = 0.5
"""Default: with half of them gone the rest carries twice the load, and still shows how the workload fares."""


@dataclass(frozen=True)
class Component:
    """One running component.

    Attributes:
        name: serving, training, ingest or load.
        url: base URL of its HTTP face.
        pid: process id; 0 where it is not known (a component on another host).
        start: the process's start, clock ticks since boot; a number that is not used twice tells a restart from a
            process that merely has the same id. 0 where the process cannot be seen.
        replicas: processes that share its work, each a component of its own called `serving-0`, `serving-1`, ...;
            `url` is then that of the first, and there is no process of the whole. Empty where there is one alone.
        ready_share: of the replicas that must be ready for the readings to stand for all.
        canaries: how many replicas, the first ones, get a change before the others; 0: all at once.
    """

    name: str
    url: str
    pid: int = 0
    start: int = 0
    replicas: tuple[Component, ...] = ()
    ready_share: float = READY_SHARE
    canaries: int = 0


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


def apart(components: Mapping[str, Component]) -> dict[str, Component]:
    """The processes by name: replicas each by their own instead of the component that they are together."""
    return {one.name: one for whole in components.values() for one in whole.replicas or (whole,)}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    if "replicas" in entry:
        replicas, share = entry["replicas"], entry.get("ready_share", READY_SHARE)
        if not (isinstance(replicas, list) and replicas and all(_is_single(one) for one in replicas)):
            return False
        canaries = entry.get("canaries", 0)
        shared = isinstance(share, int | float) and 0.0 < share <= 1.0
        return shared and isinstance(canaries, int) and 0 <= canaries < len(replicas)
    return _is_single(entry)


def _is_single(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("url"), str) and isinstance(entry.get("pid", 0), int)


def _component(name: str, entry: Mapping[str, Any]) -> Component:
    if "replicas" in entry:
        replicas = tuple(_component(f"{name}-{i}", one) for i, one in enumerate(entry["replicas"]))
        share = float(entry.get("ready_share", READY_SHARE))
        canaries = int(entry.get("canaries", min(1, len(replicas) - 1)))
        return Component(name, replicas[0].url, replicas=replicas, ready_share=share, canaries=canaries)
    pid = int(entry.get("pid", 0))
    return Component(name, str(entry["url"]).rstrip("/"), pid, process_start(pid) if pid else 0)
