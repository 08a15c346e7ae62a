"""Doubles for the testbed's tests: an in-process client of an ASGI application."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette

Reply = tuple[int, bytes]


class AsgiClient:
    """Calls an application without a socket; its lifespan is not started."""

    def __init__(self, application: Starlette) -> None:
        self._application = application

    async def call(self, method: str, path: str, body: bytes = b"") -> Reply:
        """Status and body of the answer to one request."""
        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._application(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)

    def request(self, method: str, path: str, body: Any = b"") -> tuple[int, Any]:
        """Status and content, decoded where it is JSON; a body that is not bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, content = asyncio.run(self.call(method, path, raw))
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode()


@pytest.fixture
def client_of() -> Callable[[Starlette], AsgiClient]:
    """Makes a client of an application."""
    return AsgiClient
