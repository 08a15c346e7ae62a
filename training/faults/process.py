"""The controller's surroundings on a virtual clock: a process to be killed, its warden, its journal, its policies."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents.policy import Policy
from controller.guard import Guard, GuardConfig
from controller.journal import Journal, JournalError
from controller.lease import Lease, LeaseError
from controller.revert import Step
from controller.warden import Warden
from telemetry.processes import process_start


class Killed(BaseException):
    """The controller's process ends here, as by `kill -9`: nothing that it could catch."""


class StandIn:
    """A real process whose life and death the warden sees; the controller itself runs in ours."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
        self.id = (self._process.pid, process_start(self._process.pid))

    def end(self) -> None:
        """Kill it; may be called twice."""
        self._process.kill()
        self._process.wait()


class SimulatedLease(Lease):
    """A lease whose disk can be full."""

    full = False

    def hold(self, steps: Any, token: int) -> None:
        """As it is, unless the disk is full.

        Raises:
            LeaseError: it is.
        """
        if self.full:
            raise LeaseError("cannot write the lease: No space left on device")
        super().hold(steps, token)


class SimulatedGuard(Guard):
    """The real guard; its warden runs in this process, on the virtual clock, when the world lets it look.

    Args:
        directory: the controller's state directory.
        process: the controller's.
        clock: virtual.
        config: times.
    """

    def __init__(
        self, directory: Path, process: StandIn, clock: Callable[[], float], config: GuardConfig | None = None
    ) -> None:
        self.warden: Warden | None = None
        self.warden_may_start = True
        super().__init__(directory, config, clock=clock)
        self._owner = process.id
        self._lease = SimulatedLease(str(self.directory), self._owner, self.config.lease_seconds, clock)
        self.lease = self._lease
        self._start_warden()
        self.look()

    def look(self) -> None:
        """Let the warden look once."""
        if self.warden is not None and not self.warden.look():
            self.warden = None

    def let_go(self) -> None:
        """What the kernel does with the locks of a process that was killed."""
        self._unlock()

    def _start_warden(self) -> None:
        if self.warden_may_start:
            self.warden = Warden(str(self.directory), self._owner, self._clock)

    def _stop_warden(self) -> None:
        self.warden = None


class WatchedJournal(Journal):
    """The real journal, whose records are seen as they are written; its disk can be full, its writer can be killed.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.written: list[Mapping[str, Any]] = []
        """Written since the world cleared them."""
        self.refused = 0
        """Decisions that could not be written."""
        self.full = False
        self.before: Callable[[Mapping[str, Any]], None] = lambda record: None
        self.after: Callable[[Mapping[str, Any]], None] = lambda record: None
        super().__init__(path, sync=False)

    def append(self, record: Mapping[str, Any], *, durable: bool = False, urgent: bool = False) -> bool:
        """As it is, with the faults around it.

        Raises:
            JournalError: the disk is full.
        """
        self.before(record)
        if self.full and not (urgent and self._free_reserve()):
            self.refused += record.get("kind") == "decision"
            raise JournalError(f"cannot write {self.path}: No space left on device")
        begun = super().append(record, durable=durable, urgent=urgent)
        self.written.append(record)
        self.after(record)
        return begun


class FaultyPolicy:
    """A policy that does what a fault tells it to do with its answer.

    Args:
        inner: the real one.
    """

    def __init__(self, inner: Policy) -> None:
        self.inner, self.name = inner, inner.name
        self.fault: Callable[[np.ndarray, np.ndarray], Any] | None = None
        """(observation, right action) -> what is answered."""
        self.sees: Callable[[np.ndarray], np.ndarray] = lambda observation: observation

    def act(self, observation: np.ndarray) -> Any:
        """The real answer, or the fault's."""
        action = self.inner.act(self.sees(observation))
        return action if self.fault is None else self.fault(observation, action)

    def reset(self) -> None:
        """Forget."""
        self.inner.reset()


def steps_of(lease: Mapping[str, Any] | None) -> list[Step]:
    """The steps of a lease; none without one."""
    return [] if lease is None else list(lease["steps"])
