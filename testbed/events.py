"""Labelled events on their way from the load generator to ingest, over TCP.

A frame is a little-endian uint32, the number of events, and then that many records of `EVENT`. An event does not
carry its image: it names a base sample and what the world did to it, and ingest makes the feature.
"""

import asyncio
import contextlib
import time

import numpy as np

EVENT = np.dtype(
    [
        ("sample", "<u2"),
        ("angle_bucket", "u1"),
        ("label", "u1"),
        ("contrast", "<f4"),
        ("noise", "<f4"),
        ("noise_row", "<u2"),
        ("stream_time", "<f8"),  # seconds
        ("sent_time", "<f8"),  # unix seconds
    ]
)

MAX_EVENTS_IN_FRAME = 65536
UNSENT_LIMIT_BYTES = 1 << 20
RECONNECT_SECONDS = 1.0


class FrameError(ValueError):
    """Bytes that are not a frame of events."""


def encode(events: np.ndarray) -> bytes:
    """The frame of events (n,) of dtype `EVENT`."""
    return len(events).to_bytes(4, "little") + events.tobytes()


async def read_frame(reader: asyncio.StreamReader) -> np.ndarray:
    """The next frame's events (n,) of dtype `EVENT`.

    Raises:
        asyncio.IncompleteReadError: the sender has gone.
        FrameError: the frame claims more events than are allowed.
    """
    count = int.from_bytes(await reader.readexactly(4), "little")
    if count > MAX_EVENTS_IN_FRAME:
        raise FrameError(f"a frame claims {count} events; allowed are up to {MAX_EVENTS_IN_FRAME}")
    return np.frombuffer(await reader.readexactly(count * EVENT.itemsize), dtype=EVENT)


class EventSender:
    """Keeps a connection to ingest and never blocks: what ingest does not take is lost, as with a real sensor."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._writer: asyncio.StreamWriter | None = None
        self._retry_at = 0.0

    async def send(self, batch: np.ndarray) -> bool:
        """Send events (n,), with the present time as their sending time; returns whether they were handed over."""
        writer = await self._connection()
        if writer is None or writer.transport.get_write_buffer_size() > UNSENT_LIMIT_BYTES:
            return False
        batch["sent_time"] = time.time()
        writer.write(encode(batch))
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()

    async def _connection(self) -> asyncio.StreamWriter | None:
        if self._writer is not None and not self._writer.transport.is_closing():
            return self._writer
        self._writer = None
        if time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + RECONNECT_SECONDS
            with contextlib.suppress(OSError):
                _, self._writer = await asyncio.open_connection(self._host, self._port)
        return self._writer
