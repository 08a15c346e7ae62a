"""The controller's processes as an operating system sees them: started, watched, killed, started again."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controller.commands import write_atomically
from controller.lease import read_lease
from telemetry.processes import process_start, process_tree

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
JUMPING_CLOCK = Path(__file__).parent / "jumping_clock"
"""Folder of a `sitecustomize` that shifts the wall clock of one process."""
PARTS = {"controller.policy_host": "policy host", "controller.warden": "warden"}
REVERT_PATIENCE_SECONDS = 30.0


class LiveController:
    """`trimtab control run` as a process of its own, kept alive as a service manager would.

    Args:
        command: of the controller.
        state_dir: of the controller.
        log: file of what it says.
    """

    def __init__(self, command: Sequence[str], state_dir: Path, log: Path) -> None:
        self._command, self.state_dir, self._log = list(command), state_dir, log
        self._clock_jump = log.with_suffix(".clock")
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    @property
    def environment(self) -> dict[str, str]:
        """What it is started in: this project's code, and a wall clock that `jump` can set."""
        path = os.pathsep.join((str(JUMPING_CLOCK), str(ROOT)))
        clock = {"TRIMTAB_CLOCK_JUMP": str(self._clock_jump.resolve())}
        return {**os.environ, **clock, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def keep_alive(self) -> bool:
        """Start it if it does not run; whether it was started."""
        if self.pid:
            return False
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        self.starts += 1
        return True

    def parts(self) -> dict[str, int]:
        """Process ids by part: controller, policy host, warden."""
        if not self.pid:
            return {}
        found = {"controller": self.pid}
        for pid in process_tree(self.pid)[1:]:
            words = command_line(pid)
            found |= {part: pid for module, part in PARTS.items() if module in words}
        return found

    def last_words(self) -> str:
        """The last line of what it said."""
        return (self._log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]

    def signal(self, part: str, number: signal.Signals) -> bool:
        """Send a signal to a part; False where it is not there."""
        pid = self.parts().get(part, 0)
        if pid:
            os.kill(pid, number)
        return bool(pid)

    def kill(self) -> dict[str, Any] | None:
        """`kill -9`; returns the lease that it held, None without one."""
        lease = read_lease(str(self.state_dir))
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        return lease

    def jump(self, seconds: float) -> None:
        """From now on its wall clock, and that of what it starts, is off by so many seconds; 0 puts it right again."""
        write_atomically(self._clock_jump, repr(seconds))

    def stop(self) -> int:
        """SIGTERM, and SIGKILL if it does not end; its exit status."""
        if self._process is None:
            return 0
        if self.pid:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            return self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def trimtab(*arguments: str) -> list[str]:
    """The command line of this project's own `trimtab`."""
    return [sys.executable, "-m", "trimtab", *arguments]


def seconds_until_restored(lease: Mapping[str, Any] | None, begin: float) -> float:
    """From `begin` (monotonic seconds) until everything that a lease names is as found; NaN if it is not in time."""
    steps = [] if lease is None else list(lease["steps"])
    while time.monotonic() - begin < REVERT_PATIENCE_SECONDS:
        steps = [step for step in steps if not restored(step)]
        if not steps:
            return time.monotonic() - begin
        time.sleep(0.02)
    return float("nan")


def restored(step: Mapping[str, Any]) -> bool:
    """Whether what a step of a lease is to restore is so; a process that is gone took its settings along."""
    pid = int(step.get("pid", 0))
    if pid and process_start(pid) != int(step.get("start", 0)):
        return True
    if step["kind"] == "http":
        found = knobs_of(str(step["url"]))
        return all(abs(found.get(name, float("nan")) - value) < 1e-9 for name, value in step["values"].items())
    return step["kind"] != "group" or not os.path.isdir(str(step["path"]))


def knobs_of(url: str) -> dict[str, float]:
    """Knobs in force of a component, by its knobs' URL; empty where it does not answer."""
    try:
        answer = json.loads(request("GET", url))
        return {name: float(knob["value"]) for name, knob in answer["knobs"].items()}
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return {}


def request(method: str, url: str, body: Mapping[str, Any] | None = None) -> bytes:
    """One request.

    Raises:
        OSError, HTTPException: no answer.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=2.0)
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, address.path, content, {"Content-Type": "application/json"})
        return connection.getresponse().read()
    finally:
        connection.close()


def cpu_seconds(pid: int) -> float:
    """CPU time of a process; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def command_line(pid: int) -> list[str]:
    """Words of a process's command line; empty if it is gone."""
    try:
        return [word.decode(errors="replace") for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    except OSError:
        return []


def left_groups() -> Iterator[Path]:
    """Control groups of controllers that are gone."""
    for mount in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")):
        yield from (folder for folder in mount.glob("trimtab-*") if folder.is_dir() and not _has_owner(folder))


def _has_owner(folder: Path) -> bool:
    pid, _, start = folder.name.removeprefix("trimtab-").partition("-")
    return pid.isdigit() and process_start(int(pid)) == int(start or 0)
