from __future__ import annotations

import math

import pytest

from telemetry.http_server import Request
from telemetry.push import PushLimits, PushSource


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def post(body: str, token: str = "", **query: str) -> Request:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return Request("POST", "/push", query, headers, body.encode())


def test_a_push_replaces_what_the_same_instance_pushed_before() -> None:
    source = PushSource()
    assert source.answer(post("a 1\nb 2\n", job="j", instance="i")).status == 204
    assert source.answer(post("a 3\n", job="j", instance="i")).status == 204
    assert source.answer(post("a 4\n", job="j", instance="k")).status == 204
    found = {series: value for series, value in source.collect().items() if not series.startswith("trimtab")}
    assert found == {'a{job="j",instance="i"}': 3.0, 'a{job="j",instance="k"}': 4.0}


def test_an_instance_that_stops_pushing_expires() -> None:
    clock = Clock()
    source = PushSource(PushLimits(expiry=60.0), clock=clock)
    source.answer(post("a 1\n", job="j"))
    clock.now += 60.0
    assert source.collect()['a{job="j",instance=""}'] == 1.0
    assert source.collect()['trimtab_push_age_seconds{job="j",instance=""}'] == 60.0
    clock.now += 1.0
    assert source.collect() == {"trimtab_push_jobs": 0.0, "trimtab_push_accepted_total": 1.0}


def test_the_pushers_own_job_label_gives_way() -> None:
    source = PushSource()
    source.answer(post('a{job="forged",x="1"} 1\n', job="true"))
    assert 'a{job="true",x="1",instance=""}' in source.collect()
    assert not any("forged" in series for series in source.collect())


def test_a_bad_push_keeps_the_last_good_one_and_is_counted() -> None:
    source = PushSource()
    source.answer(post("a 1\n", job="j"))
    refused = source.answer(post("no metrics here\n", job="j"))
    assert (refused.status, refused.body) == (400, b"not Prometheus text: line 1: 'no metrics here'\n")
    assert source.collect()['a{job="j",instance=""}'] == 1.0
    assert source.collect()['trimtab_push_refused_total{reason="text"}'] == 1.0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post("a 1\n", job="j"), 401),
        (post("a 1\n", token="wrong", job="j"), 401),
        (post("a 1\n", token="s3cret"), 400),
        (Request("GET", "/push", {"job": "j"}, {"authorization": "Bearer s3cret"}), 405),
        (Request("POST", "/push", {"job": "j"}, {"authorization": "Bearer s3cret"}, b"\xff"), 400),
        (post("\n".join(f"a{i} 1" for i in range(11)), token="s3cret", job="j"), 413),
    ],
)
def test_what_is_not_allowed_is_refused(request_: Request, status: int) -> None:
    source = PushSource(PushLimits(series=10), token="s3cret")
    answer = source.answer(request_)
    assert answer.status == status
    assert len(answer.body.splitlines()) == 1
    assert source.collect()["trimtab_push_jobs"] == 0.0


def test_too_many_instances_are_refused_until_one_expires() -> None:
    clock = Clock()
    source = PushSource(PushLimits(instances=1, expiry=10.0), clock=clock)
    assert source.answer(post("a 1\n", job="j")).status == 204
    assert source.answer(post("a 1\n", job="k")).status == 503
    assert source.answer(post("a 2\n", job="j")).status == 204
    clock.now += 11.0
    assert source.answer(post("a 1\n", job="k")).status == 204


def test_nan_stays_nan() -> None:
    source = PushSource()
    source.answer(post("a NaN\n", job="j"))
    assert math.isnan(source.collect()['a{job="j",instance=""}'])
