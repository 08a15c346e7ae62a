"""The warden: a small process of its own that takes settings back when the controller no longer answers for them.

    python -S -m controller.warden STATE_DIRECTORY PID START

PID and START tell the controller that it watches. Standard library only, so that it lives in some 10 MB.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable

from controller.lease import BEAT, read_lease, take_back, why_expired, write_in_place
from telemetry.processes import boot_seconds, process_start

POLL_SECONDS = 0.25
"""Between two looks at the lease; the end of the controller's process is noticed at once."""
LONGEST_PAUSE_SECONDS = 5.0
"""Between attempts at a step that fails, such as a component that does not answer."""
MOST_ATTEMPTS = 100


class Warden:
    """Watches one controller's lease.

    Args:
        directory: the controller's state directory.
        owner: process id and start of the controller.
        clock: seconds since the host was started.
    """

    def __init__(self, directory: str, owner: tuple[int, int], clock: Callable[[], float] = boot_seconds) -> None:
        self._directory, self._owner, self._clock = directory, owner, clock
        self._attempts, self._next_attempt = 0, -1.0

    def look(self) -> bool:
        """Once around: tell that we are alive, take back what has to be. False when there is nothing left to watch."""
        with contextlib.suppress(OSError):  # a full disk must not end the warden; the controller hears nothing then
            write_in_place(os.path.join(self._directory, BEAT), self._clock())
        lease = read_lease(self._directory)
        own = lease if lease is not None and lease.get("owner") == list(self._owner) else None
        alive = process_start(self._owner[0]) == self._owner[1]
        if own is None:
            self._attempts, self._next_attempt = 0, -1.0
            return alive
        now = self._clock()
        reason = why_expired(self._directory, own, now) if alive else "the controller is gone"
        if reason and now >= self._next_attempt:
            self._take_back(own, reason, now)
        return alive or self._attempts < MOST_ATTEMPTS

    def _take_back(self, lease: dict[str, object], reason: str, now: float) -> None:
        problems = take_back(self._directory, lease, reason)
        for problem in problems:
            print(f"cannot take back: {problem}", file=sys.stderr, flush=True)
        self._attempts += 1
        self._next_attempt = now + min(POLL_SECONDS * 2.0 ** min(self._attempts, 10), LONGEST_PAUSE_SECONDS)


def main(arguments: list[str]) -> int:
    """Watch until the controller is gone and everything is taken back."""
    if len(arguments) != 3:
        print("usage: python -S -m controller.warden STATE_DIRECTORY PID START", file=sys.stderr)
        return 2
    directory, owner = arguments[0], (int(arguments[1]), int(arguments[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the controller, which says when it has finished
    warden = Warden(directory, owner)
    poller = select.poll()
    with contextlib.suppress(OSError):  # it is gone already
        poller.register(os.pidfd_open(owner[0]), select.POLLIN)
    while warden.look():
        ended = poller.poll(POLL_SECONDS * 1000)
        for descriptor, _ in ended:
            poller.unregister(descriptor)  # or it would be told without a pause from now on
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
