import asyncio

import numpy as np
import pytest

from testbed.batching import Batcher, DeadlinePassed, QueueFull

IMAGE = np.zeros((8, 8), dtype=np.float32)


class RecordedForward:
    """A forward pass that answers with the size of its batch; it can be held back, and made to fail."""

    def __init__(self):
        self.batches = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error = None

    async def __call__(self, images):
        await self.gate.wait()
        self.batches.append(len(images))
        if self.error:
            raise self.error
        return [len(images)] * len(images)


def batcher(forward, size=4, timeout=0.0, **options):
    return Batcher(forward, batch_size=lambda: size, batch_timeout=lambda: timeout, **options)


async def answers_of(batch, count):
    running = asyncio.create_task(batch.run())
    try:
        return await asyncio.gather(*(batch.submit(IMAGE) for _ in range(count)), return_exceptions=True)
    finally:
        running.cancel()


def test_requests_that_wait_share_batches_of_the_allowed_size():
    async def story():
        forward = RecordedForward()
        answers = await answers_of(batcher(forward), 10)
        return forward.batches, answers

    batches, answers = asyncio.run(story())
    assert batches == [4, 4, 2]
    assert answers == [4] * 8 + [2] * 2


def test_a_full_batch_does_not_wait_for_the_timeout():
    async def story():
        forward = RecordedForward()
        async with asyncio.timeout(5):
            await answers_of(batcher(forward, size=3, timeout=3600.0), 3)
        return forward.batches

    assert asyncio.run(story()) == [3]


def test_a_request_beyond_the_queue_limit_is_turned_away_at_once():
    async def story():
        forward = RecordedForward()
        return await answers_of(batcher(forward, size=8, queue_limit=5), 7)

    answers = asyncio.run(story())
    assert answers[:5] == [5] * 5
    assert [type(answer) for answer in answers[5:]] == [QueueFull, QueueFull]


def test_a_request_past_its_deadline_gets_no_place_in_a_batch():
    async def story():
        forward = RecordedForward()
        late = batcher(forward, deadline=0.0)
        answer = (await asyncio.gather(late.submit(IMAGE), return_exceptions=True))[0]
        waiting = late.waiting
        running = asyncio.create_task(late.run())
        while late.waiting:
            await asyncio.sleep(0)
        running.cancel()
        return answer, waiting, forward.batches

    answer, waiting, batches = asyncio.run(story())
    assert isinstance(answer, DeadlinePassed)
    assert waiting == 1
    assert batches == []


def test_a_failed_batch_fails_its_requests_and_the_next_is_answered():
    async def story():
        forward = RecordedForward()
        batch = batcher(forward)
        forward.error = RuntimeError("out of memory")
        failed = await answers_of(batch, 2)
        forward.error = None
        return failed, await answers_of(batch, 1)

    failed, answered = asyncio.run(story())
    assert [str(error) for error in failed] == ["out of memory"] * 2
    assert answered == [1]


@pytest.mark.parametrize("sizes", [(1, 5), (5, 1)])
def test_a_change_of_the_batch_size_counts_from_the_next_batch(sizes):
    async def story():
        forward = RecordedForward()
        current = [sizes[0]]
        batch = Batcher(forward, batch_size=lambda: current[0], batch_timeout=lambda: 0.0)
        await answers_of(batch, 5)
        current[0] = sizes[1]
        await answers_of(batch, 5)
        return forward.batches

    expected = {(1, 5): [1] * 5 + [5], (5, 1): [5] + [1] * 5}[sizes]
    assert asyncio.run(story()) == expected
