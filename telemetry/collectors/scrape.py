"""Metrics of a program that shows them as Prometheus text over HTTP."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from telemetry.collectors.lookup import Lookup
from telemetry.collectors.source import SourceError, series_key, unescape_label
from telemetry.http_answer import HttpAnswerError, parse_answer
from telemetry.series_catalogue import Family

_SAMPLE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*"  # name
    r'(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s*'  # labels
    r"(?<=[\s}])([^\s{}#]+)"  # value
    r"(\s+-?[0-9.eE+]+)?(?:\s+#.*)?\s*"  # timestamp, exemplar
)
_HEAD = re.compile(r"^#[ \t]+(HELP|TYPE)[ \t]+(\S+)[ \t]+(.*)$", re.MULTILINE)
_KINDS = {"gauge", "counter", "histogram", "summary"}
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


class ScrapeSource:
    """One scrape per sweep, never longer than its deadline and never larger than its limit.

    The answer's content type is not looked at: programs announce their metrics as anything from text/html to
    OpenMetrics, and text that is no metrics is told soon enough.

    Attributes:
        families: name -> kind and help, as the program last told them.

    Args:
        name: of the source.
        url: `http://host:port/path`; no TLS.
        deadline: seconds for all of looking up the name, connecting, waiting and reading. A peer that sends a byte now
            and then is cut off too, unlike with the timeouts of `http.client`, which start anew at each byte.
        max_bytes: of the whole response.
        labels: put on every series.
        token_file: holds the bearer token to send; read at each scrape, since tokens are renewed.
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
        labels: Mapping[str, str] | None = None,
        token_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"source {name}: cannot scrape {url!r}; allowed is http://host:port/path")
        self.name, self.url = name, url
        self.families: dict[str, Family] = {}
        self._lookup = Lookup(parts.hostname, parts.port or 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request = f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nAccept: text/plain\r\n"
        self._deadline, self._max_bytes, self._clock = deadline, max_bytes, clock
        self._labels, self._token_file = dict(labels or {}), token_file
        self._keys: dict[str, str] = {}
        self._begun: Future[dict[str, float]] | None = None

    def begin(self, pool: ThreadPoolExecutor) -> None:
        """Start scraping in the background, for `collect` to wait for."""
        self._begun = pool.submit(self._read)

    def collect(self) -> dict[str, float]:
        """The values of one scrape; NaN only where the program says NaN.

        Raises:
            SourceError: on refusal, timeout, a status other than 200, too many bytes, or text that is no metrics.
        """
        begun, self._begun = self._begun, None
        return self._read() if begun is None else begun.result()

    def _read(self) -> dict[str, float]:
        body = self._body(self._fetch())
        try:
            return parse_text(body.decode("utf-8-sig"), self._keys, self.families, self._labels)
        except ValueError as error:
            raise SourceError(f"{self.url}: not Prometheus text ({error})") from error

    def _fetch(self) -> bytes:
        """The raw response, until the peer closes."""
        request = (self._request + self._authorization() + "\r\n").encode()
        end = self._clock() + self._deadline
        received = bytearray()
        try:
            with self._lookup.connect(self._deadline) as connection:
                connection.settimeout(self._left(end))
                connection.sendall(request)
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
        connection.settimeout(self._left(end))
        return connection.recv(1 << 16)

    def _left(self, end: float) -> float:
        left = end - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def _authorization(self) -> str:
        if self._token_file is None:
            return ""
        try:
            token = self._token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{self.url}: no token in {self._token_file}: {error}") from error
        if not token or any(character.isspace() for character in token):
            raise SourceError(f"{self.url}: {self._token_file} must hold one token and nothing else")
        return f"Authorization: Bearer {token}\r\n"

    def _body(self, raw: bytes) -> bytes:
        try:
            status, body, _ = parse_answer(raw)
        except HttpAnswerError as error:
            raise SourceError(f"{self.url}: {error}") from None
        if status != 200:
            raise SourceError(f"{self.url}: HTTP status {status}, wanted 200")
        return body


def parse_text(
    text: str,
    keys: dict[str, str] | None = None,
    families: dict[str, Family] | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Prometheus or OpenMetrics text -> values by series key; timestamps and exemplars are dropped.

    Args:
        text: the exposition.
        keys: written form of a series -> its key; kept by the caller between scrapes, for parsing labels is most of the
            work.
        families: gets what the comments tell, the first time that a key is worked out.
        labels: put on every series, in place of its own of the same names; the same at every call with these `keys`.

    Raises:
        ValueError: on a line that is neither comment nor sample, with its number, or without any sample.
    """
    keys = {} if keys is None else keys
    known = len(keys)
    values: dict[str, float] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line[0] == "#":
            continue
        written, _, value = line.rpartition(" ")
        key = keys.get(written)
        try:
            if key is None:
                key, value, bare = _split(line, labels or {})
                if bare:
                    keys[written] = key
            values[key] = float(value)
        except ValueError:
            raise ValueError(f"line {number}: {line[:80]!r}") from None
    if not values:
        raise ValueError("no samples")
    if len(keys) > 4 * len(values):
        keys.clear()  # series that come and go must not fill the memory
    if families is not None and (not families or len(keys) != known):
        families.clear()
        families.update(parse_families(text))
    return values


def parse_families(text: str) -> dict[str, Family]:
    """Metric name -> kind and help, from the comments; a counter under the name of its samples, with `_total`."""
    said: dict[str, dict[str, str]] = {}
    for match in _HEAD.finditer(text):
        said.setdefault(match[2], {})[match[1]] = match[3].strip()
    families = {}
    for name, words in said.items():
        kind = words.get("TYPE", "untyped")
        # OpenMetrics types a counter without its _total.
        full = f"{name}_total" if kind == "counter" and not name.endswith("_total") else name
        meaning = unescape_label(words.get("HELP", ""))
        families[full] = Family(full, kind if kind in _KINDS else "untyped", meaning, "scraped")
    return families


def _split(line: str, more: Mapping[str, str]) -> tuple[str, str, bool]:
    """Key and value of a line, and whether it ends with the value; ValueError where it is no sample."""
    match = _SAMPLE.fullmatch(line)
    if match is None:
        raise ValueError(line)
    name, labels, value, rest = match.groups()
    return _key(name, labels, more), value, not rest and line.endswith(f" {value}")


def _key(name: str, labels: str | None, more: Mapping[str, str]) -> str:
    """Series key in our one way of writing: no spaces, no trailing comma, minimal escapes."""
    position, written = 0, {}
    labels = (labels or "").strip()
    while position < len(labels):
        match = _LABEL.match(labels, position)
        if match is None:
            raise ValueError(labels)
        written[match.group(1)] = unescape_label(match.group(2))
        position = match.end()
    return series_key(name, **{**written, **more})
