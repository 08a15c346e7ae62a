"""`trimtab monitor`: what host, processes and components measure: live, as JSON, for Prometheus, and kept on disk."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from controller.component_source import ComponentSource
from controller.lean import run_as_program
from controller.monitor_sources import MonitorOptions, components_of, sources_of, token_of, told
from telemetry.collectors.scrape import ScrapeSource
from telemetry.collectors.source import ArraySource, Source
from telemetry.exposition import Exposition, negotiate
from telemetry.http_server import Answer, HttpServer, Request
from telemetry.push import PushSource
from telemetry.sampler import Sampler, Sweep
from telemetry.series_catalogue import describe

logger = logging.getLogger(__name__)

Show = Callable[[Sweep], None]


def run_monitor(options: MonitorOptions) -> None:
    """Sweep until SIGINT, SIGTERM, or the number of sweeps wanted.

    Raises:
        MonitorError: nothing can be read at a place that was named.
        PortTaken: a port cannot be listened on.
    """
    push = PushSource(token=token_of(options.token_file)) if options.push is not None else None
    components = components_of(options)
    sources = sources_of(options, components, push)
    exposition = Exposition(lambda name: describe(name) or told(name, sources))
    with contextlib.ExitStack() as stack:
        sampler = stack.enter_context(contextlib.closing(_Sampler(sources, options.period)))
        for port in sorted({options.serve, options.push} - {None}, key=str):
            stack.callback(_serve(port, options, exposition, push).close)
        outputs = [exposition.show, *_outputs(options, stack)]
        stop = stack.enter_context(stopped_by_signals())
        left = options.sweeps or 0

        def consume(sweep: Sweep) -> None:
            nonlocal left
            for output in outputs:
                output(sweep)
            left -= 1
            if left == 0:
                stop.set()

        sampler.run(stop, consume)


class _Sampler(Sampler):
    """All scrapes of a sweep run side by side: slow programs cost their deadline once, not each."""

    def __init__(self, sources: list[Source | ArraySource], period_seconds: float) -> None:
        super().__init__(sources, period_seconds)
        self._scrapes = [source for source in sources if isinstance(source, ComponentSource | ScrapeSource)]
        self._pool = ThreadPoolExecutor(max(len(self._scrapes), 1), thread_name_prefix="scrape")

    def sweep(self) -> Sweep:
        for source in self._scrapes:
            source.begin(self._pool)
        return super().sweep()

    def close(self) -> None:
        """End the threads that scrape."""
        self._pool.shutdown()


def _serve(port: int | None, options: MonitorOptions, exposition: Exposition, push: PushSource | None) -> HttpServer:
    def answer(request: Request) -> Answer:
        if request.path == "/metrics" and port == options.serve:
            form = negotiate(request.headers.get("accept", ""))
            return Answer(200, exposition.text(form), form.value)
        if request.path == "/push" and port == options.push and push is not None:
            return push.answer(request)
        return Answer(404, b"see /metrics, or POST to /push\n")

    server = HttpServer(port or 0, answer)
    print(f"http://127.0.0.1:{server.port}{'/metrics' if port == options.serve else '/push'}", file=sys.stderr)
    return server


def _outputs(options: MonitorOptions, stack: contextlib.ExitStack) -> list[Show]:
    """Where sweeps go: what costs memory is loaded only where it is asked for."""
    outputs: list[Show] = []
    if options.store is not None:
        from telemetry.store import Store

        store = stack.enter_context(contextlib.closing(Store(options.store, period_seconds=options.period)))
        outputs.append(Surviving(store.append, f"storing in {options.store}"))
    if options.otlp is not None:
        from telemetry.otlp import OtlpExporter

        exporter = stack.enter_context(contextlib.closing(OtlpExporter(options.otlp)))
        outputs.append(exporter)
    if options.json:
        outputs.append(_print_json)
    elif sys.stdout.isatty():
        from telemetry.live_view import LiveView

        outputs.append(stack.enter_context(contextlib.closing(LiveView())))
    elif not outputs and options.serve is None and options.push is None:
        from telemetry.overview import Watcher, line

        watcher = Watcher()
        outputs.append(lambda sweep: print(time.strftime("%H:%M:%S"), line(watcher.look(sweep)), flush=True))
    return outputs


class Surviving:
    """A full disk costs what was to be stored, and two lines of log, not the watching."""

    def __init__(self, output: Show, what: str) -> None:
        self._output, self._what, self._failing = output, what, False

    def __call__(self, sweep: Sweep) -> None:
        try:
            self._output(sweep)
        except OSError as error:
            if not self._failing:
                logger.warning("%s fails: %s", self._what, error)
            self._failing = True
            return
        if self._failing:
            logger.warning("%s works again", self._what)
            self._failing = False


def _print_json(sweep: Sweep) -> None:
    values = {name: value if math.isfinite(value) else None for name, value in sweep.values.items()}
    found = {"time": sweep.time, "series": len(values), "errors": dict(sweep.errors), "values": values}
    print(json.dumps(found), flush=True)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that a service that is stopped still writes its last minute.

    The second signal does what it always does.
    """
    stop = threading.Event()
    former: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def end(*_: object) -> None:
        stop.set()
        restore()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            former[number] = signal.signal(number, end)
    try:
        yield stop
    finally:
        restore()


def main() -> None:
    """The service: as `trimtab monitor`, with the options as JSON in the first argument."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    run_as_program(lambda: run_monitor(MonitorOptions.from_json(sys.argv[1])))


if __name__ == "__main__":
    main()
