import itertools

import pytest

from testbed.component import LATENCY_BUCKETS, http_face, new_registry
from testbed.knobs import Knob, Knobs


@pytest.fixture
def client(client_of):
    knobs = Knobs(Knob("batch_size", default=8, low=1, high=64), Knob("workers", default=2, low=1, high=4))
    return client_of(http_face(knobs, new_registry(), []))


def test_knobs_are_shown_with_their_ranges(client):
    status, body = client.request("GET", "/knobs")
    assert status == 200
    assert body["knobs"]["batch_size"] == {"value": 8, "low": 1, "high": 64, "integer": True}


def test_a_change_is_answered_with_the_values_in_force(client):
    assert client.request("PATCH", "/knobs", {"batch_size": 16}) == (200, {"applied": {"batch_size": 16}})
    assert client.request("GET", "/knobs")[1]["knobs"]["batch_size"]["value"] == 16


def test_one_bad_value_among_good_ones_changes_nothing(client):
    status, body = client.request("PATCH", "/knobs", {"workers": 3, "batch_size": 1000})
    assert status == 422
    assert "1000" in body["error"]
    assert client.request("GET", "/knobs")[1]["knobs"]["workers"]["value"] == 2


@pytest.mark.parametrize("body", [b"", b"{", b"batch_size=3", b"\xff\xfe", b"[" * 100_000])
def test_garbage_is_a_bad_request(client, body):
    assert client.request("PATCH", "/knobs", body)[0] == 400


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'{"batch_size": NaN}', b'{"batch_size": 1e400}'])
def test_json_that_makes_no_sense_is_unprocessable(client, body):
    assert client.request("PATCH", "/knobs", body)[0] == 422


def test_metrics_hold_the_cost_of_the_process(client):
    status, text = client.request("GET", "/metrics")
    assert status == 200
    assert "process_cpu_seconds_total" in text
    assert "process_resident_memory_bytes" in text


def test_health_names_the_process(client):
    status, body = client.request("GET", "/healthz")
    assert (status, body["status"]) == (200, "ok")
    assert body["pid"] > 0


def test_the_objective_is_a_bucket_bound_and_the_bounds_are_close_enough():
    assert 0.15 in LATENCY_BUCKETS
    steps = [high / low for low, high in itertools.pairwise(LATENCY_BUCKETS)]
    assert max(steps) < 1.201
    assert LATENCY_BUCKETS[0] < 0.002 < 5.5 < LATENCY_BUCKETS[-1]
