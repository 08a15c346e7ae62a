"""What every component has in common: its HTTP face, its command line, and its end when the launcher ends."""

import argparse
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import prometheus_client
import uvicorn
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from testbed.knobs import FenceError, KnobError, Knobs, VersionError

HOST = "127.0.0.1"

LATENCY_BUCKETS = tuple(round(0.15 * 1.2**step, 6) for step in range(-24, 21))
"""Seconds, 0.0019 to 5.75. Steps of 1.2 keep a percentile within 20 %, and 0.15 is the usual objective's bound."""

FAILED_LATENCY_SECONDS = 10.0
"""What a request without an answer counts as: above every bound, hence in +Inf, yet finite so that the sum stays so."""

FENCE = "Trimtab-Fence"
"""Header of a change: the fencing token of who makes it; of an answer: the highest that was here."""

FENCE_DIGITS = 18
"""Of a token; within 64 bits everywhere."""

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def new_registry() -> CollectorRegistry:
    """A registry with the process's own CPU seconds and memory in it."""
    prometheus_client.disable_created_metrics()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def latency_histogram(name: str, help_text: str, registry: CollectorRegistry) -> Histogram:
    """A histogram of seconds with the bounds that serving and load generator share."""
    return Histogram(name, help_text, buckets=LATENCY_BUCKETS, registry=registry)


def http_face(
    knobs: Knobs, registry: CollectorRegistry, routes: list[BaseRoute], lifespan: Lifespan | None = None
) -> Starlette:
    """The ASGI application of a component: `/metrics`, `/knobs`, `/healthz` and its own routes."""

    pages = Counter("exposition_pages", "Times that these metrics were read", registry=registry)
    written = Gauge(
        "exposition_written_seconds", "Monotonic time at which these metrics were written", registry=registry
    )

    async def metrics(_: Request) -> Response:
        pages.inc()
        written.set(time.monotonic())
        return Response(prometheus_client.generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "pid": os.getpid()})

    async def read_knobs(_: Request) -> Response:
        return JSONResponse({"knobs": knobs.describe()}, headers=_state_of(knobs))

    async def change_knobs(request: Request) -> Response:
        changes = await json_object(request)
        if isinstance(changes, Response):
            return changes
        fence = request.headers.get(FENCE)
        if fence is not None and not (fence.isascii() and fence.isdecimal() and len(fence) <= FENCE_DIGITS):
            error = f"{FENCE} is {fence[:60]!r}; send a whole number of at most {FENCE_DIGITS} digits"
            return JSONResponse({"error": error}, status_code=400)
        expected = request.headers.get("If-Match", "*").strip('"')
        try:
            applied = knobs.apply(
                changes, expected=None if expected == "*" else expected, fence=None if fence is None else int(fence)
            )
        except KnobError as error:
            status = 409 if isinstance(error, FenceError) else 412 if isinstance(error, VersionError) else 422
            return JSONResponse({"error": str(error)}, status_code=status, headers=_state_of(knobs))
        # Still the version that this change made: all of them are made here, and nothing was waited for since.
        return JSONResponse({"applied": applied}, headers=_state_of(knobs))

    common = [
        Route("/metrics", metrics),
        Route("/healthz", healthz),
        Route("/knobs", read_knobs, methods=["GET"]),
        Route("/knobs", change_knobs, methods=["PATCH"]),
    ]
    return Starlette(routes=[*routes, *common], lifespan=lifespan)


def _state_of(knobs: Knobs) -> dict[str, str]:
    """What a client sends back to change only what it has seen."""
    return {"ETag": f'"{knobs.version}"', FENCE: str(knobs.fence)}


async def json_object(request: Request) -> dict[str, object] | Response:
    """The JSON object in a request's body, or the answer that says what is wrong with it."""
    try:
        body = json.loads(await request.body())
    # RecursionError: a few kilobytes of "[" are enough to exhaust the parser's stack.
    except (ValueError, RecursionError):
        return JSONResponse({"error": "the body is not JSON; send a JSON object"}, status_code=400)
    if not isinstance(body, dict):
        error = f'the body is a JSON {type(body).__name__}; send an object such as {{"name": value}}'
        return JSONResponse({"error": error}, status_code=422)
    return body


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every component takes."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--port", type=int, required=True, help="HTTP port on 127.0.0.1")
    result.add_argument("--state-dir", type=Path, required=True, help="directory that the components share")
    add_lifeline_arguments(result)
    return result


def add_lifeline_arguments(result: argparse.ArgumentParser) -> None:
    """The launcher's own arguments, by which a child ends together with it."""
    result.add_argument("--lifeline-fd", type=int, help=argparse.SUPPRESS)
    result.add_argument("--parent-death-signal", action="store_true", help=argparse.SUPPRESS)


def hold_lifeline(arguments: argparse.Namespace) -> None:
    """End this process as soon as the launcher is gone, however it went.

    The launcher alone holds the write end of a pipe. The kernel closes it when the launcher ends, even by `kill -9`,
    and the read here returns. On Linux the kernel is asked for SIGKILL as well, which also ends a stopped process.
    """
    if arguments.parent_death_signal and sys.platform == "linux":
        parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
    if arguments.lifeline_fd is None:
        return

    def watch() -> None:
        os.read(arguments.lifeline_fd, 1)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def start_logging(name: str) -> logging.Logger:
    """Log lines go to standard error, marked with the component's name."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name}: %(message)s", datefmt="%H:%M:%S")
    return logging.getLogger(f"testbed.{name}")


def serve(application: Starlette, port: int) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        application,
        host=HOST,
        port=port,
        http="httptools",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    # uvicorn raises the signal again once it has shut down, and SIGINT would end in a traceback.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()
