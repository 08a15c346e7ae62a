"""The policies in a process of their own: what they do there, or do not do, cannot hold the loop up.

    python -m controller.policy_host DESCRIPTOR

The process loads policy artifacts and answers observations with actions, over a socket of packets. It may write no
file, and ends with the controller. The controller waits for the deadline, and no longer; after several failures it
asks no more for a growing time, and starts the process anew.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.artifact import load
from agents.novelty import NoveltyGuard, guard_of
from agents.policy import Policy
from envs.spec import Role, SystemSpec

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
HEAD = struct.Struct("!QBB")
"""Number of the question, position of the role, and what is wanted."""
ACT, RESET, READY = 0, 1, 2
MAX_BYTES = 1 << 18
"""Of a packet: thousands of times an observation, so that a spec always fits."""
MEMORY_BYTES = 2 << 30
"""Of the process's address space; numpy and an artifact take a quarter."""


class PolicyHostError(RuntimeError):
    """No action from the policy in time; one line."""


@dataclass(frozen=True)
class HostConfig:
    """How long a policy may take, and when it is asked no more."""

    deadline_seconds: float = 0.2
    """For one answer. Default: a fifth of a period of one second; a shipped policy takes half a millisecond."""
    failures: int = 3
    """In a row, after which it is asked no more for a while."""
    retry_seconds: float = 5.0
    """Length of the first such while; doubled by each further one, up to `longest_retry_seconds`."""
    longest_retry_seconds: float = 300.0
    ready_seconds: float = 20.0
    """For the process to load the artifacts."""


class PolicyHost:
    """The process, and the breaker in front of it.

    Args:
        spec: that the artifacts were made for.
        directories: role -> folder of its artifact.
        config: times.
        command: the process, without the descriptor; None for the real one.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        spec: SystemSpec,
        directories: Mapping[Role, Path],
        config: HostConfig | None = None,
        *,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self._clock = config or HostConfig(), clock
        self._command = list(command or [sys.executable, "-m", "controller.policy_host"])
        self.roles = list(directories)
        task = {"spec": spec.model_dump(mode="json"), "artifacts": {r: str(p) for r, p in directories.items()}}
        self._task = json.dumps(task).encode()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._number, self._failures, self._opened, self._ask_again_at = 0, 0, 0, -np.inf
        self._start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid if self._process is not None else 0

    def wait_ready(self) -> None:
        """Until the artifacts are loaded.

        Raises:
            PolicyHostError: they cannot be.
        """
        self._exchange(0, READY, b"", self.config.ready_seconds)

    def ask(self, role: Role, observation: np.ndarray) -> np.ndarray:
        """A role's action.

        Args:
            role: one of `roles`.
            observation: (n_observation,).

        Returns:
            Whatever numbers the policy answered, (n,) float64.

        Raises:
            PolicyHostError: none in time, or the breaker is open.
        """
        left = self._ask_again_at - self._clock()
        if left > 0:
            raise PolicyHostError(f"the policy process has failed {self._failures} times; asked again in {left:.1f} s")
        packet = np.ascontiguousarray(observation, dtype="<f4").tobytes()  # as `Task.observe` makes it
        try:
            answer = self._exchange(self.roles.index(role), ACT, packet, self.config.deadline_seconds)
        except PolicyHostError:
            self._count_failure()
            raise
        self._failures, self._opened = 0, 0
        return np.frombuffer(answer, dtype="<f8").copy()

    def reset(self, role: Role) -> None:
        """Let a role's policy forget; nothing is waited for."""
        try:
            self._send(self.roles.index(role), RESET, b"")
        except OSError as error:
            logger.debug("policy process: %s", error)  # the next question tells it

    def close(self) -> None:
        """End the process; may be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()  # it may be stopped, or hang
            self._process.wait()
            self._process = None

    def _count_failure(self) -> None:
        self._failures += 1
        # The other role is not asked in the same period: two deadlines would be a delay of the whole loop.
        self._ask_again_at = self._clock() + 2.0 * self.config.deadline_seconds
        if self._failures >= self.config.failures:
            pause = min(self.config.retry_seconds * 2.0**self._opened, self.config.longest_retry_seconds)
            self._ask_again_at, self._opened = self._clock() + pause, self._opened + 1
            logger.warning("the policy process failed %d times; started anew, asked in %.0f s", self._failures, pause)
            self.close()
            self._start()  # now, so that it has loaded when it is asked again

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [*self._command, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the controller
            )
        self._socket = ours
        ours.settimeout(1.0)
        ours.send(self._task)

    def _send(self, role: int, wanted: int, body: bytes) -> None:
        if self._socket is None:
            raise BrokenPipeError("it was closed")
        self._number += 1
        self._socket.settimeout(0.0)  # a stopped process does not empty the socket
        self._socket.send(HEAD.pack(self._number, role, wanted) + body)

    def _exchange(self, role: int, wanted: int, body: bytes, seconds: float) -> bytes:
        """The answer's body. Answers to earlier questions came too late and are thrown away."""
        end = self._clock() + seconds
        try:
            self._send(role, wanted, body)
            while (left := end - self._clock()) > 0 and self._socket is not None:
                self._socket.settimeout(left)
                packet = self._socket.recv(MAX_BYTES)
                if not packet:
                    raise PolicyHostError("the policy process has ended")
                if len(packet) < HEAD.size or (len(packet) - HEAD.size) % 8:
                    raise PolicyHostError(f"the policy process answered {len(packet)} bytes that are no numbers")
                number, _, failed = HEAD.unpack_from(packet)
                if number == self._number:
                    return _body(packet, failed)
        except TimeoutError:
            pass
        except OSError as error:
            raise PolicyHostError(f"the policy process: {error.strerror or error}") from None
        raise PolicyHostError(f"no answer of the policy process within {seconds:g} s")


def _body(packet: bytes, failed: int) -> bytes:
    if failed:
        raise PolicyHostError("the policy failed in its process")
    return packet[HEAD.size :]


class HostedPolicy:
    """One role's policy in the process, for `Controller`.

    Args:
        host: the process.
        role: of the policy.
        name: as the artifact has it.
        guard: of the artifact; it is asked in the controller's process, since it must answer when the other does not.
    """

    def __init__(self, host: PolicyHost, role: Role, name: str, guard: NoveltyGuard | None = None) -> None:
        self.host, self.role, self.name, self.guard = host, role, name, guard

    def act(self, observation: np.ndarray) -> np.ndarray:
        """See `PolicyHost.ask`; the loop takes the fallback in the same period where it raises."""
        return self.host.ask(self.role, observation)

    def reset(self) -> None:
        """Forget."""
        self.host.reset(self.role)


def hosted(host: PolicyHost, policies: Mapping[Role, Policy]) -> dict[Role, Policy]:
    """Those of some policies that the process holds, as they are asked there; names and guards stay."""
    return {role: HostedPolicy(host, role, policies[role].name, guard_of(policies[role])) for role in host.roles}


def serve(connection: socket.socket) -> None:
    """Load what the first packet names, then answer until the other end is closed."""
    task = json.loads(connection.recv(MAX_BYTES))
    spec = SystemSpec.model_validate(task["spec"])
    policies: list[Policy] = [load(Path(path), spec, Role(role)) for role, path in task["artifacts"].items()]
    while packet := connection.recv(MAX_BYTES):
        number, role, wanted = HEAD.unpack_from(packet)
        if wanted == RESET:
            policies[role].reset()
            continue
        answer, failed = b"", 0
        if wanted == ACT:
            try:
                observation = np.frombuffer(packet, dtype="<f4", offset=HEAD.size)
                answer = np.asarray(policies[role].act(observation), dtype="<f8").tobytes()
            except Exception:  # whatever it is, the controller must hear of it at once and not by the deadline
                failed = 1
        connection.send(HEAD.pack(number, role, failed) + answer)


def main(descriptor: int) -> None:
    """Give up what a policy does not need, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with socket.socket(fileno=descriptor) as connection:
        serve(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]))
