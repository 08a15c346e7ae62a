"""Load generator: replays a trace of requests and labelled events, open loop.

Open loop means that requests leave at their times whether or not earlier ones were answered, and that latency counts
from the time a request should have left. A slow system cannot make its own load lighter or its latencies look better.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from yarl import URL

from testbed import digits
from testbed.component import (
    FAILED_LATENCY_SECONDS,
    HOST,
    hold_lifeline,
    http_face,
    json_object,
    latency_histogram,
    new_registry,
    parser,
    serve,
    start_logging,
)
from testbed.events import EventSender
from testbed.knobs import Knobs
from testbed.replay import Replay, ReplayError, Slice, parse_replay, slices

DEADLINE_SECONDS = 2.0
EVENT_SEND_SECONDS = 0.05
"""Events that fall due within that time leave in one frame."""
OUTCOMES = {200: "ok", 503: "rejected", 504: "timeout"}


class LoadMetrics:
    """The metrics of the load generator."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, help_text, labels, registry=registry)

        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(name, help_text, registry=registry)

        self.sent = counter("load_requests_sent_total", "Requests sent")
        self.responses = counter("load_responses_total", "Requests finished, by outcome", ("outcome",))
        self.outcomes = {name: self.responses.labels(name) for name in ("ok", "rejected", "timeout", "error")}
        self.latency = latency_histogram(
            "load_latency_seconds", "Intended send time to answer; failed requests are in +Inf", registry
        )
        self.correct = counter("load_correct_total", "Answers with the right label")
        self.answered = counter("load_answered_total", "Answers with any label")
        self.events_sent = counter("load_events_sent_total", "Events handed to the connection")
        self.events_unsent = counter("load_events_unsent_total", "Events lost since ingest did not take them")
        self.offered_requests = gauge("load_offered_requests_per_second", "Mean request rate of the current step")
        self.offered_events = gauge("load_offered_events_per_second", "Mean event rate of the current step")
        self.position = gauge("load_replay_position_ratio", "Part of the replay that is over; 0 before the first")


class LoadGenerator:
    """Plays one replay at a time.

    Args:
        base: the base samples.
        serving_urls: where requests go, to each replica in turn.
        events_port: where events go.
        metrics: what is counted.
    """

    def __init__(
        self, base: digits.Digits, serving_urls: Sequence[str], events_port: int, metrics: LoadMetrics
    ) -> None:
        self._base = base
        self._predict_urls = itertools.cycle([URL(f"{url}/predict") for url in serving_urls])
        self._metrics = metrics
        self._sender = EventSender(HOST, events_port)
        self._session: aiohttp.ClientSession | None = None
        self._playing: asyncio.Task[None] | None = None
        self._in_flight: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Make ready to play."""
        # Without what it does for browsers the client is cheaper, and that CPU belongs to the system under test.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            skip_auto_headers={"User-Agent", "Accept", "Accept-Encoding", "Content-Type"},
        )

    async def close(self) -> None:
        """Stop, and close all connections."""
        self.stop()
        self._sender.close()
        if self._session is not None:
            await self._session.close()

    def play(self, replay: Replay) -> None:
        """Start a replay now, in place of one that is running."""
        self.stop()
        self._playing = asyncio.create_task(self._play(replay))

    def stop(self) -> bool:
        """Send no more; requests on their way are still counted. Returns whether a replay was running."""
        running = self._playing is not None and not self._playing.done()
        if self._playing is not None:
            self._playing.cancel()
            self._playing = None
        self._metrics.offered_requests.set(0)
        self._metrics.offered_events.set(0)
        return running

    async def _play(self, replay: Replay) -> None:
        start = time.monotonic()
        self._metrics.position.set(0)
        try:
            for part in slices(replay, self._base, time.time() if replay.stream_time is None else replay.stream_time):
                self._metrics.position.set(part.start / replay.seconds)
                self._metrics.offered_requests.set(part.requests_per_second)
                self._metrics.offered_events.set(part.events_per_second)
                await asyncio.gather(self._send_requests(part, start), self._send_events(part, start))
            await asyncio.sleep(start + replay.seconds - time.monotonic())
            self._metrics.position.set(1)
            self._metrics.offered_requests.set(0)
            self._metrics.offered_events.set(0)
        except asyncio.CancelledError:
            raise
        except Exception:
            logging.getLogger("testbed.load").exception("the replay failed")

    async def _send_requests(self, part: Slice, start: float) -> None:
        for offset, image, label in zip(part.request_times.tolist(), part.images, part.labels.tolist(), strict=True):
            intended = start + offset
            if (delay := intended - time.monotonic()) > 0:
                await asyncio.sleep(delay)
            task = asyncio.create_task(self._request(image.tobytes(), label, intended))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _send_events(self, part: Slice, start: float) -> None:
        sent = 0
        while sent < len(part.events):
            due = start + part.event_times[sent] + EVENT_SEND_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            until = int(np.searchsorted(part.event_times, time.monotonic() - start, side="right"))
            batch = part.events[sent:until]
            delivered = await self._sender.send(batch)
            (self._metrics.events_sent if delivered else self._metrics.events_unsent).inc(len(batch))
            sent = max(until, sent)

    async def _request(self, body: bytes, label: int, intended: float) -> None:
        metrics = self._metrics
        metrics.sent.inc()
        outcome, answer = await self._outcome(body, intended)
        metrics.outcomes[outcome].inc()
        metrics.latency.observe(time.monotonic() - intended if outcome == "ok" else FAILED_LATENCY_SECONDS)
        if answer is not None:
            metrics.answered.inc()
            metrics.correct.inc(answer == label)

    async def _outcome(self, body: bytes, intended: float) -> tuple[str, int | None]:
        if self._session is None:
            raise RuntimeError("open() comes before play()")
        try:
            async with asyncio.timeout(max(0.0, intended + DEADLINE_SECONDS - time.monotonic())):
                async with self._session.post(next(self._predict_urls), data=body) as response:
                    content = await response.read()
            if response.status != 200:
                return OUTCOMES.get(response.status, "error"), None
            return "ok", int(json.loads(content)["label"])
        except TimeoutError:
            return "timeout", None
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError):
            return "error", None


def application(state_dir: Path, serving_urls: Sequence[str], events_port: int) -> Starlette:
    """The ASGI application."""
    registry = new_registry()
    generator = LoadGenerator(digits.load(state_dir), serving_urls, events_port, LoadMetrics(registry))

    async def replay(request: Request) -> Response:
        body = await json_object(request)
        if isinstance(body, Response):
            return body
        try:
            wanted = parse_replay(body)
        except ReplayError as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        generator.play(wanted)
        return JSONResponse({"status": "playing", "seconds": wanted.seconds})

    async def stop(_: Request) -> Response:
        return JSONResponse({"status": "stopped", "was_playing": generator.stop()})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await generator.open()
        yield
        await generator.close()

    routes = [Route("/replay", replay, methods=["POST"]), Route("/stop", stop, methods=["POST"])]
    return http_face(Knobs(), registry, [*routes], lifespan)


def main() -> None:
    """Command line: `python -m testbed.load --port P --state-dir DIR --serving-url URL... --events-port E`."""
    arguments_of = parser(str(__doc__))
    arguments_of.add_argument(
        "--serving-url", required=True, nargs="+", help="base URL of serving, or of each of its replicas"
    )
    arguments_of.add_argument("--events-port", type=int, required=True, help="TCP port of ingest on 127.0.0.1")
    arguments = arguments_of.parse_args()
    hold_lifeline(arguments)
    start_logging("load")
    serve(application(arguments.state_dir, arguments.serving_url, arguments.events_port), arguments.port)


if __name__ == "__main__":
    main()
