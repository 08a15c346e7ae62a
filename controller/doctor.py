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

from controller.actuators import systemd
from controller.actuators.actuator import Actuator
from controller.actuators.cgroup import CgroupCpu
from controller.actuators.choose import LIMITS
from controller.actuators.group import WorkloadGroup
from controller.actuators.hierarchy import Hierarchy, own_group
from controller.actuators.limits import CgroupLimit
from controller.actuators.network import NetworkRate
from controller.actuators.network_share import NetworkShare
from controller.actuators.process import ProcessCpu
from controller.actuators.process_limits import Affinity, IoPriority, Nice, Rlimit
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
        ("cpu, by quota", False, lambda: _probe(_quota)),
        ("cpu, without privilege", False, lambda: _probe(lambda c: ProcessCpu("doctor", "cpu", c, uncapped=1.0))),
    ]
    tried += [(name, False, _limit(kind)) for name, kind in LIMITS.items()]
    tried += [
        ("processors, without privilege", False, lambda: _probe(lambda c: Affinity("doctor", "processors", c))),
        ("io_priority", False, lambda: _probe(lambda c: IoPriority("doctor", "io_priority", c))),
        ("nice", False, lambda: _probe(lambda c: Nice("doctor", "nice", c), new_session=False)),
        ("rlimit", False, lambda: _probe(lambda c: Rlimit("doctor", "rlimit", c, unlimited=1e9, target="nofile"))),
        ("network", False, _network),
        ("network_share", False, _network_share),
        ("systemd units", False, _systemd),
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


def _quota(component: Component) -> Actuator:
    return CgroupCpu("doctor", "cpu", component, Hierarchy.detect(), uncapped=1.0, total=1.0)


def _limit(kind: type[CgroupLimit]) -> Callable[[], str]:
    def make(component: Component) -> Actuator:
        hierarchy = Hierarchy.detect(kind.NAMES[0], unified_name=kind.NAMES[1])
        group = WorkloadGroup("doctor", component, hierarchy)
        return kind("doctor", "limit", hierarchy, group, unlimited=0.0 if kind.NAMES[0] == "freezer" else 1e12)

    return lambda: _probe(make)


def _network() -> str:
    """On a network namespace made for it, so that no interface in use is touched."""
    with _process("unshare", "--net") as component:
        return _reason(NetworkRate("doctor", "network", component, unlimited=1e9, target="lo"))


def _network_share() -> str:
    """Likewise, in a control group made for it."""
    tree = Hierarchy.unified()
    group = tree.base / f"{own_group()}-doctor"
    with _process("unshare", "--net") as component:
        tree.create(group)
        try:
            tree.move(component.pid, group)
            return _reason(NetworkShare("doctor", "network", component, unlimited=1e9, target="lo"))
        finally:
            tree.remove(group, tree.group_of(os.getpid()))


def _systemd() -> str:
    if not systemd.SYSTEMD.is_dir():
        raise RuntimeError("systemd is not the init process here")
    done = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True, timeout=5, check=False)
    if not done.stdout.strip():
        raise RuntimeError(f"systemctl: {' '.join(done.stderr.split())}")
    return f"limits of units are set as their properties (systemd is {done.stdout.strip()})"


def _probe(make: Callable[[Component], Actuator], *, new_session: bool = True) -> str:
    with _process(new_session=new_session) as component:
        return _reason(make(component))


def _reason(actuator: Actuator) -> str:
    capability = actuator.probe()
    if not capability.available:
        raise RuntimeError(capability.reason)
    return capability.reason


@contextmanager
def _process(*command: str, new_session: bool = True) -> Iterator[Component]:
    """A process of its own to try things on.

    Args:
        command: to start it with, before `sleep`.
        new_session: whether it leads a session of its own, as components do.
    """
    environment = {"PATH": os.environ.get("PATH", "")}
    process = subprocess.Popen(
        [*command, "sleep", "60"], start_new_session=new_session, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 1.0
        while command and process.poll() is None and _name(process.pid) != "sleep" and time.monotonic() < end:
            time.sleep(0.001)
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)} is not permitted here")
        yield Component("doctor", "", process.pid, process_start(process.pid))
    finally:
        process.kill()
        process.wait()


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
