from __future__ import annotations

import json
import math

import numpy as np
import pytest

from telemetry.http_server import Answer, HttpServer, Request
from telemetry.otlp import OtlpExporter, message
from telemetry.sweep import RowValues, Sweep


def sweep(values: dict[str, float], time: float = 0.0) -> Sweep:
    return Sweep(time, RowValues(tuple(values), np.array(list(values.values()), dtype=float)))


def metrics(values: dict[str, float]) -> dict[str, dict]:
    (resource,) = message(sweep(values), 1.5)["resourceMetrics"]
    (scope,) = resource["scopeMetrics"]
    return {metric["name"]: metric for metric in scope["metrics"]}


def test_a_counter_is_a_monotonic_cumulative_sum_with_its_unit() -> None:
    found = metrics({'node_cpu_seconds_total{cpu="0",mode="user"}': 2.5})["node_cpu_seconds"]
    assert (found["unit"], found["sum"]["isMonotonic"], found["sum"]["aggregationTemporality"]) == ("s", True, 2)
    (point,) = found["sum"]["dataPoints"]
    assert (point["asDouble"], point["timeUnixNano"]) == (2.5, "1500000000")
    assert {one["key"]: one["value"]["stringValue"] for one in point["attributes"]} == {"cpu": "0", "mode": "user"}


def test_a_histogram_has_its_own_counts_per_bucket() -> None:
    key = 'h_seconds_bucket{{r="x",le="{}"}}'.format
    values = {key("+Inf"): 5.0, key("0.1"): 1.0, key("0.5"): 4.0}
    values |= {'h_seconds_sum{r="x"}': 2.0, 'h_seconds_count{r="x"}': 5.0}
    (point,) = metrics(values)["h_seconds"]["histogram"]["dataPoints"]
    assert point["explicitBounds"] == [0.1, 0.5]
    assert point["bucketCounts"] == ["1", "3", "1"]
    assert (point["count"], point["sum"]) == ("5", 2.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_left_out(value: float) -> None:
    assert metrics({"a": value, "c_total": value, "b": 1.0}).keys() == {"b"}


def test_sweeps_arrive_at_a_collector_now_and_then_and_the_last_at_the_end() -> None:
    received: list[dict] = []

    def answer(request: Request) -> Answer:
        assert (request.method, request.path) == ("POST", "/v1/metrics")
        received.append(json.loads(request.body))
        return Answer(200, b"{}", "application/json")

    server = HttpServer(0, answer)
    exporter = OtlpExporter(f"http://127.0.0.1:{server.port}", every=10.0)
    for time in range(5):
        exporter(sweep({"a": float(time)}, time))
    exporter.close()
    server.close()
    (point,) = received[0]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["gauge"]["dataPoints"]
    assert (len(received), point["asDouble"]) == (1, 0.0)


def test_a_collector_that_is_away_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    exporter = OtlpExporter("http://127.0.0.1:9", every=0.0)
    for time in range(3):
        exporter(sweep({"a": 1.0}, time))
    exporter.close()
    assert len(caplog.messages) == 1
