"""The guard: a controller's right to change something. One writer, a lease that is held, a warden that is alive."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.lease import BEAT, Fence, Lease, LeaseError, read_lease, read_number, take_back
from controller.revert import Step, revert_all
from telemetry.processes import boot_seconds, process_start

logger = logging.getLogger(__name__)

WRITER_LOCK, WARDEN_LOG = "writer.lock", "warden.log"
ROOT = Path(__file__).resolve().parents[1]


class GuardError(RuntimeError):
    """A change that may not be made now, or a controller that may not run here; one line."""


@dataclass(frozen=True)
class GuardConfig:
    """How long a setting stays in force when nobody answers for it."""

    lease_seconds: float = 5.0
    """Default: five periods of one second. A period in which all three components hang takes two, and taking back what
    a living controller has set ends all its trials, so one slow period must not do it."""
    warden_silence_seconds: float = 2.0
    """Without a sign of life of the warden for so long, nothing new is changed. Default: eight of its looks."""
    restart_seconds: float = 2.0
    """Between two starts of a warden that does not live; doubled by each further one, up to a minute."""
    lock_seconds: float = 2.0
    """For which a controller that starts waits for a warden that is just taking something back."""


class Guard:
    """Holds the writer's lock, the fencing token and the lease, and keeps a warden alive.

    Args:
        directory: the controller's state directory, made if missing.
        config: times.
        targets: files that stand for what is controlled, such as the launcher's `testbed.json`: no second controller
            may hold one of them, whatever its own state directory is. What an earlier controller has left is taken
            back even where one is gone.
        clock: seconds since the host was started.

    Raises:
        GuardError: another controller runs here, a target is not there, or what an earlier controller left cannot be
            taken back.
    """

    def __init__(
        self,
        directory: str | Path,
        config: GuardConfig | None = None,
        *,
        targets: Sequence[str | Path] = (),
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self.directory, self.config, self._clock = Path(directory), config or GuardConfig(), clock
        self.directory.mkdir(parents=True, exist_ok=True)
        self.lost = ""
        """Why the right was lost since the last `retake`; empty while it is ours."""
        self.reconciled: list[str] = []
        """What an earlier controller had left, and what became of it; one line each."""
        self._owner, self._token = (os.getpid(), process_start(os.getpid())), 0
        self._fence = Fence(str(self.directory))
        self._lease = Lease(str(self.directory), self._owner, self.config.lease_seconds, clock)
        self._warden: subprocess.Popen[bytes] | None = None
        self._next_start, self._starts = -1.0, 0
        self._locks: list[int] = []
        there = [target for target in targets if Path(target).exists()]  # beside what is not there, no lock is left
        try:
            for path in (self.directory / WRITER_LOCK, *(Path(f"{target}.lock") for target in there)):
                self._locks.append(_only_writer(path))
            self._reconcile()
            for target in targets:
                if target not in there:
                    raise GuardError(f"no {str(target)!r}; give the testbed.json of a running system")
        except BaseException:
            self._unlock()
            raise
        self._start_warden()

    @property
    def warden_pid(self) -> int:
        """Process id of the warden; 0 without one."""
        return 0 if self._warden is None else self._warden.pid

    @property
    def token(self) -> int:
        """Our fencing token, which components compare with those that they have seen."""
        return self._token

    def outrank(self, token: int) -> None:
        """Take a token above one that a component has seen, from a controller with another state directory.

        Raises:
            GuardError: the warden is taking settings back just now.
        """
        if token < self._token:
            return
        with self._fence.locked(self.config.lock_seconds) as locked:
            if not locked:
                raise GuardError("the warden is taking settings back; start again when it has finished")
            self._token = self._fence.advance(token)

    def problem(self) -> str | None:
        """Why nothing new may be changed; None if it may. A warden that is gone or hangs is started again."""
        if self.lost:
            return self.lost
        beat = read_number(str(self.directory / BEAT))
        silence = float("inf") if beat is None else self._clock() - beat
        if silence <= self.config.warden_silence_seconds:
            self._starts = 1
            return None
        self._start_warden()
        return "the warden is not alive" + ("" if beat is None else f" (silent for {silence:.1f} s)")

    @contextlib.contextmanager
    def acting(self, steps: Sequence[Step]) -> Iterator[None]:
        """Change something inside of this, and nowhere else.

        Args:
            steps: that restore what was found; they are on the disk before the change is made.

        Raises:
            GuardError: somebody else acts, the lease was lost, or it cannot be written.
        """
        with self._fence.locked(self.config.lock_seconds) as locked:
            if not locked:
                raise GuardError("the warden is taking settings back; nothing is changed meanwhile")
            self._check_token()
            try:
                self._lease.hold(steps, self._token)
            except LeaseError as error:
                raise GuardError(str(error)) from None
            yield
            if self._fence.token() != self._token:  # stopped in the middle of it, and continued after the lease
                revert_all(steps, self._fence.token())
                self._check_token()

    def renew(self) -> None:
        """Answer for what is in force until the next period; called after each that was completed."""
        try:
            self._check_token()
            self._lease.renew()
        except (GuardError, LeaseError, OSError) as error:
            logger.debug("the lease is not renewed: %s", error)  # `problem` and `lost` tell it; the lease runs out

    def retake(self) -> str:
        """Begin anew after the right was lost; returns why it was, empty if it was not.

        What is in force then is what the warden restored, and has to be read again.
        """
        with contextlib.suppress(GuardError):
            self._check_token()
        reason, self.lost = self.lost, ""
        if reason:
            with self._fence.locked(self.config.lock_seconds):
                self._token = self._fence.advance(self._token)
            self._lease.release()
            logger.warning("%s; beginning anew from the setting in force", reason)
        return reason

    def close(self) -> None:
        """Restore what is still leased, and let go of lock and warden; may be called twice.

        What cannot be restored now is left to the warden, which goes on trying when this process is gone.
        """
        if not self._locks:
            return
        lease = None if self.lost else read_lease(str(self.directory))
        problems = [] if lease is None else take_back(str(self.directory), lease, "the controller was stopped")
        for problem in problems:
            logger.warning("not restored yet: %s", problem)
        if problems:
            self._start_warden()
        else:
            self._stop_warden()
        self._unlock()

    def _check_token(self) -> None:
        if not self.lost and self._fence.token() != self._token:
            self.lost = "the lease ran out, and the warden took everything back"
        if self.lost:
            raise GuardError(self.lost)

    def _reconcile(self) -> None:
        """Take back what a controller that is gone has left. Ours is the writer's lock, so its lease has no owner."""
        with self._fence.locked(self.config.lock_seconds):
            self._token = self._fence.advance()  # an earlier controller's warden, or its ghost, can do nothing now
        lease = read_lease(str(self.directory))
        if lease is None:
            return
        problems = take_back(str(self.directory), lease, "a controller that is gone had left it")
        if problems:
            raise GuardError(
                f"what the controller {lease.get('owner')} left cannot be taken back: {problems[0]}; put it right, or "
                f"delete {self.directory / 'lease.json'} to leave it as it is"
            )
        self.reconciled.append(f"{len(lease['steps'])} steps of controller {lease.get('owner')} were taken back")
        self._token = self._fence.token()
        logger.warning("%s", self.reconciled[-1])

    def _start_warden(self) -> None:
        now = self._clock()
        if now < self._next_start:
            return
        self._stop_warden()  # one that lives and says nothing hangs
        pause = min(self.config.restart_seconds * 2.0**self._starts, 60.0)
        self._next_start, self._starts = now + pause, self._starts + 1
        with open(self.directory / WARDEN_LOG, "ab") as log:
            self._warden = subprocess.Popen(
                [sys.executable, "-S", "-m", "controller.warden", str(self.directory), *map(str, self._owner)],
                env={"PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", "")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C and the end of the terminal are not for the warden
            )
        if self._starts > 1:
            logger.warning("the warden was started again; the next attempt is %.0f s from now at the earliest", pause)

    def _stop_warden(self) -> None:
        if self._warden is not None:
            self._warden.kill()
            self._warden.wait()
            self._warden = None

    def _unlock(self) -> None:
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks = []


def take_back_offline(directory: str | Path) -> str:
    """Take back what a controller that is gone has left, where none is to be started; may be called twice.

    Args:
        directory: of the controller.

    Returns:
        What was done, one line.

    Raises:
        GuardError: a controller is running, or something cannot be taken back now.
    """
    if not Path(directory).is_dir():
        return f"no state directory {str(directory)!r}: nothing was left"
    lock = _only_writer(Path(directory) / WRITER_LOCK)
    try:
        lease = read_lease(str(directory))
        if lease is None:
            return "nothing was left"
        problems = take_back(str(directory), lease, "offline, after the controller")
        if problems:
            raise GuardError(
                f"{len(problems)} of {len(lease['steps'])} steps failed, the first: {problems[0]}; try again"
            )
        return f"{len(lease['steps'])} steps of controller {lease.get('owner')} were taken back"
    finally:
        os.close(lock)


def _only_writer(path: Path) -> int:
    """The descriptor of a lock that nobody else holds, with our id in the file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise GuardError(
            f"controller {holder} holds {path}; stop it first, or control another system from another state directory"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode(), 0)
    return descriptor
