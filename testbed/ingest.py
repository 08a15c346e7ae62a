"""Ingest: takes labelled events over TCP, makes their features, publishes them as Parquet shards."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.applications import Starlette

from testbed import digits, shards
from testbed.component import HOST, hold_lifeline, http_face, new_registry, parser, serve, start_logging
from testbed.event_buffer import EventBuffer
from testbed.events import FrameError, read_frame
from testbed.features import FeatureCache, features
from testbed.knobs import Knob, Knobs

KEPT_SHARDS = 512
"""What may pile up on disk while no trainer reads."""
LAG_BUCKETS = tuple(0.05 * 1.5**step for step in range(20))
"""Seconds, 0.05 to 110."""

KNOBS = (
    Knob("ingest_chunk_events", default=32, low=8, high=1024),
    Knob("ingest_cache_entries", default=512, low=0, high=8192),
)


class IngestMetrics:
    """The metrics of ingest."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str) -> Counter:
            return Counter(name, help_text, registry=registry)

        self.received = counter("ingest_events_received_total", "Events received, dropped ones included")
        self.written = counter("ingest_events_written_total", "Events in published shards")
        self.dropped = counter("ingest_events_dropped_total", "Events lost since the buffer was full")
        self.shards = counter("ingest_shards_total", "Shards published")
        self.written_bytes = counter("ingest_written_bytes_total", "Bytes of published shards")
        self.received_bytes = counter("ingest_received_bytes_total", "Bytes of frames received")
        self.cache_hits = counter("ingest_cache_hits_total", "Features found in the cache")
        self.cache_misses = counter("ingest_cache_misses_total", "Features computed")
        self.backlog = Gauge("ingest_backlog_events", "Events received and not yet published", registry=registry)
        self.lag = Gauge("ingest_lag_seconds", "Age of the oldest unpublished event, 0 if none", registry=registry)
        self.event_lag = Histogram(
            "ingest_event_lag_seconds", "Event sent to shard published", buckets=LAG_BUCKETS, registry=registry
        )


class Ingest:
    """Publishes buffered events, chunk by chunk, in a thread of its own."""

    def __init__(self, base: digits.Digits, directory: Path, knobs: Knobs, metrics: IngestMetrics) -> None:
        self._directory = directory
        self._knobs = knobs
        self._metrics = metrics
        self._cache = FeatureCache(lambda sample, degrees: digits.rotate(base.images[sample], degrees))
        self._sample_count = len(base.labels)
        self._angle_count = len(base.rotations)
        self._sequence = 0
        self._in_progress: np.ndarray | None = None
        self._stopped = threading.Event()
        self.buffer = EventBuffer()
        metrics.backlog.set_function(lambda: float(self.buffer.waiting + self._in_progress_count()))
        metrics.lag.set_function(self.lag_seconds)

    def receive(self, events: np.ndarray) -> None:
        """Take events (n,) into the buffer, as far as there is room."""
        # An index out of range, from a sender of another version, must not end the publishing thread.
        sound = (events["sample"] < self._sample_count) & (events["angle_bucket"] < self._angle_count)
        sound &= (events["label"] < 10) & (events["noise_row"] < 4096) & np.isfinite(events["sent_time"])
        sound &= np.isfinite(events["contrast"]) & np.isfinite(events["noise"])
        self._metrics.received.inc(len(events))
        self._metrics.received_bytes.inc(4 + events.nbytes)
        dropped = self.buffer.add(events[sound]) + int((~sound).sum())
        self._metrics.dropped.inc(dropped)

    def lag_seconds(self) -> float:
        """Age in seconds of the oldest event that no published shard holds yet."""
        in_progress = self._in_progress
        oldest = float(in_progress["sent_time"][0]) if in_progress is not None else self.buffer.oldest_sent_time()
        return max(0.0, time.time() - oldest) if oldest is not None else 0.0

    def run(self) -> None:
        """Publish until stopped; then publish what is left."""
        while not self._stopped.is_set():
            due = self.buffer.due_in(self._knobs.count("ingest_chunk_events"))
            if due == 0.0:
                self.publish()
            else:
                self.buffer.wait(0.2 if due is None else min(due, 0.2))
        while self.buffer.waiting:
            self.publish()

    def stop(self) -> None:
        """Let `run` end."""
        self._stopped.set()

    def publish(self) -> None:
        """Make one chunk's features and publish them as a shard."""
        events = self.buffer.take(self._knobs.count("ingest_chunk_events"))
        if not len(events):
            return
        self._in_progress = events
        hits, misses = self._cache.hits, self._cache.misses
        images = features(events, self._cache, self._knobs.count("ingest_cache_entries")).reshape(-1, 8, 8)
        samples = shards.Samples(images, events["label"], events["stream_time"], events["sent_time"])
        size = self._write(samples)
        self._in_progress = None
        metrics = self._metrics
        metrics.cache_hits.inc(self._cache.hits - hits)
        metrics.cache_misses.inc(self._cache.misses - misses)
        if size is None:
            metrics.dropped.inc(len(events))
            return
        metrics.written.inc(len(events))
        metrics.shards.inc()
        metrics.written_bytes.inc(size)
        now = time.time()
        for sent in events["sent_time"].tolist():
            metrics.event_lag.observe(max(0.0, now - sent))

    def _write(self, samples: shards.Samples) -> int | None:
        self._sequence += 1
        # Nanoseconds first, so that shards sort by age across restarts.
        path = self._directory / f"{time.time_ns():020d}-{self._sequence:08d}{shards.SUFFIX}"
        try:
            size = shards.write(path, samples)
            if self._sequence % 64 == 0:
                shards.delete_all_but(self._directory, KEPT_SHARDS)
        except OSError as error:  # a full disk, say: this chunk is lost, the next may not be
            logging.getLogger("testbed.ingest").error("a shard of %d events was lost: %s", len(samples), error)
            return None
        return size

    def _in_progress_count(self) -> int:
        events = self._in_progress
        return 0 if events is None else len(events)


async def receive_events(ingest: Ingest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection of a sender of events."""
    try:
        while True:
            ingest.receive(await read_frame(reader))
    except FrameError as error:
        logging.getLogger("testbed.ingest").error("connection closed: %s", error)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def application(state_dir: Path, events_port: int | None) -> Starlette:
    """The ASGI application; it listens for events on `events_port` while it runs, if one is given."""
    knobs, registry = Knobs(*KNOBS), new_registry()
    directory = state_dir / "shards"
    directory.mkdir(exist_ok=True)
    ingest = Ingest(digits.load(state_dir), directory, knobs, IngestMetrics(registry))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        digits.rotate(np.zeros((8, 8), dtype=np.float32), 1.0)  # imports scipy before the first event, not during it
        thread = threading.Thread(target=ingest.run, name="publisher", daemon=True)
        thread.start()
        server = None
        if events_port is not None:
            server = await asyncio.start_server(lambda r, w: receive_events(ingest, r, w), HOST, events_port)
        yield
        if server is not None:
            server.close()
        ingest.stop()
        await asyncio.to_thread(thread.join, 2.0)

    return http_face(knobs, registry, [], lifespan)


def main() -> None:
    """Command line: `python -m testbed.ingest --port P --events-port E --state-dir DIR`."""
    arguments_of = parser(str(__doc__))
    arguments_of.add_argument("--events-port", type=int, required=True, help="TCP port for events on 127.0.0.1")
    arguments = arguments_of.parse_args()
    hold_lifeline(arguments)
    start_logging("ingest")
    serve(application(arguments.state_dir, arguments.events_port), arguments.port)


if __name__ == "__main__":
    main()
