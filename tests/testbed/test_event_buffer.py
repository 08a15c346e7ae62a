import asyncio

import numpy as np
import pytest

from testbed import events as wire
from testbed.event_buffer import FLUSH_SECONDS, EventBuffer
from testbed.events import EVENT


def frame(count, first=0):
    events = np.zeros(count, dtype=EVENT)
    events["sample"] = first + np.arange(count)
    events["sent_time"] = 1000.0 + first
    return events


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def buffer(clock):
    return EventBuffer(capacity=100, clock=clock)


def test_events_leave_in_the_order_of_their_arrival_whatever_the_frames(buffer):
    buffer.add(frame(5))
    buffer.add(frame(7, first=5))
    assert buffer.take(8)["sample"].tolist() == list(range(8))
    assert buffer.waiting == 4
    assert buffer.take(8)["sample"].tolist() == list(range(8, 12))
    assert len(buffer.take(8)) == 0


def test_a_full_buffer_drops_what_comes_last_and_counts_it(buffer):
    assert buffer.add(frame(90)) == 0
    assert buffer.add(frame(30, first=90)) == 20
    assert buffer.add(frame(1)) == 1
    assert buffer.take(1000)["sample"].tolist() == list(range(100))


def test_a_chunk_is_due_when_full_or_when_its_first_event_has_waited(buffer, clock):
    assert buffer.due_in(chunk=8) is None
    buffer.add(frame(3))
    clock.now = 0.25
    assert buffer.due_in(chunk=8) == pytest.approx(FLUSH_SECONDS - 0.25)
    assert buffer.due_in(chunk=3) == 0.0
    clock.now = 5.0
    assert buffer.due_in(chunk=8) == 0.0


def test_the_oldest_event_tells_the_lag(buffer):
    assert buffer.oldest_sent_time() is None
    buffer.add(frame(3, first=7))
    assert buffer.oldest_sent_time() == 1007.0


def test_a_frame_comes_back_as_it_was_sent():
    async def story():
        reader = asyncio.StreamReader()
        reader.feed_data(wire.encode(frame(3)) + wire.encode(frame(2, first=3)))
        return [await wire.read_frame(reader) for _ in range(2)]

    first, second = asyncio.run(story())
    np.testing.assert_array_equal(first, frame(3))
    np.testing.assert_array_equal(second, frame(2, first=3))


def test_a_frame_that_claims_too_much_is_refused():
    async def story():
        reader = asyncio.StreamReader()
        reader.feed_data(b"\xff\xff\xff\xff")
        await wire.read_frame(reader)

    with pytest.raises(wire.FrameError, match="4294967295 events"):
        asyncio.run(story())
