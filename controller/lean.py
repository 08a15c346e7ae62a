"""Programs that run for months: each goes on in a process that never loaded the command line."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

OURS = {"telemetry", "envs", "agents", "controller", "training", "testbed"}
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # a thread of BLAS has buffers of its own, and our matrices have a hundred rows
    "MALLOC_ARENA_MAX": "1",  # each scraping thread would have a heap of its own, and only one runs at a time
}
"""Where nothing else is set. Both are read when a process starts, so that they cannot be set later."""


def become(module: str, argument: str, environment: Mapping[str, str] = ENVIRONMENT) -> None:
    """Go on as `python -m module argument`, in the same process. Returns only where the system cannot do that.

    What the command line brings would stay in memory for good.
    """
    root = str(Path(__file__).parents[1])
    found = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", module, argument]
    if os.name == "posix":  # elsewhere exec starts another process and ends this one
        os.execve(sys.executable, command, {**environment, **os.environ, "PYTHONPATH": found})


def run_as_program(run: Callable[[], None]) -> None:
    """Call `run`; what the user can put right is one line on stderr and exit status 1."""
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the only place that decides between a message and a traceback
        if type(error).__module__.partition(".")[0] not in OURS and not isinstance(error, OSError):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def leave_out_openssl() -> None:
    """Let `hashlib`, imported later, take Python's own SHA-256: OpenSSL brings 3.5 MiB, to hash a line a second.

    Where Python was built without one of its own, nothing.
    """
    if "hashlib" not in sys.modules and any(importlib.util.find_spec(name) for name in ("_sha256", "_sha2")):
        sys.modules["_hashlib"] = None  # type: ignore[assignment]  # what `import` takes for a module that is not there
