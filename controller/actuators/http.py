"""Knobs inside a component, by `PATCH /knobs`."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from controller.actuators.actuator import ActuatorError, Capability, SetElsewhere
from controller.actuators.versions import Versions
from controller.components import Component
from controller.revert import FENCE, Step
from telemetry.http_answer import parse_answer

MAX_BYTES = 1 << 16
"""Bytes of an answer; a component has a handful of knobs."""


class HttpKnobs:
    """The knobs of one component.

    Args:
        workload: whose knobs.
        knobs: their names.
        component: where to ask.
        deadline: seconds for a whole request. Default 0.5: half of the shortest sensible control period.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        workload: str,
        knobs: tuple[str, ...],
        component: Component,
        *,
        deadline: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workload, self.knobs = workload, knobs
        self._component, self._deadline, self._clock = component, deadline, clock
        self._found: dict[str, float] | None = None
        self._in_force: dict[str, float] = {}
        self.token: Callable[[], int] = lambda: 0
        self.newest_token = 0
        self._versions, self._told, self._refuses = Versions(), "", False
        self.answers = True
        """Whether the newest request was answered, be it with a refusal."""

    def probe(self) -> Capability:
        """Asks for the knobs and looks whether all of ours are among them."""
        try:
            self.read()
        except ActuatorError as error:
            return Capability(False, True, str(error))
        refuses = "refuses" if self._versions.newest and self._refuses else "does not refuse"
        return Capability(True, True, f"PATCH /knobs of the component, which {refuses} stale writers")

    def read(self) -> dict[str, float]:
        """The values in force, as the component tells them."""
        answer = self._ask("GET", None).get("knobs")
        knobs = answer if isinstance(answer, dict) else {}
        entries = {name: entry.get("value") if isinstance(entry, dict) else None for name, entry in knobs.items()}
        self._in_force = self._numbers(entries, self.knobs)
        versions = {name: entry.get("version") if isinstance(entry, dict) else None for name, entry in knobs.items()}
        self._versions.saw(self._told, {k: v for k, v in versions.items() if k in self.knobs and isinstance(v, str)})
        if self._found is None:
            self._found = dict(self._in_force)
        return dict(self._in_force)

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Send those that differ in one request, which the component applies as a whole or not at all.

        Raises:
            ActuatorError: it was not applied.
            SetElsewhere: the component refused it, since somebody has set a knob of ours after we read them.
        """
        if not self._in_force:
            self.read()
        changed = {name: value for name, value in values.items() if value != self._in_force[name]}
        if changed:
            former = self._in_force
            try:
                self._change(changed, self._versions.newest)
            except _Stale as error:
                self.read()
                if self._in_force != former or self._versions.elsewhere():
                    raise SetElsewhere(str(error)) from None
                self._change(changed, self._versions.newest)  # it was about a knob that is none of ours
        return dict(self._in_force)

    def set_elsewhere(self) -> set[str]:
        """The knobs that somebody else was seen to set since the last call; none where the component tells no version.

        A component that was restarted has other values, and nobody has set them.
        """
        found = self._versions.elsewhere()
        self._versions.forget()
        return found

    def attach(self, component: Component) -> None:
        """Ask another process from now on; what was found at first is still what `undo` restores."""
        self._component, self._in_force, self._versions = component, {}, Versions()

    def revert_steps(self) -> list[Step]:
        """Sends the values found at first, unless the process is another one by then."""
        if self._found is None:
            return []
        component = self._component
        return [
            {
                "kind": "http",
                "url": f"{component.url}/knobs",
                "values": _whole(self._found),
                "pid": component.pid,
                "start": component.start,
            }
        ]

    def undo(self) -> None:
        """Send the values found at first, whoever has set others since."""
        if self._found is None:
            return
        with contextlib.suppress(ActuatorError):  # the component is gone, and its setting with it, or it is another's
            in_force = self._in_force or self.read()
            changed = {name: value for name, value in self._found.items() if value != in_force[name]}
            if changed:
                self._change(changed, "")

    def _change(self, changed: Mapping[str, float], expected: str) -> None:
        """One PATCH; `expected` is the version that it is made for, empty for any."""
        headers = {"If-Match": f'"{expected}"'} if expected else {}
        token = self.token()
        if token:
            headers[FENCE] = str(token)
        try:
            applied = self._ask("PATCH", _whole(changed), headers).get("applied")
            self._in_force |= self._numbers(applied if isinstance(applied, dict) else {}, tuple(changed))
            self._versions.wrote(self._told, changed)
        except _Refused:
            raise  # nothing was changed
        except ActuatorError:
            self._versions.may_have_written(changed)
            self._in_force_after_failure()
            raise

    def _in_force_after_failure(self) -> None:
        """A request that got no answer may have been carried out: only the component can tell."""
        former = self._in_force
        try:
            self.read()
        except ActuatorError:
            self._in_force = former

    def _numbers(self, values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float]:
        numbers = {}
        for name in names:
            value = values.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ActuatorError(f"{self._component.url}/knobs: no number for {name} in the answer")
            numbers[name] = float(value)
        return numbers

    def _ask(
        self, method: str, body: Mapping[str, float] | None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        url = f"{self._component.url}/knobs"
        self.answers = False
        try:
            status, raw, told = request(method, url, body, headers, deadline=self._deadline, clock=self._clock)
            answer = json.loads(raw)
        except TimeoutError:
            raise ActuatorError(f"{url}: no complete answer within {self._deadline} s") from None
        except (OSError, ValueError, RecursionError) as error:
            raise ActuatorError(f"{url}: {str(error).partition(chr(10))[0] or type(error).__name__}") from None
        if not isinstance(answer, dict):
            raise ActuatorError(f"{url}: the answer is no JSON object")
        self.answers = True
        self._note_state(told)
        if status != 200:
            refusal = _Refused if 400 <= status < 500 else ActuatorError
            raise (_Stale if status == 412 else refusal)(
                f"{url}: refused with {status}: {str(answer.get('error', ''))[:200]}"
            )
        return answer

    def _note_state(self, told: Mapping[str, str]) -> None:
        """What an answer's headers tell; a weak ETag is no version."""
        tag, fence = told.get("etag", ""), told.get(FENCE.lower(), "")
        self._told = tag.strip('"') if tag.startswith('"') else ""
        self._refuses = fence.isascii() and fence.isdecimal() and len(fence) <= 18
        self.newest_token = int(fence) if self._refuses else 0


class _Refused(ActuatorError):
    """The component says no."""


class _Stale(_Refused):
    """Refused, since something of the component was changed after we read."""


class Answer(NamedTuple):
    """Of a component.

    Attributes:
        status: of HTTP.
        body: as it came.
        headers: by name in lower case.
    """

    status: int
    body: bytes
    headers: dict[str, str]


def request(
    method: str,
    url: str,
    body: Mapping[str, float] | None,
    headers: Mapping[str, str] | None = None,
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """One HTTP request with a deadline for the whole of it, unlike a socket's timeout, which starts anew at each byte.

    Raises:
        TimeoutError: no complete answer in time.
        OSError: no connection.
        ValueError: the answer is too long, or not HTTP.
    """
    parts = urlsplit(url)
    payload = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\nConnection: close\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        + "\r\n"
    )
    end, received = clock() + deadline, bytearray()
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=deadline) as connection:
        connection.sendall(head.encode() + payload)
        while True:
            left = end - clock()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            chunk = connection.recv(1 << 14)
            if not chunk:
                break
            received += chunk
            if len(received) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
    return Answer(*parse_answer(bytes(received)))


def _whole(values: Mapping[str, float]) -> dict[str, float]:
    """JSON tells 2 from 2.0, and a component may want whole numbers written as such."""
    return {name: int(value) if float(value).is_integer() else value for name, value in values.items()}
