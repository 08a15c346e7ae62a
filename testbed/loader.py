"""Loader threads of the trainer: they read and decode shards ahead."""

import logging
import queue
import threading
from pathlib import Path

from testbed import shards
from testbed.knobs import Knobs

MAX_WORKERS = 4
AHEAD_SHARDS = 16
"""Decoded shards that may wait for the training loop; the others wait on disk."""
POLL_SECONDS = 0.1


class Loader:
    """Threads that turn the shards of a directory into samples; each shard is deleted once it is read.

    Args:
        directory: where ingest publishes shards.
        knobs: `training_loader_workers` says how many of the threads work.
    """

    def __init__(self, directory: Path, knobs: Knobs) -> None:
        self._knobs = knobs
        self._shards = shards.ShardQueue(directory)
        self._ready: queue.Queue[shards.Samples] = queue.Queue(AHEAD_SHARDS)
        self._stopped = threading.Event()
        self._log = logging.getLogger("testbed.trainer")

    def start(self) -> None:
        """Start the threads."""
        for index in range(MAX_WORKERS):
            threading.Thread(target=self._run, args=(index,), name=f"loader-{index}", daemon=True).start()

    def stop(self) -> None:
        """Let the threads end."""
        self._stopped.set()

    def take(self, wait_seconds: float = 0.0) -> list[shards.Samples]:
        """All that is ready; waits up to `wait_seconds` for the first."""
        taken: list[shards.Samples] = []
        try:
            taken.append(self._ready.get(timeout=wait_seconds) if wait_seconds > 0 else self._ready.get_nowait())
            while True:
                taken.append(self._ready.get_nowait())
        except queue.Empty:
            return taken

    def _run(self, index: int) -> None:
        while not self._stopped.is_set():
            idle = index >= self._knobs.count("training_loader_workers") or not self._load_next()
            if idle:
                self._stopped.wait(POLL_SECONDS)

    def _load_next(self) -> bool:
        path = self._shards.take()
        if path is None:
            return False
        try:
            samples = shards.read(path)
        except (shards.ShardError, OSError) as error:
            self._log.warning("a shard is left out: %s", error)
            self._shards.done(path)
            return True
        self._shards.done(path)
        while not self._stopped.is_set():
            try:
                self._ready.put(samples, timeout=0.5)
                break
            except queue.Full:
                continue
        return True
