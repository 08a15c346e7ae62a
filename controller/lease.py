"""The lease: what has to be taken back, and until when its owner answers for it. Standard library only.

Files in the controller's state directory:

| file | holds |
|---|---|
| `lease.json` | host start, owner, fencing token, the steps that restore what was found; written before each change |
| `lease.until` | until when, in seconds since the host was started; renewed by every completed period |
| `fence` | the newest fencing token; whoever acts holds its lock, and acts only with that token |
| `warden.beat` | when the warden was last alive, in seconds since the host was started |
| `reverted.jsonl` | what was taken back, when, why; `controller.reverts` copies it into the journal |
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from controller.revert import Step, revert_all
from telemetry.processes import boot_id, boot_seconds, read_file

LEASE, UNTIL, FENCE, BEAT, REVERTED = "lease.json", "lease.until", "fence", "warden.beat", "reverted.jsonl"


class LeaseError(RuntimeError):
    """A lease that cannot be written, or was lost; one line. Without one, nothing may be changed."""


class Fence:
    """A number that only grows, and a lock. A controller that slept through its lease finds a newer number.

    Args:
        directory: the controller's state directory.
    """

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, FENCE)

    def token(self) -> int:
        """The newest token; 0 before the first."""
        try:
            return int(read_file(self._path) or 0)
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def locked(self, patience: float) -> Iterator[bool]:
        """Hold the lock; yields False where another process did not let go of it.

        Args:
            patience: seconds to wait for it.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _lock(descriptor, patience)
        finally:
            os.close(descriptor)

    def advance(self, above: int = 0) -> int:
        """The next token, which makes all earlier ones worthless. To be called with the lock held.

        Args:
            above: another that it has to exceed, such as one that a component has seen.
        """
        token = max(self.token(), above) + 1
        write_durably(self._path, f"{token:020d}\n", replace=False)  # of one width: no new block on a full disk
        return token


class Lease:
    """The owner's side.

    Args:
        directory: the controller's state directory.
        owner: process id and its start.
        seconds: for which it is given at a time.
        clock: seconds since the host was started.
    """

    def __init__(
        self, directory: str, owner: tuple[int, int], seconds: float, clock: Callable[[], float] = boot_seconds
    ) -> None:
        self._directory, self._owner, self._seconds, self._clock = directory, owner, seconds, clock
        self._written: str | None = None

    def hold(self, steps: Sequence[Step], token: int) -> None:
        """Write down how to restore what was found, before something is changed.

        Raises:
            LeaseError: the disk is full, or the directory is gone.
        """
        content = {"boot": boot_id(), "owner": list(self._owner), "token": token, "steps": list(steps)}
        text = json.dumps(content)
        self.renew()
        if text == self._written:
            return
        try:
            write_durably(os.path.join(self._directory, LEASE), text)
        except OSError as error:
            raise LeaseError(f"cannot write the lease in {self._directory}: {error.strerror or error}") from None
        self._written = text

    def renew(self) -> None:
        """Answer for what is in force for another time; cheap.

        Raises:
            LeaseError: the file cannot be written.
        """
        try:
            write_in_place(os.path.join(self._directory, UNTIL), self._clock() + self._seconds)
        except OSError as error:
            raise LeaseError(f"cannot renew the lease in {self._directory}: {error.strerror or error}") from None

    def release(self) -> None:
        """Nothing is left to be taken back."""
        self._written = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._directory, LEASE))


def read_lease(directory: str) -> dict[str, Any] | None:
    """The lease in a state directory; None without one."""
    try:
        lease = json.loads(read_file(os.path.join(directory, LEASE)))
    except (OSError, ValueError, RecursionError):
        return None  # it is replaced as a whole, so a damaged one is none of ours
    return lease if isinstance(lease, dict) and isinstance(lease.get("steps"), list) else None


def why_expired(directory: str, lease: dict[str, Any], now: float) -> str:
    """Why a lease no longer holds; empty while it does.

    Args:
        directory: the controller's state directory.
        lease: as `read_lease` gave it.
        now: seconds since the host was started.
    """
    if lease.get("boot") != boot_id():
        return "the host was restarted"
    until = read_number(os.path.join(directory, UNTIL))
    # A file that is missing or damaged is no proof that somebody answers for the setting.
    return "" if until is not None and now <= until else "the lease ran out"


def take_back(directory: str, lease: dict[str, Any], reason: str, patience: float = 1.0) -> list[str]:
    """Carry out a lease's steps, fence its owner off, and write down that it was done.

    Args:
        directory: the controller's state directory.
        lease: as `read_lease` gave it.
        reason: why, one line.
        patience: seconds to wait for an owner that is changing something just now; one that was stopped in the middle
            of it must not keep the setting for ever.

    Returns:
        What could not be taken back and why. Those steps stay in the lease.
    """
    fence, token = Fence(directory), 0
    path = os.path.join(directory, LEASE)
    with fence.locked(patience):
        with contextlib.suppress(OSError):  # whatever is wrong with the disk, the setting comes first, by no right then
            token = fence.advance(lease["token"] if isinstance(lease.get("token"), int) else 0)
        begin = boot_seconds()
        left, problems = revert_all(lease["steps"], token)
        now = boot_seconds()
        with contextlib.suppress(OSError):
            if left:
                write_durably(path, json.dumps({**lease, "steps": left}))
            else:
                os.unlink(path)
    note = {
        "at": time.time(), "boot_seconds": now, "seconds": now - begin, "reason": reason,
        "owner": lease.get("owner"), "token": lease.get("token"), "steps": len(lease["steps"]), "problems": problems,
    }  # fmt: skip
    with contextlib.suppress(OSError), open(os.path.join(directory, REVERTED), "a", encoding="utf-8") as file:
        file.write(json.dumps(note) + "\n")  # on a full disk the setting is restored all the same
    return problems


def write_durably(path: str, text: str, *, replace: bool = True) -> None:
    """Write a file so that it is whole on the disk, the old content or the new.

    Args:
        path: of the file.
        text: its new content.
        replace: whether a new file takes the name; False keeps the file that others hold a lock of.
    """
    target = f"{path}.{os.getpid()}.tmp" if replace else path
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if replace else 0), 0o600)
    try:
        if os.write(descriptor, text.encode()) < len(text.encode()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        if replace:
            os.unlink(target)
        raise
    finally:
        os.close(descriptor)
    if replace:
        os.replace(target, path)


def write_in_place(path: str, value: float) -> None:
    """A number of fixed width, in one write: a reader finds the old one or the new, and no disk is waited for."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, f"{value:024.6f}\n".encode(), 0)
    finally:
        os.close(descriptor)


def read_number(path: str) -> float | None:
    """What `write_in_place` wrote; None where there is nothing of that kind."""
    try:
        return float(read_file(path))
    except (OSError, ValueError):
        return None


def _lock(descriptor: int, patience: float) -> bool:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
