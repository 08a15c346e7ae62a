"""Child processes that cannot outlive their parent, and the ports they listen on."""

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from testbed.component import HOST


class TestbedError(RuntimeError):
    """The testbed cannot be started or does not get ready; the message says why, in one line."""

    __test__ = False  # for pytest: not a test, in spite of the name


class Lifeline:
    """Starts children that hold the read end of a pipe and end when its write end, held here alone, is closed.

    Args:
        log_dir: each child's output goes to a file there; None leaves it on this process's standard error.
    """

    def __init__(self, log_dir: Path | None = None) -> None:
        self._read_end, self._write_end = os.pipe()
        self._log_dir = log_dir

    def spawn(self, name: str, module: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start `python -m module arguments`, in a session of its own.

        A component's nice value then counts against all others under Linux's autogroup, and Ctrl-C reaches the launcher
        alone, which ends the components in order.
        """
        command = [sys.executable, "-m", module, *arguments, "--lifeline-fd", str(self._read_end)]
        # Linux sends it when the *thread* that started the child ends, so only the main one may ask for it.
        if threading.current_thread() is threading.main_thread():
            command.append("--parent-death-signal")
        root = Path(__file__).resolve().parent.parent
        search_path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._output(name) as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(self._read_end,),
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": search_path},
            )

    def close(self) -> None:
        """Let go of the pipe: whichever child still runs ends now."""
        os.close(self._write_end)
        os.close(self._read_end)

    @contextlib.contextmanager
    def _output(self, name: str) -> Iterator[int]:
        if self._log_dir is None:
            yield sys.__stderr__.fileno() if sys.__stderr__ is not None else subprocess.DEVNULL
            return
        self._log_dir.mkdir(parents=True, exist_ok=True)
        with open(self._log_dir / f"{name}.log", "ab") as file:
            yield file.fileno()


def end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for a process until `deadline`, in monotonic seconds, and then kill it."""
    try:
        process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def choose_ports(names: Sequence[str], wanted: Mapping[str, int]) -> dict[str, int]:
    """A port for each name, a free one where none is wanted.

    Raises:
        TestbedError: a wanted port is in use.
    """
    ports: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for name in names:
            # Held until all are chosen, so that no port is chosen twice.
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted.get(name, 0)))
            except (OSError, OverflowError) as error:
                raise TestbedError(
                    f"port {wanted.get(name)} for {name} cannot be used on {HOST} ({error}); choose another or none"
                ) from error
            ports[name] = probe.getsockname()[1]
    return ports


def lock(state_dir: Path) -> int:
    """Claim a state directory, until the returned descriptor is closed or this process ends.

    Raises:
        TestbedError: another launcher has it.
    """
    descriptor = os.open(state_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise TestbedError(f"another testbed uses {state_dir}; stop it or choose another directory") from error
    return descriptor


def answers(url: str) -> bool:
    """Whether a component says that it is well."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=1.0) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
