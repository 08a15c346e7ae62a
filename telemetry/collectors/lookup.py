"""Connecting to a host by name within a deadline."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable


class Lookup:
    """A host and port; its name is looked up in a thread, for the system's resolver knows no deadline.

    Addresses are kept until none of them can be connected to.

    Args:
        host: name or address.
        port: TCP port.
        clock: seconds, monotonic.
    """

    def __init__(self, host: str, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._host, self._port, self._clock = host, port, clock
        self._found: list[tuple[str, int]] = []
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def connect(self, seconds: float) -> socket.socket:
        """A connection to the first address that takes one, within so many seconds in all.

        Raises:
            TimeoutError: not within that time.
            OSError: the name is unknown, or every address refuses.
        """
        end = self._clock() + seconds
        refused: OSError = TimeoutError()
        for address in self._addresses(seconds):
            left = end - self._clock()
            if left <= 0:
                break
            try:
                return socket.create_connection(address, timeout=left)
            except OSError as error:
                refused = error
        self._found = []
        raise refused

    def _addresses(self, seconds: float) -> list[tuple[str, int]]:
        if self._found:
            return self._found
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_up, name=f"lookup {self._host}", daemon=True)
            self._thread.start()
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise TimeoutError
        self._thread = None
        if self._error is not None:
            raise self._error
        return self._found

    def _look_up(self) -> None:
        self._error = None
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._found = [(str(address[0]), int(address[1])) for *_, address in found]
        except OSError as error:
            self._error = error
