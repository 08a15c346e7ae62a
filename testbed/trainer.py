"""Trainer: trains the served model on the labelled stream, without end, and publishes checkpoints."""

import contextlib
import copy
import logging
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from testbed import checkpoints
from testbed.component import hold_lifeline, http_face, new_registry, parser, serve, start_logging
from testbed.knobs import Knob, Knobs
from testbed.loader import MAX_WORKERS, Loader
from testbed.model import Trainer
from testbed.replay_window import ReplayWindow, statistical_efficiency
from testbed.shards import Samples

IDLE_SECONDS = 0.2
"""How long the loop waits for new samples before it looks whether it shall stop."""

ORDER_SECONDS = 20.0
"""How long a mark or rewind may wait for the batch in progress; a batch of 256 on a starved core takes seconds."""


def training_knobs() -> Knobs:
    """The knobs of training; the default of the threads is torch's own, all cores."""
    cores = os.cpu_count() or 1
    return Knobs(
        Knob("training_batch_size", default=32, low=8, high=256),
        Knob("training_threads", default=min(torch.get_num_threads(), cores), low=1, high=cores),
        Knob("training_loader_workers", default=2, low=1, high=MAX_WORKERS),
        Knob("training_checkpoint_interval_seconds", default=10.0, low=2.0, high=60.0, integer=False),
    )


class TrainingMetrics:
    """The metrics of training."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str) -> Counter:
            return Counter(name, help_text, registry=registry)

        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(name, help_text, registry=registry)

        self.samples = counter("training_samples_total", "Samples trained on, each use counted")
        self.goodput = counter("training_goodput_samples_total", "Samples times statistical efficiency")
        self.demand = counter("training_demand_samples_total", "Uses of labelled samples asked for")
        self.backlog = gauge("training_backlog_samples", "Uses asked for, not made and not expired")
        self.steps = counter("training_steps_total", "Optimizer steps")
        self.loss = gauge("training_loss", "Cross entropy of the last batch")
        self.accuracy = gauge("training_accuracy_ratio", "Accuracy on fresh samples before training on them")
        self.wait_seconds = counter("training_data_wait_seconds_total", "Seconds without enough samples for a batch")
        self.step_seconds = counter("training_step_seconds_total", "Wall seconds of optimizer steps")
        self.checkpoints = counter("training_checkpoints_total", "Checkpoints published")
        self.checkpoint_seconds = counter("training_checkpoint_seconds_total", "Seconds training stood still for them")
        self.checkpoint_bytes = counter("training_checkpoint_bytes_total", "Bytes of checkpoints")


@dataclass(frozen=True)
class Mark:
    """State of training to go back to.

    Attributes:
        weights: of the network, copied.
        optimizer: its state, copied.
        window: replay window, copied.
        age: seconds from the newest sample trained on to the mark.
    """

    weights: dict[str, Any]
    optimizer: dict[str, Any]
    window: ReplayWindow
    age: float


class ContinualTraining:
    """The training loop: take what the loader has, train one batch, publish when it is time.

    Args:
        state_dir: directory with `models` and `shards`.
        knobs: see `training_knobs`.
        metrics: what is counted.
        clock: monotonic seconds.
    """

    def __init__(
        self, state_dir: Path, knobs: Knobs, metrics: TrainingMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._models = state_dir / "models"
        self._knobs = knobs
        self._metrics = metrics
        self._clock = clock
        self._rng = np.random.default_rng(0)
        self._window = ReplayWindow()
        self._checkpoint = checkpoints.newest_loadable(self._models)
        self._trainer = Trainer(checkpoints.load_weights(self._models, self._checkpoint))
        self._trainer.restore_momentum(checkpoints.load_momentum(self._models, self._checkpoint))
        self._newest_sample = self._checkpoint.trained_timestamp
        self._samples = self._published_samples = self._checkpoint.samples
        self._published_at = clock()
        self._threads = 0
        self._mark: Mark | None = None
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self.loader = Loader(state_dir / "shards", knobs)

    def run(self) -> None:
        """Train until stopped."""
        while not self._stopped.is_set():
            while not self._orders.empty():
                self._orders.get()()
            self._apply_threads()
            trained = self.train_batch()
            self.publish_if_due()
            if not trained:
                start = self._clock()
                self.take_in(self.loader.take(IDLE_SECONDS))
                self._metrics.wait_seconds.inc(self._clock() - start)

    def mark(self) -> None:
        """Remember network, optimizer and replay window, so that `rewind` can bring them back. Any thread may ask.

        A comparison marks before its first contestant and rewinds before each other: all begin with the same model.
        """
        self._order(self._take_mark)

    def rewind(self) -> bool:
        """Go back to the mark and publish that model at once; False if there is none. Any thread may ask."""
        if self._mark is None:
            return False
        self._order(self._go_back)
        return True

    def _order(self, action: Callable[[], None]) -> None:
        """Have the training thread do something between two batches, and wait for it."""
        done = threading.Event()

        def carry_out() -> None:
            action()
            done.set()

        self._orders.put(carry_out)
        done.wait(ORDER_SECONDS)

    def _take_mark(self) -> None:
        network, optimizer = self._trainer.network, self._trainer.optimizer
        age = time.time() - self._newest_sample
        states = copy.deepcopy((network.state_dict(), optimizer.state_dict(), self._window))
        self._mark = Mark(*states, age=age)

    def _go_back(self) -> None:
        if self._mark is None:
            return
        self.loader.take()  # what came in since belongs to the past that is left
        self._trainer.network.load_state_dict(self._mark.weights)
        self._trainer.optimizer.load_state_dict(copy.deepcopy(self._mark.optimizer))
        self._window = copy.deepcopy(self._mark.window)
        self._newest_sample = time.time() - self._mark.age
        self._metrics.backlog.set(self._window.backlog)
        self._publish()

    def stop(self) -> None:
        """Let `run` end after the batch in progress."""
        self._stopped.set()
        self.loader.stop()

    def train_batch(self) -> bool:
        """One optimizer step, if there are enough samples that may be used."""
        self.take_in(self.loader.take())
        batch = self._knobs.count("training_batch_size")
        drawn = self._window.draw(self._rng, batch)
        if drawn is None:
            return False
        samples, first_use = drawn
        start = self._clock()
        loss, predicted = self._trainer.step(samples.images, samples.labels)
        metrics = self._metrics
        metrics.step_seconds.inc(self._clock() - start)
        metrics.steps.inc()
        metrics.samples.inc(batch)
        metrics.goodput.inc(batch * statistical_efficiency(batch))
        metrics.loss.set(loss)
        if first_use.any():
            metrics.accuracy.set(float((predicted == samples.labels)[first_use].mean()))
        metrics.backlog.set(self._window.backlog)
        self._samples += batch
        self._newest_sample = max(self._newest_sample, float(samples.sent_time.max()))
        return True

    def publish_if_due(self) -> bool:
        """Publish a checkpoint when the interval is over and something has been learned since the last."""
        due = self._clock() - self._published_at >= self._knobs["training_checkpoint_interval_seconds"]
        if not due or self._samples == self._published_samples:
            return False
        return self._publish()

    def _publish(self) -> bool:
        start = self._published_at = self._clock()
        version = self._checkpoint.version + 1
        checkpoint = checkpoints.Checkpoint(version, checkpoints.file_name(version), self._newest_sample, self._samples)
        try:
            size = checkpoints.publish(self._models, checkpoint, self._trainer.network, self._trainer.momentum())
        except OSError as error:  # a full disk, say: training goes on, and the next interval tries again
            logging.getLogger("testbed.trainer").error("checkpoint %d was not written: %s", version, error)
            return False
        self._checkpoint, self._published_samples = checkpoint, self._samples
        self._metrics.checkpoints.inc()
        self._metrics.checkpoint_seconds.inc(self._clock() - start)
        self._metrics.checkpoint_bytes.inc(size)
        return True

    def take_in(self, loaded: list[Samples]) -> None:
        """Add samples to those that may be trained on."""
        for samples in loaded:
            self._metrics.demand.inc(self._window.add(samples))
        if loaded:
            self._metrics.backlog.set(self._window.backlog)

    def _apply_threads(self) -> None:
        threads = self._knobs.count("training_threads")
        if threads != self._threads:
            torch.set_num_threads(threads)  # in this thread: the setting belongs to the thread that computes
            self._threads = threads


def application(state_dir: Path) -> Starlette:
    """The ASGI application.

    Raises:
        checkpoints.CheckpointError: `state_dir` holds no model to start with; `testbed.prepare` makes one.
    """
    knobs, registry = training_knobs(), new_registry()
    (state_dir / "shards").mkdir(exist_ok=True)
    training = ContinualTraining(state_dir, knobs, TrainingMetrics(registry))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        training.loader.start()
        thread = threading.Thread(target=_run_or_exit, args=(training,), name="training", daemon=True)
        thread.start()
        yield
        training.stop()

    async def mark(_: Request) -> Response:
        await run_in_threadpool(training.mark)
        return JSONResponse({"marked": True})

    async def rewind(_: Request) -> Response:
        if await run_in_threadpool(training.rewind):
            return JSONResponse({"rewound": True})
        return JSONResponse({"error": "there is no mark to go back to; POST /mark first"}, status_code=409)

    routes = [Route("/mark", mark, methods=["POST"]), Route("/rewind", rewind, methods=["POST"])]
    return http_face(knobs, registry, [*routes], lifespan)


def _run_or_exit(training: ContinualTraining) -> None:
    try:
        training.run()
    except BaseException:
        # A trainer that answers but no longer trains would look healthy; let the launcher start a new one.
        logging.getLogger("testbed.trainer").exception("training failed")
        os._exit(1)


def main() -> None:
    """Command line: `python -m testbed.trainer --port P --state-dir DIR`."""
    arguments = parser(str(__doc__)).parse_args()
    hold_lifeline(arguments)
    start_logging("training")
    serve(application(arguments.state_dir), arguments.port)


if __name__ == "__main__":
    main()
