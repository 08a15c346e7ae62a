"""Metrics of a program that shows them as Prometheus text over HTTP."""

from __future__ import annotations

import io
import re
import socket
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import cast
from urllib.parse import urlsplit

from telemetry.collectors.source import SourceError, series_key, unescape_label

_SAMPLE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*"  # name
    r'(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s*'  # labels
    r"(?<=[\s}])([^\s{}#]+)"  # value
    r"(\s+-?[0-9.eE+]+)?(?:\s+#.*)?\s*"  # timestamp, exemplar
)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


class ScrapeSource:
    """One scrape per sweep, never longer than its deadline and never larger than its limit.

    Args:
        name: of the source.
        url: `http://host:port/path`; no TLS.
        deadline: seconds for the whole of connecting, waiting and reading. A peer that sends a byte now and then is
            cut off too, unlike with the timeouts of `http.client`, which start anew at each byte. Looking up a host
            name is not
            covered: use addresses.
        max_bytes: of the whole response.
        clock: seconds, monotonic.

    Raises:
        ValueError: on a URL of another form.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        deadline: float = 1.0,
        max_bytes: int = 4 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"source {name}: cannot scrape {url!r}; allowed is http://host:port/path")
        self.name, self.url = name, url
        self._address = (parts.hostname, parts.port or 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request = f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nAccept: text/plain\r\n\r\n".encode()
        self._deadline, self._max_bytes, self._clock = deadline, max_bytes, clock
        self._keys: dict[str, str] = {}

    def collect(self) -> dict[str, float]:
        """The values of one scrape; NaN only where the program says NaN.

        Raises:
            SourceError: on refusal, timeout, a status other than 200, too many bytes, or text that is no metrics.
        """
        body = self._body(self._fetch())
        try:
            return parse_text(body.decode("utf-8"), self._keys)
        except ValueError as error:
            raise SourceError(f"{self.url}: not Prometheus text ({error})") from error

    def _fetch(self) -> bytes:
        """The raw response, until the peer closes."""
        end = self._clock() + self._deadline
        received = bytearray()
        try:
            with socket.create_connection(self._address, timeout=self._deadline) as connection:
                connection.sendall(self._request)
                while chunk := self._receive(connection, end):
                    received += chunk
                    if len(received) > self._max_bytes:
                        raise SourceError(f"{self.url}: more than {self._max_bytes} bytes")
        except TimeoutError as error:
            raise SourceError(f"{self.url}: no complete answer within {self._deadline} s") from error
        except OSError as error:
            raise SourceError(f"{self.url}: {error.strerror or error}") from error
        return bytes(received)

    def _receive(self, connection: socket.socket, end: float) -> bytes:
        left = end - self._clock()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        return connection.recv(1 << 16)

    def _body(self, raw: bytes) -> bytes:
        response = HTTPResponse(cast(socket.socket, _Received(raw)))
        try:
            response.begin()
            body = response.read()
        except HTTPException as error:
            raise SourceError(f"{self.url}: broken HTTP answer ({error!r})") from error
        if response.status != 200:
            raise SourceError(f"{self.url}: HTTP status {response.status}, wanted 200")
        return body


class _Received:
    """A response that is there already, as the socket that `HTTPResponse` wants to read it from."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


def parse_text(text: str, keys: dict[str, str] | None = None) -> dict[str, float]:
    """Prometheus or OpenMetrics text -> values by series key; timestamps and exemplars are dropped.

    Args:
        text: the exposition.
        keys: written form of a series -> its key; kept by the caller between scrapes, for parsing labels is most of the
            work.

    Raises:
        ValueError: on a line that is neither comment nor sample, with its number, or without any sample.
    """
    keys = {} if keys is None else keys
    values: dict[str, float] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line[0] == "#":
            continue
        written, _, value = line.rpartition(" ")
        key = keys.get(written)
        try:
            if key is None:
                key, value, bare = _split(line)
                if bare:
                    keys[written] = key
            values[key] = float(value)
        except ValueError:
            raise ValueError(f"line {number}: {line[:80]!r}") from None
    if not values:
        raise ValueError("no samples")
    if len(keys) > 4 * len(values):
        keys.clear()  # series that come and go must not fill the memory
    return values


def _split(line: str) -> tuple[str, str, bool]:
    """Key and value of a line, and whether it ends with the value; ValueError where it is no sample."""
    match = _SAMPLE.fullmatch(line)
    if match is None:
        raise ValueError(line)
    name, labels, value, rest = match.groups()
    return _key(name, labels), value, not rest and line.endswith(f" {value}")


def _key(name: str, labels: str | None) -> str:
    """Series key in our one way of writing: no spaces, no trailing comma, minimal escapes."""
    position, written = 0, {}
    labels = (labels or "").strip()
    while position < len(labels):
        match = _LABEL.match(labels, position)
        if match is None:
            raise ValueError(labels)
        written[match.group(1)] = unescape_label(match.group(2))
        position = match.end()
    return series_key(name, **written)
