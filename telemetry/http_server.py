"""A small HTTP server for numbers: one answer a connection, limits on everything, 127.0.0.1 only.

The standard library's server costs 8 MiB of memory and twice the time per request, and lets a peer that sends a byte
now and then hold a thread for ever.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

HOST = "127.0.0.1"
MAX_HEAD_BYTES = 16 << 10
MAX_CONNECTIONS = 16
"""At once; Prometheus uses one, and further peers are told to come back."""
REASONS = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class PortTaken(OSError):
    """The port cannot be listened on."""


@dataclass(frozen=True)
class Request:
    """One request, read whole.

    Attributes:
        method: GET, POST, ...
        path: without the query.
        query: names and values; of one given twice, the last.
        headers: by lower-case name.
        body: as sent.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """Status, body and media type."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


class RequestRefused(Exception):
    """A request that is not passed on."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpServer:
    """Answers requests in threads until it is closed.

    Args:
        port: of 127.0.0.1; 0 takes any free one.
        answer: called on several threads at once.
        deadline: seconds for the whole request to arrive, and again for the answer to be taken.
        max_body: bytes.
        clock: seconds, monotonic.

    Raises:
        PortTaken: with the port and the reason.
    """

    def __init__(
        self,
        port: int,
        answer: Callable[[Request], Answer],
        *,
        deadline: float = 5.0,
        max_body: int = 1 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answer, self._deadline, self._max_body, self._clock = answer, deadline, max_body, clock
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        try:
            self._listener = socket.create_server((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PortTaken(f"cannot serve on {HOST}:{port}: {reason}; choose another port") from None
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name=f"http {self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; requests that are being answered are finished or end with the process."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread, which close() alone does not
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            if self._free.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            else:
                self._send(connection, Answer(503, b"too many connections\n"))

    def _serve(self, connection: socket.socket) -> None:
        try:
            try:
                answer = self._answer(self._read(connection))
            except RequestRefused as refusal:
                answer = Answer(refusal.status, f"{refusal}\n".encode())
            except OSError:
                connection.close()  # the peer went away
                return
            except Exception as error:  # whoever answers may be anybody's code, and the server must outlive it
                answer = Answer(500, f"{type(error).__name__}: {error}\n".encode())
            self._send(connection, answer)
        finally:
            self._free.release()

    def _send(self, connection: socket.socket, answer: Answer) -> None:
        head = (
            f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
        )
        with connection, contextlib.suppress(OSError):
            connection.settimeout(self._deadline)
            connection.sendall(head.encode() + answer.body)
            # Closing with unread bytes resets the connection, and the peer may lose the answer.
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.2)
            while connection.recv(1 << 16):
                pass

    def _read(self, connection: socket.socket) -> Request:
        end = self._clock() + self._deadline
        head, found, body = b"", b"", b""
        while not found:
            head, found, body = (head + self._receive(connection, end)).partition(b"\r\n\r\n")
            if len(head) > MAX_HEAD_BYTES:
                raise RequestRefused(431, f"the head is larger than {MAX_HEAD_BYTES} bytes")
        request = _parse(head.decode("latin-1"))
        length = self._length(request)
        if request.headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts = [body]
        while (missing := length - sum(map(len, parts))) > 0:
            parts.append(self._receive(connection, end)[:missing])
        return Request(request.method, request.path, request.query, request.headers, b"".join(parts)[:length])

    def _length(self, request: Request) -> int:
        if "transfer-encoding" in request.headers:
            raise RequestRefused(411, "send a Content-Length, not chunks")
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise RequestRefused(400, f"Content-Length {length!r} is no number")
        if int(length) > self._max_body:
            raise RequestRefused(413, f"the body has {length} bytes, allowed are {self._max_body}")
        return int(length)

    def _receive(self, connection: socket.socket, end: float) -> bytes:
        left = end - self._clock()
        try:
            connection.settimeout(max(left, 1e-3))
            received = connection.recv(1 << 16) if left > 0 else b""
        except TimeoutError:
            received, left = b"", 0.0
        if left <= 0:
            raise RequestRefused(408, f"the request took longer than {self._deadline} s")
        if not received:
            raise ConnectionError
        return received


def _parse(head: str) -> Request:
    first, *lines = head.split("\r\n")
    try:
        method, target, version = first.split(" ")
        url = urlsplit(target)
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    except ValueError:
        raise RequestRefused(400, "not an HTTP request") from None
    if not version.startswith("HTTP/1."):
        raise RequestRefused(400, f"{version!r} is not spoken here, use HTTP/1.1")
    return Request(method, url.path, dict(parse_qsl(url.query)), headers)
