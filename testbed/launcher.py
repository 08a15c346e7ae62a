"""Starts the four components, watches over them, and leaves nothing behind."""

import argparse
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

from testbed.component import HOST
from testbed.files import write_atomically
from testbed.processes import Lifeline, TestbedError, answers, choose_ports, end, lock

MODULES = {
    "ingest": "testbed.ingest",
    "serving": "testbed.serving",
    "training": "testbed.trainer",
    "load": "testbed.load",
}
PORT_NAMES = (*MODULES, "events")
"""A port for each component's HTTP face, and `events` for the TCP port of ingest."""

STOP_SECONDS = 4.0
FIRST_RESTART_DELAY_SECONDS = 0.5
LONGEST_RESTART_DELAY_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A component that has run for so long starts again with the first delay."""
POLL_SECONDS = 0.5

_log = logging.getLogger("testbed.launcher")


@dataclass
class Component:
    """One running component.

    Attributes:
        name: serving, training, ingest or load.
        url: base URL of its HTTP face.
        process: the process; a restart replaces it.
        started_at: monotonic seconds.
        restarts: how often it was started again.
        delay: seconds before the next restart.
        restart_at: monotonic seconds; None while it runs.
    """

    name: str
    url: str
    process: subprocess.Popen[bytes]
    started_at: float
    restarts: int = 0
    delay: float = FIRST_RESTART_DELAY_SECONDS
    restart_at: float | None = None

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid


class Testbed:
    """The testbed as a context manager.

    Args:
        state_dir: directory that the components share; None makes one and removes it at the end.
        ports: a port for each of `PORT_NAMES`; those left out are chosen freely.
        log_dir: each component's standard error goes to a file there; None leaves it on this process's.
        clock: monotonic seconds, for the delays of restarts.
    """

    __test__ = False  # for pytest: not a test, in spite of the name

    def __init__(
        self,
        state_dir: Path | None = None,
        ports: Mapping[str, int] | None = None,
        *,
        log_dir: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        unknown = sorted(set(ports or {}) - set(PORT_NAMES))
        if unknown:
            raise TestbedError(f"unknown port name {unknown[0]!r}; the names are: {', '.join(PORT_NAMES)}")
        self._owns_state_dir = state_dir is None
        self._given_state_dir = state_dir
        self._wanted_ports = dict(ports or {})
        self._log_dir = log_dir
        self._clock = clock
        self._ports: dict[str, int] = {}
        self._lifeline: Lifeline | None = None
        self._lock: int | None = None
        self.state_dir = state_dir or Path()
        self.components: dict[str, Component] = {}

    def __enter__(self) -> "Testbed":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Prepare the state directory and start all components; `wait_ready` waits for them.

        Raises:
            TestbedError: a port or the state directory is in use, or the preparation failed; nothing is left running.
        """
        if self.components:
            return
        self._ports = choose_ports(PORT_NAMES, self._wanted_ports)
        self.state_dir = self._given_state_dir or Path(tempfile.mkdtemp(prefix="testbed-"))
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self._lifeline = Lifeline(self._log_dir)
        try:
            self._lock = lock(self.state_dir)
            self._prepare(self._lifeline)
            for name in MODULES:
                process = self._spawn(name, self._lifeline)
                self.components[name] = Component(name, self.url(name), process, self._clock())
            self._write_directory()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all components, by force after a few seconds, and remove what was made; may be called twice."""
        for component in self.components.values():
            component.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for component in self.components.values():
            end(component.process, deadline)
        self.components = {}
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None
        if self._lock is None:
            return
        (self.state_dir / "testbed.json").unlink(missing_ok=True)
        if self._owns_state_dir:
            shutil.rmtree(self.state_dir, ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    def url(self, name: str) -> str:
        """Base URL of a component's HTTP face."""
        return f"http://{HOST}:{self._ports[name]}"

    def alive(self) -> dict[str, bool]:
        """Whether each component's process runs."""
        return {name: component.process.poll() is None for name, component in self.components.items()}

    def poll(self) -> list[str]:
        """Start components again that have ended, on their ports and after a growing delay.

        Returns:
            The names of those that were started now.
        """
        if self._lifeline is None:
            return []
        revived = [(name, self._revive(component, self._lifeline)) for name, component in self.components.items()]
        restarted = [name for name, started in revived if started]
        if restarted:
            self._write_directory()
        return restarted

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until every component answers.

        Args:
            timeout: seconds.

        Raises:
            TestbedError: one has ended, or does not answer in time.
        """
        deadline = time.monotonic() + timeout
        for component in self.components.values():
            while not answers(component.url):
                code = component.process.poll()
                if code is not None:
                    raise TestbedError(f"{component.name} ended with exit status {code} while starting; see its log")
                if time.monotonic() > deadline:
                    raise TestbedError(f"{component.name} did not answer at {component.url} within {timeout:g} s")
                time.sleep(0.1)

    def _revive(self, component: Component, lifeline: Lifeline) -> bool:
        code = component.process.poll()
        if code is None:
            return False
        now = self._clock()
        if component.restart_at is None:
            if now - component.started_at > STEADY_SECONDS:
                component.delay = FIRST_RESTART_DELAY_SECONDS
            component.restart_at = now + component.delay
            _log.warning("%s ended with status %d; it starts again in %g s", component.name, code, component.delay)
        if now < component.restart_at:
            return False
        component.process = self._spawn(component.name, lifeline)
        component.started_at, component.restart_at = now, None
        component.restarts += 1
        component.delay = min(2 * component.delay, LONGEST_RESTART_DELAY_SECONDS)
        return True

    def _prepare(self, lifeline: Lifeline) -> None:
        process = lifeline.spawn("prepare", "testbed.prepare", ["--state-dir", str(self.state_dir)])
        try:
            code = process.wait(timeout=300)
        except BaseException:
            end(process, deadline=0.0)
            raise
        if code != 0:
            raise TestbedError(f"preparing {self.state_dir} failed with exit status {code}; see the lines above")

    def _spawn(self, name: str, lifeline: Lifeline) -> subprocess.Popen[bytes]:
        arguments = ["--port", str(self._ports[name]), "--state-dir", str(self.state_dir)]
        if name in ("ingest", "load"):
            arguments += ["--events-port", str(self._ports["events"])]
        if name == "load":
            arguments += ["--serving-url", self.url("serving")]
        return lifeline.spawn(name, MODULES[name], arguments)

    def _write_directory(self) -> None:
        directory = {name: {"url": component.url, "pid": component.pid} for name, component in self.components.items()}
        content = json.dumps(directory, indent=2).encode()
        write_atomically(self.state_dir / "testbed.json", lambda file: file.write(content))


def up(state_dir: Path | None = None, ports: Mapping[str, int] | None = None) -> NoReturn:
    """Run the testbed until Ctrl-C or SIGTERM, printing where the components are.

    Raises:
        TestbedError: it cannot be started.
        SystemExit: at the end, always.
    """
    signal.signal(signal.SIGTERM, _exit)
    try:
        with Testbed(state_dir, ports) as testbed:
            testbed.wait_ready()
            for name, component in testbed.components.items():
                print(f"{name:9} {component.url}  pid {component.pid}")
            print(f"state     {testbed.state_dir}\nCtrl-C ends it", flush=True)
            while True:
                time.sleep(POLL_SECONDS)
                testbed.poll()
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def main() -> None:
    """Command line: `python -m testbed.launcher [--state-dir DIR] [--serving-port P ...]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, help="directory to keep; default: a temporary one")
    for name in PORT_NAMES:
        parser.add_argument(f"--{name}-port", type=int, help="default: any free port")
    arguments = vars(parser.parse_args())
    ports = {name: arguments[f"{name}_port"] for name in PORT_NAMES if arguments[f"{name}_port"] is not None}
    logging.basicConfig(level=logging.INFO, format="%(asctime)s launcher: %(message)s", datefmt="%H:%M:%S")
    try:
        up(arguments["state_dir"], ports)
    except TestbedError as error:
        sys.exit(f"error: {error}")


def _exit(_signal_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
