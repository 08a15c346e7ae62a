"""The HTTP face of a controller: a process of its own, which knows only the state directory.

| request | answer | token |
|---|---|---|
| `GET /healthz` | the face is alive | none |
| `GET /readyz` | 200 or 503, with reasons | none |
| `GET /metrics` | Prometheus text | none |
| `GET /status`, `GET /decisions?limit=&after=`, `GET /explain/ID` | JSON, text | viewer |
| `POST /pause`, `/resume`, `/pin`, `/unpin`, `/rollback`, `/revert`, `/kill` | 202 | operator |
| `POST /mode`, `/arm` | 202 | admin |

It is not the controller's: when it hangs, is flooded or dies, nothing is controlled less.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from controller import commands
from controller.access import AccessRole, Denial, Tokens, denial
from controller.commands import CommandError
from controller.journal_reader import CursorError, Record, following, newest
from controller.own_metrics import MetricsPage
from controller.readiness import examine
from telemetry.exposition import Format

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 4096
BODY_SECONDS = 5.0
MOST_DECISIONS = 500
METRICS_TYPE = Format.PROMETHEUS.value


class FieldError(ValueError):
    """A command whose fields are not what it takes; one line."""


@dataclass(frozen=True)
class Command:
    """Something that an operator may ask for.

    Attributes:
        role: least one that may.
        fields: name -> types; those with None among them may be left out.
        give: to the controller, by its state directory and the fields.
    """

    role: AccessRole
    fields: Mapping[str, tuple[type, ...]]
    give: Callable[..., None]


_NUMBER, _MAYBE_NUMBER = (int, float), (int, float, type(None))
COMMANDS: dict[str, Command] = {
    "/pause": Command(AccessRole.OPERATOR, {"seconds": _MAYBE_NUMBER}, commands.pause),
    "/resume": Command(AccessRole.OPERATOR, {}, commands.resume),
    "/pin": Command(AccessRole.OPERATOR, {"name": (str,), "value": _NUMBER, "seconds": _MAYBE_NUMBER}, commands.pin),
    "/unpin": Command(AccessRole.OPERATOR, {"name": (str,)}, commands.unpin),
    "/approve": Command(AccessRole.OPERATOR, {"id": (str,)}, commands.approve),
    "/rollback": Command(AccessRole.OPERATOR, {"id": (str, type(None))}, commands.request_rollback),
    "/revert": Command(AccessRole.OPERATOR, {}, commands.request_revert),
    "/kill": Command(AccessRole.OPERATOR, {}, commands.kill),
    "/arm": Command(AccessRole.ADMIN, {}, commands.arm),
    "/mode": Command(AccessRole.ADMIN, {"mode": (str,), "workload": (str, type(None))}, commands.set_mode),
}
NEEDED = {path: command.role for path, command in COMMANDS.items()}


def application(state_dir: str | Path, tokens: Tokens) -> ASGIApp:
    """The ASGI application.

    Args:
        state_dir: of the controller, which need not run.
        tokens: that are accepted.
    """
    face = _Face(Path(state_dir))
    routes = [
        Route("/healthz", face.healthz),
        Route("/readyz", face.readyz),
        Route("/metrics", face.metrics),
        Route("/status", face.status),
        Route("/decisions", face.decisions),
        Route("/explain/{id}", face.explain),
        *(Route(path, face.command, methods=["POST"]) for path in COMMANDS),
    ]
    inner = Starlette(routes=routes, exception_handlers={404: _not_here, 405: _not_here})
    inner.router.redirect_slashes = False  # one path, one meaning
    return _Gate(inner, tokens, face.refused)


class _Gate:
    """Stands before every route: what it does not let through reaches nothing."""

    def __init__(self, inner: ASGIApp, tokens: Tokens, refused: Counter[int]) -> None:
        self._inner, self._tokens, self._refused = inner, tokens, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no web sockets; the server answers what is not answered here
        found = denial(scope["method"], scope["path"], scope["headers"], NEEDED, self._tokens)
        if found is None:
            await self._inner(scope, receive, send)
            return
        self._refused[found.status] += 1
        logger.info("refused %s %r: %s", scope["method"], scope["path"][:80], found.message)
        await _denied(found)(scope, receive, send)


class _Face:
    """The routes. What reads files is no coroutine, so that starlette runs it in a thread."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir
        self._one_explanation = threading.Lock()  # each reads the whole journal
        self._one_command = threading.Lock()  # two pins at once would be one
        self.refused: Counter[int] = Counter({401: 0, 403: 0, 405: 0, 421: 0, 503: 0})

    async def healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def readyz(self, _: Request) -> Response:
        found = examine(self._directory)
        checks = [{"check": check.name, "ok": check.ok, "detail": check.detail} for check in found.checks]
        answer = {"ready": not found.reasons, "reasons": found.reasons, "checks": checks}
        return JSONResponse(answer, status_code=503 if found.reasons else 200)

    def metrics(self, _: Request) -> Response:
        found = examine(self._directory)
        refused = {f'trimtab_face_refused_total{{status="{status}"}}': float(n) for status, n in self.refused.items()}
        own = MetricsPage().text({**found.series(), **refused})
        try:
            # Of a controller that has ended, nothing is current but that it has.
            loop = (self._directory / commands.METRICS).read_text() if found.running else ""
        except (OSError, UnicodeDecodeError):
            loop = ""
        return Response(loop + own, headers={"Content-Type": METRICS_TYPE})

    def status(self, _: Request) -> Response:
        try:
            return JSONResponse(commands.status(self._directory))
        except CommandError as error:
            return _error(404, str(error))

    def decisions(self, request: Request) -> Response:
        limit, after = request.query_params.get("limit", "20"), request.query_params.get("after")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MOST_DECISIONS):
            return _error(422, f"limit must be a number from 1 to {MOST_DECISIONS}, given {limit[:40]!r}")
        journal = self._directory / commands.JOURNAL
        try:
            if after is None:
                page = newest(journal, int(limit), _is_decision)
            else:
                page = following(journal, after, int(limit), _is_decision)
        except CursorError as error:
            return _error(410, str(error))
        return JSONResponse({"decisions": [_shown(record) for record in page.records], "after": page.cursor})

    def explain(self, request: Request) -> Response:
        try:
            with self._one_explanation:
                return PlainTextResponse(commands.explain(self._directory, request.path_params["id"]) + "\n")
        except CommandError as error:
            return _error(404, str(error))

    async def command(self, request: Request) -> Response:
        path = request.scope["path"]  # the very text that the gate has looked at
        try:
            fields = _fields(COMMANDS[path], await _object(request))
            await run_in_threadpool(self._give, COMMANDS[path], fields)
        except (FieldError, ValueError) as error:
            return _error(422, str(error))
        except CommandError as error:
            return _error(409, str(error))
        except OSError as error:
            return _error(503, f"the command cannot be given: {error.strerror or error}")
        logger.info("accepted %s %s", path, fields)
        return JSONResponse({"accepted": path[1:], **fields}, status_code=202)

    def _give(self, command: Command, fields: Mapping[str, Any]) -> None:
        with self._one_command:
            command.give(self._directory, **fields)


async def _object(request: Request) -> dict[str, Any]:
    """The JSON object in the body; an empty body is an empty one.

    Raises:
        FieldError: too large, too slow, or something else.
    """
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise FieldError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    except (TimeoutError, ClientDisconnect):
        raise FieldError(f"the body did not arrive within {BODY_SECONDS:g} s") from None
    if not body:
        return {}
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise FieldError("the body must be a JSON object")
    return content


def _fields(command: Command, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a command as they were given.

    Raises:
        FieldError: unknown, missing, or of the wrong kind.
    """
    for name in given:
        if name not in command.fields:
            raise FieldError(f"unknown field {name[:40]!r}; known are: {', '.join(command.fields) or 'none'}")
    for name, types in command.fields.items():
        value = given.get(name)
        if isinstance(value, bool) or not isinstance(value, types):
            words = "text" if str in types else "a number"
            raise FieldError(f"{name} must be {words}, given {str(value)[:40]!r}")
        if isinstance(value, float | int):
            _check_number(name, value)
    return {name: value for name, value in given.items() if value is not None}


def _check_number(name: str, value: float) -> None:
    if not abs(value) < 1e12:  # NaN too
        raise FieldError(f"{name} must be a finite number")
    if name == "seconds" and value <= 0:
        raise FieldError(f"seconds must be more than 0, given {value:g}")


def _is_decision(record: Record) -> bool:
    return record.get("kind") == "decision"


def _shown(record: Record) -> Record:
    """A decision without the raw inputs that `control replay` needs, and nobody reads."""
    return {name: value for name, value in record.items() if name not in ("crc", "former", "inputs", "effect")}


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


def _denied(found: Denial) -> Response:
    response = _error(found.status, found.message)
    if found.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _not_here(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    response = _error(error.status_code, f"no {request.method} {request.url.path[:80]} here")
    response.headers.update(error.headers or {})
    return response
