"""Makes a training loop or a server a source of metrics; one file, standard library only, may be copied anywhere.

```python
from telemetry.client import Training

run = Training().serve(9105)                     # GET http://127.0.0.1:9105/metrics, or .push(url, job="nightly")
for batch in run.batches(loader):                # times the waiting for data and the steps
    ...
    run.report(samples=len(batch), loss=float(loss))
```

`run.watch(optimizer)` adds the optimizer's time and the learning rate of a PyTorch optimizer; `run.transformers()` and
`run.stable_baselines3(BaseCallback)` are callbacks for these libraries. A server takes a `Registry` alone:
`latency = registry.histogram("serving_latency_seconds", "Arrival to answer.")`, then `with latency.time(): ...`.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: from a small model's step to a large one's."""
WINDOW = 100
"""Steps over which shares and rates are taken."""

Item = TypeVar("Item")


class ClientError(ValueError):
    """A metric that was asked for wrongly."""


class Series:
    """One series: a counter or gauge with its labels. Safe to use from several threads."""

    def __init__(self, lock: threading.Lock, kind: str) -> None:
        self._lock, self._kind, self.value = lock, kind, 0.0 if kind == "counter" else math.nan

    def inc(self, amount: float = 1.0) -> None:
        """Add to it; ClientError if a counter would fall."""
        amount = float(amount)  # numpy's numbers would be written as np.float64(1.0)
        if self._kind == "counter" and not amount >= 0:
            raise ClientError(f"a counter grows by amounts >= 0, got {amount}; use a gauge")
        with self._lock:
            self.value = amount if math.isnan(self.value) else self.value + amount

    def set(self, value: float) -> None:
        """Set a gauge, NaN hides it; ClientError on a counter."""
        if self._kind == "counter":
            raise ClientError("a counter only grows; use inc(), or a gauge")
        self.value = float(value)

    def lines(self, name: str, labels: str) -> list[str]:
        """Its line in the text format; none while a gauge was not set."""
        return [] if math.isnan(self.value) else [f"{name}{labels and f'{{{labels}}}'} {_number(self.value)}"]


class Histogram:
    """One histogram with its labels. Safe to use from several threads."""

    def __init__(self, lock: threading.Lock, bounds: tuple[float, ...], clock: Callable[[], float]) -> None:
        self._lock, self._bounds, self._clock = lock, bounds, clock
        self._counts, self._sum = [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """Count a value, in the unit of the name; NaN counts nowhere."""
        if math.isnan(value):
            return
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += float(value)

    @contextlib.contextmanager
    def time(self) -> Iterator[None]:
        """Observe how many seconds the block takes, also when it raises."""
        begin = self._clock()
        try:
            yield
        finally:
            self.observe(self._clock() - begin)

    def lines(self, name: str, labels: str) -> list[str]:
        """Its lines in the text format."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        lines, cumulative, comma = [], 0, "," if labels else ""
        for bound, count in zip((*self._bounds, math.inf), counts, strict=True):
            cumulative += count
            lines.append(f'{name}_bucket{{{labels}{comma}le="{_number(bound)}"}} {cumulative}')
        braces = f"{{{labels}}}" if labels else ""
        return [*lines, f"{name}_sum{braces} {_number(total)}", f"{name}_count{braces} {cumulative}"]


class Registry:
    """Metrics by name; asking for one again gives the same, asking for what Prometheus forbids raises ClientError.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._families: dict[str, tuple[str, str, dict[str, Any]]] = {}

    def counter(self, name: str, help: str = "", /, **labels: str) -> Series:
        """Something that only grows; its name ends in `_total`."""
        if not name.endswith("_total"):
            raise ClientError(f"counter {name!r} must end in _total")
        return self._get("counter", name, help, labels, lambda: Series(self._lock, "counter"))

    def gauge(self, name: str, help: str = "", /, **labels: str) -> Series:
        """A level; it is absent until it is set."""
        return self._get("gauge", name, help, labels, lambda: Series(self._lock, "gauge"))

    def histogram(self, name: str, help: str = "", /, buckets: Iterable[float] = BUCKETS, **labels: str) -> Histogram:
        """A distribution, by upper bounds of its buckets, rising, in the unit of the name."""
        bounds = tuple(float(bound) for bound in buckets if bound != math.inf)
        if not bounds or list(bounds) != sorted(set(bounds)):
            raise ClientError(f"histogram {name}: bounds {bounds} must rise, with at least one")
        return self._get("histogram", name, help, labels, lambda: Histogram(self._lock, bounds, self.clock))

    def text(self) -> str:
        """All of them in Prometheus text format."""
        with self._lock:
            families = [(name, kind, help, list(found.items())) for name, (kind, help, found) in self._families.items()]
        lines = []
        for name, kind, help, found in families:
            samples = [line for labels, series in found for line in series.lines(name, labels)]
            lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}", *samples] if samples else []
        return "\n".join([*lines, ""])

    def _get(self, kind: str, name: str, help: str, labels: Mapping[str, str], make: Callable[[], Any]) -> Any:
        if not all(part.isascii() and part.isidentifier() for part in (name, *labels)):
            raise ClientError(f"{name} with labels {sorted(labels)}: names must match [a-zA-Z_][a-zA-Z0-9_]*")
        written = ",".join(f'{label}="{_escaped(str(value))}"' for label, value in sorted(labels.items()))
        with self._lock:
            known, _, found = self._families.setdefault(name, (kind, _escaped(help or name, quotes=False), {}))
            if known != kind:
                raise ClientError(f"{name} is a {known} already; give the {kind} another name")
            if written not in found:
                found[written] = make()
            return found[written]

    def serve(self, port: int, host: str = "127.0.0.1") -> ThreadingHTTPServer:
        """Answer GET /metrics in a daemon thread; port 0 is any free one, see `.server_port` of what is returned.

        Raises:
            OSError: the port is taken.
        """
        registry = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.partition("?")[0] == "/metrics"
                body = (registry.text() if found else "see /metrics\n").encode()
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """A scrape a second is no news."""

        server = ThreadingHTTPServer((host, port), Page)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        return server

    def push(self, url: str, job: str, *, every: float = 5.0, token: str | None = None) -> Pusher:
        """Push to `trimtab monitor --push PORT` every so many seconds and once more at the end of the process."""
        pusher = Pusher(self, url, job, token=token)
        pusher.start(every)
        return pusher


class Pusher:
    """Sends a registry's metrics to `trimtab monitor --push`; a monitor that is away costs a warning, once.

    Args:
        registry: what to send.
        url: base URL, e.g. "http://127.0.0.1:9200".
        job: label of all series.
        instance: second label; default: host name and process id.
        token: bearer token, if the monitor wants one.
    """

    def __init__(
        self, registry: Registry, url: str, job: str, instance: str | None = None, token: str | None = None
    ) -> None:
        self._registry = registry
        query = urllib.parse.urlencode({"job": job, "instance": instance or f"{socket.gethostname()}:{os.getpid()}"})
        self._url = f"{url.rstrip('/')}/push?{query}"
        self._headers = {"Content-Type": CONTENT_TYPE} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._ended = threading.Event()
        self._failing = False

    def push(self) -> bool:
        """Push once; whether it was taken."""
        request = urllib.request.Request(self._url, self._registry.text().encode(), self._headers, method="POST")
        try:
            urllib.request.urlopen(request, timeout=2.0).close()
        except (OSError, ValueError) as error:  # URLError is an OSError; ValueError: no URL
            if not self._failing:
                logger.warning("metrics cannot be pushed to %s: %s", self._url.partition("?")[0], error)
            self._failing = True
            return False
        self._failing = False
        return True

    def start(self, every: float) -> None:
        """Push every so many seconds in a daemon thread, and at exit."""
        threading.Thread(target=self._run, args=(every,), name="push metrics", daemon=True).start()
        atexit.register(self.close)

    def close(self) -> None:
        """Push a last time and stop; may be called twice."""
        if not self._ended.is_set():
            self._ended.set()
            self.push()

    def _run(self, every: float) -> None:
        while not self._ended.wait(every):
            self.push()


class Training:
    """The metrics of a training loop: time of the steps and its parts, samples, loss and the like.

    Args:
        registry: where they are kept; default: one of its own.
        cpu_clock: processor seconds of this process. Loader processes of their own are not in it.
    """

    def __init__(self, registry: Registry | None = None, cpu_clock: Callable[[], float] = time.process_time) -> None:
        self.registry = registry or Registry()
        self._clock, self._cpu_clock = self.registry.clock, cpu_clock
        counter, gauge = self.registry.counter, self.registry.gauge
        self._seconds = self.registry.histogram("training_step_seconds", "Time of one step, waiting for data included.")
        self._samples = counter("training_samples_total", "Samples trained on, each use counted.")
        self._steps = counter("training_steps_total", "Optimizer steps.")
        self._wait = gauge("training_data_wait_ratio", "Share of the last steps' time that waited for data.")
        self._rate = gauge("training_samples_per_second_per_core", "Samples per second and core used, last steps.")
        self._parts: dict[str, float] = {}
        self._past: deque[tuple[float, float, float, float]] = deque(maxlen=WINDOW + 1)
        self._waited = 0.0
        self._begin: float | None = None

    def serve(self, port: int) -> Training:
        """Answer GET /metrics on 127.0.0.1; returns itself."""
        self.registry.serve(port)
        return self

    def push(self, url: str, job: str, **options: Any) -> Training:
        """Push every few seconds, see `Registry.push`; returns itself."""
        self.registry.push(url, job, **options)
        return self

    def batches(self, loader: Iterable[Item]) -> Iterator[Item]:
        """The loader's batches; each is a step, from asking for it to asking for the next."""
        iterator = iter(loader)
        while True:
            with self.step():
                with self.part("data_wait"):
                    batch = next(iterator, _END)
                if batch is _END:
                    self._begin = None  # the end of the loader is no step
                    return
                yield batch  # type: ignore[misc]

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """One step; what none of its parts took is the part `compute`. A step that raises is not counted."""
        self.begin_step()
        yield
        self.end_step()

    def begin_step(self) -> None:
        """A step begins."""
        self._begin, self._parts = self._clock(), {}
        if not self._past:
            self._past.append((self._begin, 0.0, 0.0, self._cpu_clock()))

    def end_step(self) -> None:
        """The step is over; nothing happens if none had begun."""
        if self._begin is None:
            return
        now = self._clock()
        seconds, self._begin = now - self._begin, None
        self._parts["compute"] = max(0.0, seconds - sum(self._parts.values()))
        for name, taken in self._parts.items():
            self.registry.counter("training_step_part_seconds_total", "Time of all steps by part.", part=name).inc(
                taken
            )
        self._seconds.observe(seconds)
        self._steps.inc()
        self._waited += self._parts.get("data_wait", 0.0)
        self._past.append((now, self._waited, self._samples.value, self._cpu_clock()))
        wall, waited, samples, cpu = (b - a for a, b in zip(self._past[0], self._past[-1], strict=True))
        if wall > 0 and cpu > 0:
            self._wait.set(waited / wall)
            self._rate.set(samples / cpu)  # (samples / wall) / (cpu / wall)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part of the step: `data_wait`, `optimizer`, or any other name."""
        begin = self._clock()
        try:
            yield
        finally:
            self.add_part(name, self._clock() - begin)

    def add_part(self, name: str, seconds: float) -> None:
        """A part of the step that was timed elsewhere."""
        self._parts[name] = self._parts.get(name, 0.0) + seconds

    def report(self, *, samples: int = 0, **gauges: float) -> None:
        """What came of a step.

        Args:
            samples: trained on since the last report.
            gauges: `loss`, `accuracy_ratio`, `learning_rate` and others; each becomes `training_<name>`.
        """
        self._samples.inc(samples)
        for name, value in gauges.items():
            self.registry.gauge(f"training_{name}", f"{name.replace('_', ' ').capitalize()} reported last.").set(value)

    def watch(self, optimizer: Any) -> None:
        """Time a PyTorch optimizer's steps as the part `optimizer`, and show its learning rate."""
        begun: list[float] = []

        def after(optimizer: Any, *_: Any) -> None:
            if begun:
                self.add_part("optimizer", self._clock() - begun.pop())
            self.report(learning_rate=float(optimizer.param_groups[0]["lr"]))

        optimizer.register_step_pre_hook(lambda *_: begun.append(self._clock()))
        optimizer.register_step_post_hook(after)

    def transformers(self) -> TransformersCallback:
        """A callback for the Trainer of Hugging Face's transformers."""
        return TransformersCallback(self)

    def stable_baselines3(self, base: type) -> Any:
        """A callback for stable-baselines3.

        Args:
            base: its `BaseCallback`, given since this file imports no such library.
        """
        return _sb3_callback(base, self)


_END: Any = object()


class GradientNoiseScale:
    """The batch size at which noise and gradient weigh the same: far below it steps are noisy, far above wasteful.

    From squared gradient norms at two batch sizes, as each step with gradient accumulation or data parallelism has
    them: of one part and of the mean of all parts (McCandlish et al. 2018, appendix A.1). Both estimates are averaged
    before their ratio is taken, since the ratio of single ones is biased.

    Args:
        decay: of the exponential averages, per update.
    """

    def __init__(self, decay: float = 0.95) -> None:
        self._decay, self._noise, self._signal = decay, 0.0, 0.0

    def update(self, small: int, small_norm_squared: float, big: int, big_norm_squared: float) -> float:
        """Take in one step; the noise scale in samples, NaN while the gradient cannot be told from noise.

        Raises:
            ClientError: unless 0 < small < big.
        """
        if not 0 < small < big:
            raise ClientError(f"batch sizes {small} and {big}: the first must be positive and the smaller")
        noise = (small_norm_squared - big_norm_squared) / (1 / small - 1 / big)
        signal = (big * big_norm_squared - small * small_norm_squared) / (big - small)
        if not math.isfinite(noise + signal):
            return math.nan
        self._noise = self._decay * self._noise + (1 - self._decay) * noise
        self._signal = self._decay * self._signal + (1 - self._decay) * signal
        return self._noise / self._signal if self._signal > 0 and self._noise >= 0 else math.nan


class TransformersCallback:
    """What the Trainer of transformers calls; other events than these do nothing.

    A step is from the end of the last to the end of this one. Before its begin lie the parts evaluation, checkpoint and
    data_wait.
    """

    def __init__(self, training: Training) -> None:
        self._training, self._clock = training, training.registry.clock
        self._marked = self._optimizer_begun = self._clock()

    def __getattr__(self, event: str) -> Callable[..., None]:
        if not event.startswith("on_"):
            raise AttributeError(event)
        return lambda *_, **__: None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._training.begin_step()
        self._marked = self._clock()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._since_mark("data_wait")

    def on_save(self, *_: Any, **__: Any) -> None:
        self._since_mark("checkpoint")

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self._optimizer_begun = self._clock()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self._training.add_part("optimizer", self._clock() - self._optimizer_begun)

    def on_step_end(self, args: Any, *_: Any, **__: Any) -> None:
        sizes = (getattr(args, name, 1) for name in ("train_batch_size", "gradient_accumulation_steps", "world_size"))
        self._training.report(samples=math.prod(sizes))
        self._training.end_step()
        self.on_train_begin()

    def on_log(self, *_: Any, logs: Mapping[str, Any] | None = None, **__: Any) -> None:
        logs = logs or {}
        found = {name: logs[name] for name in ("loss", "learning_rate", "grad_norm") if name in logs}
        self._training.report(**found)

    def on_evaluate(self, *_: Any, metrics: Mapping[str, Any] | None = None, **__: Any) -> None:
        self._since_mark("evaluation")
        metrics = metrics or {}
        names = {"accuracy_ratio": "eval_accuracy", "evaluation_loss": "eval_loss"}
        self._training.report(**{name: metrics[key] for name, key in names.items() if key in metrics})

    def _since_mark(self, part: str) -> None:
        now = self._clock()
        self._training.add_part(part, now - self._marked)
        self._marked = now


def _sb3_callback(base: type, training: Training) -> Any:
    class Callback(base):  # type: ignore[misc]
        """A step is a rollout, the part `data_wait`, and the update that follows it; samples are environment steps."""

        def _on_rollout_start(self) -> None:
            self._report()
            training.end_step()
            training.begin_step()
            self._begun, self._seen = training.registry.clock(), self.num_timesteps

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            training.add_part("data_wait", training.registry.clock() - self._begun)
            training.report(samples=self.num_timesteps - self._seen)

        def _on_training_end(self) -> None:
            self._report()
            training.end_step()

        def _report(self) -> None:
            logged, names = self.logger.name_to_value, ("loss", "learning_rate")
            training.report(**{name: logged[f"train/{name}"] for name in names if f"train/{name}" in logged})
            returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
            if returns:
                training.report(episode_return=sum(returns) / len(returns))

    return Callback()


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else "+Inf" if value > 0 else "-Inf"


def _escaped(value: str, quotes: bool = True) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quotes else escaped
