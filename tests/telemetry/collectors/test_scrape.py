from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from telemetry.collectors.scrape import ScrapeSource, parse_text
from telemetry.collectors.source import SourceError


class Handler(BaseHTTPRequestHandler):
    pages: dict[str, tuple[int, bytes]] = {}  # noqa: RUF012 - shared with the test on purpose
    released = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.released.wait(10.0)
            return
        status, body = self.pages[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + (7 if self.path == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.released.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        Handler.released.set()
        httpd.shutdown()
        thread.join()


def test_the_metrics_of_a_real_program_arrive_by_full_series_name(server: str) -> None:
    registry = CollectorRegistry()
    Counter("requests", "Requests.", ["code"], registry=registry).labels("200").inc(3)
    Histogram("wait_seconds", "Wait.", buckets=(0.1, 1.0), registry=registry).observe(0.5)
    Handler.pages["/metrics"] = (200, generate_latest(registry))
    source = ScrapeSource("serving", f"{server}/metrics")
    values = source.collect()
    assert values['requests_total{code="200"}'] == 3.0
    assert values['wait_seconds_bucket{le="1.0"}'] == 1.0
    assert source.collect() == values


@pytest.mark.parametrize(
    ("path", "page", "message"),
    [
        ("/gone", (404, b"a 1\n"), "HTTP status 404, wanted 200"),
        ("/html", (200, b"<html>hello</html>"), "not Prometheus text"),
        ("/empty", (200, b""), "no samples"),
        ("/binary", (200, b"\xff\xfe\x00"), "not Prometheus text"),
        ("/large", (200, b"a 1\n" * 1000), "more than 2000 bytes"),
        ("/cut", (200, b"a 1\n"), "broken HTTP answer"),
    ],
)
def test_what_is_no_metrics_is_told_in_one_line(server: str, path: str, page: tuple[int, bytes], message: str) -> None:
    Handler.pages[path] = page
    with pytest.raises(SourceError, match=message) as raised:
        ScrapeSource("s", server + path, max_bytes=2000).collect()
    assert "\n" not in str(raised.value)


def test_a_program_that_does_not_answer_costs_no_more_than_the_deadline(server: str) -> None:
    with pytest.raises(SourceError, match=r"no complete answer within 0.05 s"):
        ScrapeSource("s", f"{server}/slow", deadline=0.05).collect()


def test_a_trickle_of_bytes_does_not_stretch_the_deadline(server: str) -> None:
    Handler.pages["/metrics"] = (200, b"a 1\n")
    ticks = iter([0.0, 0.5, 1.5, 2.5])  # each look at the clock finds it a second later
    with pytest.raises(SourceError, match="no complete answer"):
        ScrapeSource("s", f"{server}/metrics", deadline=1.0, clock=lambda: next(ticks)).collect()


def test_a_closed_port_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(SourceError, match="Connection refused"):
        ScrapeSource("s", f"http://127.0.0.1:{port}/metrics").collect()


@pytest.mark.parametrize("url", ["https://a/metrics", "localhost:9", "file:///etc/passwd"])
def test_only_plain_http_is_scraped(url: str) -> None:
    with pytest.raises(ValueError, match="allowed is http://host:port/path"):
        ScrapeSource("s", url)


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("a 1", "a", 1.0),
        ("a\t1", "a", 1.0),
        ("a 5 1700000000000", "a", 5.0),
        ('a{ b = "c", } 2', 'a{b="c"}', 2.0),
        ("a{} 2", "a", 2.0),
        ('a{b="x y } # {",c="\\"\\\\"} 3', 'a{b="x y } # {",c="\\"\\\\"}', 3.0),
        ('a_bucket{le="1"} 7 # {trace="x"} 0.5 123', 'a_bucket{le="1"}', 7.0),
        ("a +Inf", "a", float("inf")),
    ],
)
def test_all_ways_to_write_a_sample_give_one_key(line: str, key: str, value: float) -> None:
    keys: dict[str, str] = {}
    assert parse_text(line, keys) == {key: value}
    assert parse_text(line, keys) == {key: value}


def test_a_timestamp_equal_to_the_value_is_not_mistaken_for_it() -> None:
    keys: dict[str, str] = {}
    assert parse_text("a 5 5", keys) == {"a": 5.0}
    assert parse_text("a 5 6", keys) == {"a": 5.0}


@pytest.mark.parametrize("line", ["a", "a one", "1a 2", "a{b=c} 1", 'a{b="c" 1', "a 1 2 3"])
def test_a_line_that_is_no_sample_is_told_with_its_number(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_text("ok 1\n" + line)
