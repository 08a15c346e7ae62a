"""Dynamic batching: requests that arrive close together share one forward pass."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Forward = Callable[[np.ndarray], Awaitable[list[Any]]]


class QueueFull(Exception):
    """The request was turned away at once."""


class DeadlinePassed(Exception):
    """The request got no answer in time."""


@dataclass(slots=True)
class _Request:
    image: np.ndarray
    arrival: float
    answer: asyncio.Future[Any] = field(repr=False)


class Batcher:
    """Collects requests into batches.

    Args:
        forward: answers images (n, 8, 8) with a list of n answers.
        batch_size: the largest batch allowed now.
        batch_timeout: seconds that the first request of a batch may wait for company now.
        queue_limit: requests that may wait; more are turned away.
        deadline: seconds after which a request is given up.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        batch_size: Callable[[], int],
        batch_timeout: Callable[[], float],
        queue_limit: int = 256,
        deadline: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forward = forward
        self._batch_size = batch_size
        self._batch_timeout = batch_timeout
        self._queue_limit = queue_limit
        self._deadline = deadline
        self._clock = clock
        self._queue: deque[_Request] = deque()
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    async def submit(self, image: np.ndarray) -> Any:
        """The answer to one image (8, 8).

        Raises:
            QueueFull: too many requests wait already.
            DeadlinePassed: no answer within the deadline.
        """
        if len(self._queue) >= self._queue_limit:
            raise QueueFull
        loop = asyncio.get_running_loop()
        request = _Request(image, self._clock(), loop.create_future())
        expiry = loop.call_later(self._deadline, _expire, request.answer)
        self._queue.append(request)
        self._arrived.set()
        try:
            return await request.answer
        finally:
            expiry.cancel()

    async def run(self) -> None:
        """Answer requests until cancelled."""
        while True:
            batch = await self._next_batch()
            if batch:
                await self._answer(batch)

    async def _next_batch(self) -> list[_Request]:
        while not self._queue:
            await self._wait_for_arrival(None)
        # Counted from the arrival: a request that waited during the last forward pass does not wait again.
        until = self._queue[0].arrival + self._batch_timeout()
        while len(self._queue) < self._batch_size() and (remaining := until - self._clock()) > 0:
            await self._wait_for_arrival(remaining)
        taken: list[_Request] = []
        while self._queue and len(taken) < self._batch_size():
            request = self._queue.popleft()
            if not request.answer.done():  # given up meanwhile: nobody would read the answer
                taken.append(request)
        return taken

    async def _wait_for_arrival(self, seconds: float | None) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return

    async def _answer(self, batch: list[_Request]) -> None:
        try:
            answers = await self._forward(np.stack([request.image for request in batch]))
        except Exception as error:  # whatever went wrong is these requests' answer; the next batch may fare better
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        for request, answer in zip(batch, answers, strict=True):
            if not request.answer.done():
                request.answer.set_result(answer)


def _expire(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(DeadlinePassed())
