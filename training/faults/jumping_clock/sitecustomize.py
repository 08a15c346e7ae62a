"""Imported by Python itself at its start, where this folder is on PYTHONPATH: a wall clock that jumps when told to.

The file named by TRIMTAB_CLOCK_JUMP holds the seconds by which `time.time()` is off; no file, no difference. What asks
the kernel past that (`datetime.now()`, `time.localtime()` without an argument) keeps the host's time, and so do the
clocks that count from the start of the host. It stands for an NTP step as one process sees it.
"""

from __future__ import annotations

import os
import time

_FILE, _host_time = os.environ.get("TRIMTAB_CLOCK_JUMP", ""), time.time


def _jumped_time() -> float:
    try:
        with open(_FILE, encoding="ascii") as file:
            return _host_time() + float(file.read())
    except (OSError, ValueError):
        return _host_time()


if _FILE:
    time.time = _jumped_time
    time.time_ns = lambda: int(_jumped_time() * 1e9)
