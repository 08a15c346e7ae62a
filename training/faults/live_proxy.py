"""A liar between the controller and a component: passes everything on, save `/metrics` while it is told to lie."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

STATE = ("ETag", "If-Match", "Trimtab-Fence")
"""Headers by which a component refuses stale writers; uvicorn answers in lower case, which `getheader` reads alike."""
LIES = ("truth", "tenfold", "nan", "garbage", "nothing", "late")
_NUMBER = re.compile(rb"^(\w[^#\n]*?) ([0-9.eE+-]+)$", re.MULTILINE)


class LyingProxy:
    """Listens on a port of 127.0.0.1.

    Args:
        target: base URL of the component.
    """

    def __init__(self, target: str) -> None:
        self.target, self.lie = target, "truth"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def answer(
        self, method: str, path: str, body: bytes, asked: Mapping[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        """What the component answers, bent while a lie is told: status, body, and of the headers those of `STATE`.

        Args:
            method: of HTTP.
            path: asked for.
            body: sent.
            asked: headers of the request.
        """
        lie = self.lie if path == "/metrics" else "truth"
        if lie == "nothing":
            return 503, b"", {}
        if lie == "garbage":
            return 200, b"\xff\xfe<html>[[[ 1 2 3 nan", {}
        if lie == "late":
            time.sleep(2.0)
        address = urlsplit(self.target)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5.0)
        try:
            headers = {name: asked[name] for name in ("Content-Type", *STATE) if asked.get(name)}
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            status, content = response.status, response.read()
            told = {name: value for name in STATE if (value := response.getheader(name))}
        except (OSError, http.client.HTTPException):
            return 502, b"", {}
        finally:
            connection.close()
        if lie == "tenfold":
            content = _NUMBER.sub(lambda hit: hit[1] + b" " + repr(10.0 * float(hit[2])).encode(), content)
        elif lie == "nan":
            content = _NUMBER.sub(lambda hit: hit[1] + b" NaN", content)
        return status, content, told

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, content, told = proxy.answer(self.command, self.path, body, dict(self.headers.items()))
                try:
                    self.send_response(status)
                    for name, value in told.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the controller gave up waiting, as it should

            do_PATCH = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler
