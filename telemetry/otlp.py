"""Sweeps sent to an OpenTelemetry collector as OTLP/HTTP in JSON.

The names stay ours: several of our series share one name of the semantic conventions (see docs/metrics.md), and a
collector that translates names does so by rules of its own.
"""

from __future__ import annotations

import json
import logging
import math
import queue
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from telemetry.exposition import Format, Sample, grouped
from telemetry.series_catalogue import Family, describe
from telemetry.sweep import Sweep

logger = logging.getLogger(__name__)

UNITS = {"seconds": "s", "bytes": "By", "ratio": "1", "celsius": "Cel", "joules": "J", "watts": "W", "hertz": "Hz"}
CUMULATIVE = 2  # AGGREGATION_TEMPORALITY_CUMULATIVE


class OtlpExporter:
    """Sends a sweep now and then from a thread of its own; a collector that is slow or away costs sweeps, not time.

    Args:
        url: base URL of the collector, e.g. "http://127.0.0.1:4318".
        every: seconds between two sweeps that are sent.
        wall_clock: seconds since 1970.
    """

    def __init__(self, url: str, *, every: float = 10.0, wall_clock: Callable[[], float] = time.time) -> None:
        self._url, self._every, self._wall_clock = f"{url.rstrip('/')}/v1/metrics", every, wall_clock
        self._due = -math.inf
        self._waiting: queue.Queue[tuple[Sweep, float] | None] = queue.Queue(maxsize=1)
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def __call__(self, sweep: Sweep) -> None:
        """Send this sweep, if it is time to."""
        if sweep.time >= self._due:
            self._due = sweep.time + self._every
            if not self._waiting.full():
                self._waiting.put((sweep, self._wall_clock()))

    def close(self) -> None:
        """Send what waits, and stop."""
        self._waiting.put(None)
        self._thread.join(5.0)

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            body = json.dumps(message(*waiting)).encode()
            request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"}, method="POST")
            try:
                urllib.request.urlopen(request, timeout=5.0).close()
                self._failing = False
            except (OSError, ValueError) as error:  # ValueError: no URL
                if not self._failing:
                    logger.warning("sweeps cannot be sent to %s: %s", self._url, error)
                self._failing = True


def message(sweep: Sweep, now: float) -> dict[str, Any]:
    """An ExportMetricsServiceRequest; what is not finite is left out.

    Args:
        sweep: to be sent.
        now: its time, seconds since 1970.
    """
    values, nanoseconds = sweep.row.tolist(), str(int(now * 1e9))
    families = grouped(sweep.names, describe, Format.OPENMETRICS)
    metrics = [_metric(family, samples, values, nanoseconds) for family, samples in families]
    resource = {"attributes": _attributes({"service.name": "trimtab", "host.name": socket.gethostname()})}
    scope = {"scope": {"name": "trimtab"}, "metrics": [metric for metric in metrics if metric is not None]}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}


def _metric(family: Family, samples: list[Sample], values: list[float], now: str) -> dict[str, Any] | None:
    found = {"name": family.name.removesuffix("_total"), "description": family.help, "unit": UNITS.get(family.unit, "")}
    if family.kind == "histogram":
        points = _histograms(samples, values, now)
        return found | {"histogram": {"aggregationTemporality": CUMULATIVE, "dataPoints": points}} if points else None
    points = [
        {"attributes": _attributes(sample.labels), "timeUnixNano": now, "asDouble": values[sample.column]}
        for sample in samples
        # Of families with parts the samples proper: quantiles of a summary, counts without their time of creation.
        if math.isfinite(values[sample.column]) and sample.name == family.name
    ]
    if not points:
        return None
    if family.kind == "counter":
        return found | {"sum": {"aggregationTemporality": CUMULATIVE, "isMonotonic": True, "dataPoints": points}}
    return found | {"gauge": {"dataPoints": points}}


def _histograms(samples: list[Sample], values: list[float], now: str) -> list[dict[str, Any]]:
    children: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        children.setdefault(sample.group, []).append(sample)
    points = []
    for child in children.values():
        buckets = [sample for sample in child if sample.bound == sample.bound]  # bounds ascending, the last +Inf
        cumulative = [values[sample.column] for sample in buckets]
        if not buckets or not all(map(math.isfinite, cumulative)):
            continue
        counts = [int(b - a) for a, b in zip([0.0, *cumulative], cumulative, strict=False)]
        labels = {name: value for name, value in buckets[0].labels.items() if name != "le"}
        point: dict[str, Any] = {"attributes": _attributes(labels), "timeUnixNano": now}
        point |= {"count": str(int(cumulative[-1])), "bucketCounts": list(map(str, counts))}
        point["explicitBounds"] = [sample.bound for sample in buckets[:-1]]
        total = next((values[sample.column] for sample in child if sample.name.endswith("_sum")), math.nan)
        points.append(point | ({"sum": total} if math.isfinite(total) else {}))
    return points


def _attributes(labels: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in labels.items()]
