"""A whole HTTP answer taken apart. By hand: `http.client` brings ssl and email, 4 MiB of them."""

from __future__ import annotations


class HttpAnswerError(ValueError):
    """What came is no whole HTTP answer; one line."""


def parse_answer(raw: bytes) -> tuple[int, bytes, dict[str, str]]:
    """Status, body, and headers by name in lower case, of all that was received until the peer closed.

    Raises:
        HttpAnswerError: it is not HTTP, or a part is missing.
    """
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = first.split(" ")[1:2]
    if not first.startswith("HTTP/") or not status or not status[0].isdecimal():
        raise HttpAnswerError(f"broken HTTP answer ({first[:40]!r})")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return int(status[0]), _joined(body), headers
    length = headers.get("content-length", "")
    if length.isdecimal() and len(body) < int(length):
        raise HttpAnswerError(f"broken HTTP answer ({len(body)} of {length} bytes)")
    return int(status[0]), body[: int(length)] if length.isdecimal() else body, headers


def _joined(chunks: bytes) -> bytes:
    """A body in chunks, which a server should not send to a client of HTTP/1.0, and some do."""
    parts: list[bytes] = []
    while True:
        size, _, rest = chunks.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError:
            raise HttpAnswerError(f"broken HTTP answer (chunk of {size[:20]!r})") from None
        if length == 0:
            return b"".join(parts)
        parts.append(rest[:length])
        chunks = rest[length + 2 :]
