"""A component of the testbed's own making over real HTTP: it counts its changes, and refuses stale writers."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from controller.components import Component
from telemetry.processes import process_start
from testbed.component import http_face, new_registry
from testbed.knobs import Knob, Knobs


class RefusingComponent:
    """Answers as serving does, in a thread; a sleeping process stands for it.

    Attributes:
        knobs: in force; set by hand here without a request.
    """

    def __init__(self, name: str, **values: float) -> None:
        self._values = values
        self._process = subprocess.Popen(["sleep", "600"], start_new_session=True)
        port = self._serve(0)
        pid = self._process.pid
        self.component = Component(name, f"http://127.0.0.1:{port}", pid, process_start(pid))

    @property
    def entry(self) -> dict[str, object]:
        """As `testbed.json` has it."""
        return {"url": self.component.url, "pid": self.component.pid}

    def ask(
        self, method: str, body: dict[str, Any] | None = None, **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, content and headers of an answer of `/knobs`; `If_Match` stands for the header `If-Match`."""
        connection = http.client.HTTPConnection(urlsplit(self.component.url).netloc, timeout=5.0)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, "/knobs", None if body is None else json.dumps(body), given)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content, {name.lower(): value for name, value in answer.getheaders()}

    def restart(self) -> None:
        """Begin anew at the same address, with the values of the start; nobody is told."""
        self._end_serving()
        self._serve(urlsplit(self.component.url).port or 0)

    def close(self) -> None:
        """End it."""
        self._end_serving()
        self._process.kill()
        self._process.wait()

    def _serve(self, port: int) -> int:
        self.knobs = Knobs(*(Knob(knob, value, 0.0, 1e4, integer=False) for knob, value in self._values.items()))
        listening = socket.create_server(("127.0.0.1", port))
        config = uvicorn.Config(http_face(self.knobs, new_registry(), []), log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()
        return int(listening.getsockname()[1])

    def _end_serving(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()


@pytest.fixture
def make_refusing() -> Iterator[Callable[..., RefusingComponent]]:
    """Makes components by name and knob values."""
    made: list[RefusingComponent] = []

    def make(name: str, **values: float) -> RefusingComponent:
        made.append(RefusingComponent(name, **values))
        return made[-1]

    yield make
    for one in made:
        one.close()
