import itertools

import pytest

from refusing import make_refusing
from testbed.component import LATENCY_BUCKETS, http_face, new_registry
from testbed.knobs import Knob, Knobs

__all__ = ["make_refusing"]


@pytest.fixture
def client(client_of):
    knobs = Knobs(Knob("batch_size", default=8, low=1, high=64), Knob("workers", default=2, low=1, high=4))
    return client_of(http_face(knobs, new_registry(), []))


def test_knobs_are_shown_with_their_ranges(client):
    status, body = client.request("GET", "/knobs")
    assert status == 200
    shown = body["knobs"]["batch_size"]
    assert shown == {"value": 8, "low": 1, "high": 64, "integer": True, "version": shown["version"]}


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


@pytest.mark.clause("A4")
def test_a_change_for_another_etag_is_a_failed_precondition(make_refusing):
    component = make_refusing("serving", batch_size=8)
    seen = component.ask("GET")[2]["etag"]
    assert component.ask("PATCH", {"batch_size": 8})[0] == 200
    status, content, headers = component.ask("PATCH", {"batch_size": 16}, If_Match=seen)
    assert (status, "read them again" in content["error"]) == (412, True)
    assert component.ask("PATCH", {"batch_size": 16}, If_Match=headers["etag"])[0] == 200
    assert component.ask("PATCH", {"batch_size": 32}, If_Match="*")[0] == 200


@pytest.mark.clause("A5")
def test_a_lower_fencing_token_than_the_highest_is_a_conflict(make_refusing):
    component = make_refusing("serving", batch_size=8)
    assert component.ask("PATCH", {"batch_size": 16}, Trimtab_Fence="7")[2]["trimtab-fence"] == "7"
    status, content, headers = component.ask("PATCH", {"batch_size": 32}, Trimtab_Fence="6")
    assert (status, headers["trimtab-fence"]) == (409, "7")
    assert content["error"] == "fencing token 6 is old, 7 was here; take a higher one, or none"
    assert component.ask("PATCH", {"batch_size": 64})[0] == 200, "an operator brings none"


@pytest.mark.parametrize("token", ["-1", "seven", "1.0", "", "9" * 19])
def test_a_fencing_token_that_is_no_whole_number_is_a_bad_request(make_refusing, token):
    component = make_refusing("serving", batch_size=8)
    assert component.ask("PATCH", {"batch_size": 16}, Trimtab_Fence=token)[0] == 400
    assert component.knobs["batch_size"] == 8
