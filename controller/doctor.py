"""What of the controller works on this host, for this user: tried, not guessed."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controller.actuators.cgroup import CgroupCpu
from controller.actuators.hierarchy import Hierarchy
from controller.actuators.process import ProcessCpu
from controller.components import Component
from controller.guard import Guard
from controller.journal import Journal
from controller.lease import BEAT, read_number
from telemetry.processes import boot_id, boot_seconds, process_start

WARDEN_SECONDS = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    Attributes:
        name: of it.
        works: whether it does.
        needed: whether the controller cannot act without it.
        detail: how, or why not; one line.
    """

    name: str
    works: bool
    needed: bool
    detail: str


def examine(state_dir: str | Path, sleep: Callable[[float], None] = time.sleep) -> list[Finding]:
    """Try everything; leaves nothing behind.

    Args:
        state_dir: where a controller would keep its files; made if missing.
        sleep: waits for seconds.
    """
    tried: list[tuple[str, bool, Callable[[], str]]] = [
        ("clock", True, _clock),
        ("journal", True, lambda: _journal(Path(state_dir))),
        ("lease and warden", True, lambda: _warden(Path(state_dir), sleep)),
        ("cpu quota by control group", False, _control_group),
        ("cpu weight without privilege", False, _autogroup),
    ]
    return [_try(name, needed, attempt) for name, needed, attempt in tried]


def _try(name: str, needed: bool, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, needed, attempt())
    except (RuntimeError, OSError) as error:  # all errors of ours are RuntimeErrors of one line
        return Finding(name, False, needed, " ".join(str(error).split()))


def _clock() -> str:
    if not boot_id():
        raise RuntimeError("the kernel tells no boot id, so a lease cannot be told from one before a restart")
    return f"up for {boot_seconds():.0f} s, boot id {boot_id()}"


def _journal(directory: Path) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        journal = Journal(Path(folder) / "journal.jsonl")
        begin = time.perf_counter()
        journal.append({"kind": "test"}, durable=True)
        seconds = time.perf_counter() - begin
        journal.close()
    return f"a record is on the disk in {1e3 * seconds:.1f} ms"


def _warden(directory: Path, sleep: Callable[[float], None]) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        begin = boot_seconds()
        guard = Guard(folder)
        try:
            while read_number(str(Path(folder) / BEAT)) is None:
                if boot_seconds() - begin > WARDEN_SECONDS:
                    log = (Path(folder) / "warden.log").read_text().strip().splitlines()
                    raise RuntimeError(f"the warden does not start: {log[-1] if log else 'it says nothing'}")
                sleep(0.01)
            return f"the warden is alive after {boot_seconds() - begin:.2f} s"
        finally:
            guard.close()


def _control_group() -> str:
    with _process() as component:
        capability = CgroupCpu("doctor", "cpu", component, Hierarchy.detect(), uncapped=1.0, total=1.0).probe()
    if not capability.available:
        raise RuntimeError(capability.reason)
    return capability.reason


def _autogroup() -> str:
    with _process() as component:
        capability = ProcessCpu("doctor", "cpu", component, uncapped=1.0).probe()
    if not capability.available:
        raise RuntimeError(capability.reason)
    return capability.reason


@contextmanager
def _process() -> Iterator[Component]:
    """A process of its own session to try things on."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True, env={"PATH": os.environ.get("PATH", "")})
    try:
        yield Component("doctor", "", process.pid, process_start(process.pid))
    finally:
        process.kill()
        process.wait()
