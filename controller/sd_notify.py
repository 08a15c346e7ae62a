"""Tells systemd how we are: ready, alive, stopping. Does nothing where systemd does not listen (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket


class Notifier:
    """Messages to the socket that systemd names in `NOTIFY_SOCKET`.

    Args:
        address: of the socket, with `@` before a name in the abstract namespace; None or empty for nobody.
    """

    def __init__(self, address: str | None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._ready = False

    @classmethod
    def from_environment(cls) -> Notifier:
        """The one that systemd wants, and that no child process is to inherit."""
        return cls(os.environ.pop("NOTIFY_SOCKET", None))

    def healthy(self, status: str) -> None:
        """A period was completed and written down: the only thing that feeds the watchdog. The first tells `READY`.

        Args:
            status: one line for `systemctl status`.
        """
        self._send("WATCHDOG=1" if self._ready else "READY=1\nWATCHDOG=1", status)
        self._ready = True

    def unhealthy(self, status: str) -> None:
        """Something is wrong: told, and the watchdog gets nothing."""
        self._send(status=status)

    def stopping(self) -> None:
        """We end by our own will, and take back what we have set."""
        self._send("STOPPING=1", "taking settings back")

    def _send(self, message: str = "", status: str = "") -> None:
        if not self._address:
            return
        text = f"{message}\nSTATUS={' '.join(status.split())}".strip()
        # systemd that does not answer must not cost the period anything: its watchdog will say so.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(text.encode(), self._address)
