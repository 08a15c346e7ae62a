"""Serving: answers `POST /predict` in dynamic batches and follows the trainer's newest model."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from testbed import checkpoints
from testbed.batching import Batcher, DeadlinePassed, QueueFull
from testbed.component import (
    FAILED_LATENCY_SECONDS,
    hold_lifeline,
    http_face,
    latency_histogram,
    new_registry,
    parser,
    serve,
    start_logging,
)
from testbed.drift import PIXELS
from testbed.knobs import Knob, Knobs
from testbed.model import DigitNetwork, predict

IMAGE_BYTES = PIXELS * 4
MODEL_POLL_SECONDS = 0.5


def serving_knobs() -> Knobs:
    """The knobs of serving; the default of the threads is torch's own, all cores."""
    cores = os.cpu_count() or 1
    return Knobs(
        Knob("serving_batch_size", default=8, low=1, high=64),
        Knob("serving_batch_timeout_seconds", default=0.005, low=0.0, high=0.05, integer=False),
        Knob("serving_threads", default=min(torch.get_num_threads(), cores), low=1, high=cores),
    )


class ServingMetrics:
    """The metrics of serving."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, help_text, labels, registry=registry)

        self.requests = counter("serving_requests_total", "Requests received")
        self.responses = counter("serving_responses_total", "Requests answered, by outcome", ("outcome",))
        self.outcomes = {name: self.responses.labels(name) for name in ("ok", "rejected", "timeout", "error")}
        self.latency = latency_histogram(
            "serving_latency_seconds", "Arrival to answer; failed requests are in +Inf", registry
        )
        self.queue = Gauge("serving_queue_requests", "Requests that wait for a batch", registry=registry)
        self.batches = counter("serving_batches_total", "Forward passes")
        self.batched = counter("serving_batched_requests_total", "Requests in forward passes")
        self.forward_seconds = counter("serving_forward_seconds_total", "Wall seconds of forward passes")
        self.version = Gauge("serving_model_version", "Version of the served model", registry=registry)
        self.trained = Gauge(
            "serving_model_trained_timestamp_seconds", "Unix time of the newest sample trained on", registry=registry
        )
        self.swaps = counter("serving_model_swaps_total", "Models replaced by a newer one")
        self.received_bytes = counter("serving_received_bytes_total", "Bytes of request bodies and headers")
        self.sent_bytes = counter("serving_sent_bytes_total", "Bytes of answer bodies")


class Predictor:
    """The served model, and the one thread that runs it."""

    def __init__(self, directory: Path, knobs: Knobs, metrics: ServingMetrics) -> None:
        self._directory = directory
        self._knobs = knobs
        self._metrics = metrics
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forward")
        self._threads = 0
        self._seen_change = 0
        self._log = logging.getLogger("testbed.serving")
        self._serve(checkpoints.newest(directory))

    async def forward(self, images: np.ndarray) -> list[Any]:
        """(label, model version) of each of the images (n, 8, 8)."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._forward, images)

    async def follow(self) -> None:
        """Swap in the newest model whenever the trainer publishes one, until cancelled."""
        while True:
            await asyncio.sleep(MODEL_POLL_SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> bool:
        """Swap in the newest model if there is a new one; a damaged one is logged once and ignored."""
        try:
            change = (self._directory / checkpoints.MANIFEST).stat().st_mtime_ns
        except OSError:
            return False
        if change == self._seen_change:
            return False
        self._seen_change = change
        try:
            checkpoint = checkpoints.newest(self._directory)
            if checkpoint.version == self._checkpoint.version:
                return False
            self._serve(checkpoint)
        except checkpoints.CheckpointError as error:
            self._log.warning("model %d stays: %s", self._checkpoint.version, error)
            return False
        self._metrics.swaps.inc()
        return True

    def _serve(self, checkpoint: checkpoints.Checkpoint) -> None:
        network = checkpoints.load_weights(self._directory, checkpoint).eval()
        # One assignment, since the forward pass reads both in another thread.
        self._served: tuple[DigitNetwork, int] = (network, checkpoint.version)
        self._checkpoint = checkpoint
        self._metrics.version.set(checkpoint.version)
        self._metrics.trained.set(checkpoint.trained_timestamp)

    def _forward(self, images: np.ndarray) -> list[tuple[int, int]]:
        threads = self._knobs.count("serving_threads")
        if threads != self._threads:
            torch.set_num_threads(threads)  # in this thread: the setting belongs to the thread that computes
            self._threads = threads
        network, version = self._served
        start = time.perf_counter()
        labels = predict(network, images)
        self._metrics.forward_seconds.inc(time.perf_counter() - start)
        self._metrics.batches.inc()
        self._metrics.batched.inc(len(images))
        return [(label, version) for label in labels.tolist()]


class PredictEndpoint:
    """`POST /predict`: 256 bytes, an 8x8 float32 image, little-endian; answers {"label", "model_version"}."""

    def __init__(self, batcher: Batcher, metrics: ServingMetrics) -> None:
        self._batcher = batcher
        self._metrics = metrics

    async def respond(self, request: Request) -> Response:
        """Answer one request."""
        start = time.perf_counter()
        self._metrics.requests.inc()
        outcome, status, body = await self._answer(request)
        self._metrics.outcomes[outcome].inc()
        self._metrics.latency.observe(time.perf_counter() - start if outcome == "ok" else FAILED_LATENCY_SECONDS)
        self._metrics.sent_bytes.inc(len(body))
        return Response(body, status_code=status, media_type="application/json")

    async def _answer(self, request: Request) -> tuple[str, int, bytes]:
        body = await request.body()
        headers = sum(len(name) + len(value) + 4 for name, value in request.headers.raw)
        self._metrics.received_bytes.inc(len(body) + headers)
        if len(body) != IMAGE_BYTES:
            error = f"the body has {len(body)} bytes; an 8x8 float32 image has {IMAGE_BYTES}"
            return "error", 422, _error(error)
        image = np.frombuffer(body, dtype="<f4").reshape(8, 8)
        if not np.isfinite(image).all():
            return "error", 422, _error("the image holds NaN or infinity; send finite values")
        try:
            label, version = await self._batcher.submit(image)
        except QueueFull:
            return "rejected", 503, _error("the queue is full; try again later")
        except DeadlinePassed:
            return "timeout", 504, _error("no answer in time")
        except Exception as error:  # a failed forward pass; the client is told and the loop lives on
            logging.getLogger("testbed.serving").error("a request failed: %r", error)
            return "error", 500, _error("the forward pass failed")
        return "ok", 200, b'{"label": %d, "model_version": %d}' % (label, version)


def _error(text: str) -> bytes:
    return b'{"error": "%s"}' % text.encode()


def application(state_dir: Path, knobs: Knobs | None = None) -> Starlette:
    """The ASGI application.

    Raises:
        checkpoints.CheckpointError: `state_dir` holds no model to start with; `testbed.prepare` makes one.
    """
    knobs, registry = knobs or serving_knobs(), new_registry()
    metrics = ServingMetrics(registry)
    predictor = Predictor(state_dir / "models", knobs, metrics)
    batcher = Batcher(
        predictor.forward,
        batch_size=lambda: knobs.count("serving_batch_size"),
        batch_timeout=lambda: knobs["serving_batch_timeout_seconds"],
    )
    metrics.queue.set_function(lambda: float(batcher.waiting))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await predictor.forward(np.zeros((1, 8, 8), dtype=np.float32))  # the first pass is slow; no client shall see it
        tasks = [asyncio.create_task(batcher.run()), asyncio.create_task(predictor.follow())]
        yield
        for task in tasks:
            task.cancel()

    endpoint = PredictEndpoint(batcher, metrics)
    return http_face(knobs, registry, [Route("/predict", endpoint.respond, methods=["POST"])], lifespan)


def main() -> None:
    """Command line: `python -m testbed.serving --port P --state-dir DIR`."""
    arguments = parser(str(__doc__)).parse_args()
    hold_lifeline(arguments)
    start_logging("serving")
    serve(application(arguments.state_dir), arguments.port)


if __name__ == "__main__":
    main()
