"""Learners that another process can unpickle, which a test module cannot offer."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from agents.progress import Progress


def tell_process(on_progress: Progress | None) -> dict[str, Any]:
    """Who and when it was, and its number of threads; reports two of four, then all."""
    began = time.monotonic()
    if on_progress:
        on_progress(2, 4, "half")
        on_progress(4, 4, "whole")
    return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS"), "from": began, "to": time.monotonic()}


def fail(on_progress: Progress | None) -> dict[str, Any]:
    """Raises in the middle of its work."""
    if on_progress:
        on_progress(1, 4, "starting")
    raise ValueError("the well is dry")


def die(on_progress: Progress | None) -> dict[str, Any]:
    """As the kernel kills what takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}
