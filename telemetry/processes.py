"""Processes and clocks of this host. Standard library only: the controller's warden lives on these few lines."""

from __future__ import annotations

import os
import time


def boot_id() -> str:
    """Changes with every start of the host; empty where the kernel does not tell."""
    try:
        return read_file("/proc/sys/kernel/random/boot_id").decode("ascii").strip()
    except OSError:
        return ""


def boot_seconds() -> float:
    """Seconds since the host was started, suspended time included: no change of the wall clock moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def process_start(pid: int) -> int:
    """Start of a process in clock ticks since boot; 0 if there is none, or only its zombie."""
    try:
        fields = read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def process_tree(pid: int) -> list[int]:
    """A process and its descendants, ids, parents first; empty if it is gone."""
    found = [pid] if os.path.isdir(f"/proc/{pid}") else []
    for process in found:  # grows meanwhile
        for thread in thread_ids(process):
            found += ids_in(f"/proc/{process}/task/{thread}/children")
    return found


def thread_ids(pid: int) -> list[int]:
    """Ids of a process's threads; empty if it is gone."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def ids_in(path: str) -> list[int]:
    """The numbers in a small file of the kernel; empty if what it describes is gone."""
    try:
        return list(map(int, read_file(path).split()))
    except OSError:
        return []


def read_file(path: str) -> bytes:
    """A whole small file, in a third of the time of `open`.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = b""
        while chunk := os.read(descriptor, 1 << 16):
            text += chunk
        return text
    finally:
        os.close(descriptor)
