"""`trimtab monitor`: what the host and the components measure, live, as JSON, or for Prometheus to scrape."""

from __future__ import annotations

import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from controller.component_source import ComponentSource
from controller.components import Components
from controller.live_plant import SCRAPED
from telemetry.collectors.host import HostSource
from telemetry.collectors.source import Source, parse_key
from telemetry.exposition import CONTENT_TYPE, families_of, render
from telemetry.sampler import Sampler, Sweep

SHOWN = 28
"""Rows of the live table: fits a terminal of 40 lines."""


def run_monitor(
    components: Path | None, period_seconds: float, *, serve_port: int | None, sweeps: int | None, json: bool
) -> None:
    """Sweep until Ctrl-C, or `sweeps` times.

    Args:
        components: `testbed.json` of a running system; None watches the host alone.
        period_seconds: between sweeps.
        serve_port: of 127.0.0.1, for Prometheus text; None serves nothing.
        sweeps: how many; None has no end.
        json: print one JSON object a sweep instead of the table.

    Raises:
        OSError: the port is in use.
    """
    sources: list[Source] = [HostSource()]
    if components is not None:
        directory = Components(components)

        def url_of(name: str) -> str | None:
            component = directory.read().get(name)
            return component.url if component else None

        sources += [ComponentSource(name, url_of, time.monotonic) for name in SCRAPED]
    sampler = Sampler(sources, period_seconds)
    page = _Page()
    server = _serve(page, serve_port) if serve_port is not None else None
    stop = threading.Event()
    show = _JsonLines() if json else _LiveTable(period_seconds)
    left = sweeps

    def consume(sweep: Sweep) -> None:
        nonlocal left
        page.text = render(families_of(sweep.values))
        show(sweep)
        if left is not None:
            left -= 1
            if left <= 0:
                stop.set()

    try:
        sampler.run(stop, consume)
    finally:
        show.close()
        if server is not None:
            server.shutdown()
            server.server_close()


class _JsonLines:
    def __call__(self, sweep: Sweep) -> None:
        values = {name: value if math.isfinite(value) else None for name, value in sweep.values.items()}
        print(json.dumps({"time": sweep.time, "series": len(values), "errors": sweep.errors, "values": values}))

    def close(self) -> None:
        """Nothing to end."""


class _LiveTable:
    """The series that move most, as rates for counters."""

    def __init__(self, period_seconds: float) -> None:
        from rich.live import Live

        self._period, self._before = period_seconds, None
        self._live = Live(refresh_per_second=4)
        self._live.start()

    _before: Sweep | None

    def __call__(self, sweep: Sweep) -> None:
        from rich.table import Table

        table = Table(title=f"{len(sweep.values)} series, {len(sweep.errors)} sources failing", expand=True)
        table.add_column("series", no_wrap=True, overflow="ellipsis", ratio=4)
        table.add_column("value", justify="right", ratio=1)
        table.add_column("per second", justify="right", ratio=1)
        for name, value, rate in self._rows(sweep):
            table.add_row(name, f"{value:.5g}", "" if rate is None else f"{rate:.4g}")
        self._live.update(table)
        self._before = sweep

    def _rows(self, sweep: Sweep) -> list[tuple[str, float, float | None]]:
        before = self._before.values if self._before is not None else {}
        rows = []
        for name, value in sweep.values.items():
            family = parse_key(name)[0]
            if family.endswith("_bucket") or family.startswith("trimtab_sampler"):
                continue
            old = before.get(name)
            moved = 0.0 if old is None or not value else abs(value - old) / abs(value)
            rate = (value - old) / self._period if old is not None and family.endswith("_total") else None
            rows.append((moved, name, value, rate))
        rows.sort(key=lambda row: -row[0])
        return sorted((name, value, rate) for _, name, value, rate in rows[:SHOWN])

    def close(self) -> None:
        """Leave the last table on the screen."""
        self._live.stop()


class _Page:
    text = b""


def _serve(page: _Page, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/metrics"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.end_headers()
            self.wfile.write(page.text if found else b"see /metrics\n")

        def log_message(self, *_: object) -> None:
            """A scrape a second is no news."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise OSError(f"cannot serve on 127.0.0.1:{port}: {error.strerror}; choose another --serve port") from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
