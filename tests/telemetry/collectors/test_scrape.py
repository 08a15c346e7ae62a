from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from telemetry.collectors.scrape import ScrapeSource, parse_text
from telemetry.collectors.source import SourceError
from telemetry.series_catalogue import Family


class Handler(BaseHTTPRequestHandler):
    pages: dict[str, tuple[int, bytes]] = {}  # noqa: RUF012 - shared with the test on purpose
    released = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.released.wait(10.0)
            return
        if self.path == "/guarded" and self.headers["Authorization"] != "Bearer s3cret":
            self.send_error(401)
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


def test_the_token_is_read_again_at_each_scrape(server: str, tmp_path: Path) -> None:
    Handler.pages["/guarded"] = (200, b"a 1\n")
    token = tmp_path / "token"
    source = ScrapeSource("s", f"{server}/guarded", token_file=token)
    with pytest.raises(SourceError, match="no token in"):
        source.collect()
    token.write_text("old\n")
    with pytest.raises(SourceError, match="HTTP status 401"):
        source.collect()
    token.write_text("s3cret\n")
    assert source.collect() == {"a": 1.0}


def test_a_token_file_with_more_than_a_token_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a\r\nX-Injected: 1")
    with pytest.raises(SourceError, match="must hold one token"):
        ScrapeSource("s", "http://127.0.0.1:9/metrics", token_file=tmp_path / "token").collect()


def test_a_host_is_found_by_name(server: str) -> None:
    Handler.pages["/metrics"] = (200, b"a 1\n")
    assert ScrapeSource("s", server.replace("127.0.0.1", "localhost") + "/metrics").collect() == {"a": 1.0}


def test_an_unknown_host_is_told() -> None:
    with pytest.raises(SourceError, match=r"nowhere\.invalid"):
        ScrapeSource("s", "http://nowhere.invalid/metrics").collect()


def test_what_a_program_tells_of_its_metrics_is_kept(server: str) -> None:
    registry = CollectorRegistry()
    Counter("requests", "Requests of\nall kinds.", registry=registry)
    Histogram("latency_seconds", "Latency.", registry=registry)
    Handler.pages["/metrics"] = (200, generate_latest(registry))
    source = ScrapeSource("s", f"{server}/metrics")
    source.collect()
    assert source.families["requests_total"].help == "Requests of\nall kinds."
    assert source.families["requests_total"].kind == "counter"
    assert source.families["latency_seconds"].kind == "histogram"


def test_openmetrics_counters_go_by_the_name_of_their_samples() -> None:
    families: dict[str, Family] = {}
    parse_text("# TYPE a counter\n# HELP a As.\na_total 5 1.0\n# EOF\n", {}, families)
    assert families == {"a_total": Family("a_total", "counter", "As.", "scraped")}


def answering(raw: bytes) -> Iterator[str]:
    """A program that answers one request with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(raw)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        thread.join()


def test_an_answer_in_chunks_is_put_together() -> None:
    for url in answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\na \r\n2\r\n1\n\r\n0\r\n\r\n"):
        assert ScrapeSource("s", url).collect() == {"a": 1.0}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1\r\n\r\na 1\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\na 1\n",
    ],
)
def test_what_is_no_whole_http_answer_is_told(raw: bytes) -> None:
    for url in answering(raw):
        with pytest.raises(SourceError, match="broken HTTP answer"):
            ScrapeSource("s", url).collect()


def test_the_scrapers_labels_stand_on_every_series(server: str) -> None:
    Handler.pages["/metrics"] = (200, b'a{x="1",component="forged"} 1\nb 2\n')
    source = ScrapeSource("s", f"{server}/metrics", labels={"component": "serving"})
    expected = {'a{x="1",component="serving"}': 1.0, 'b{component="serving"}': 2.0}
    assert source.collect() == expected
    assert source.collect() == expected


def test_a_scrape_begun_in_the_background_is_the_next_reading(server: str) -> None:
    Handler.pages["/metrics"] = (200, b"a 1\n")
    source = ScrapeSource("s", f"{server}/metrics")
    with ThreadPoolExecutor(1) as pool:
        source.begin(pool)
    Handler.pages["/metrics"] = (200, b"a 2\n")
    assert source.collect() == {"a": 1.0}
    assert source.collect() == {"a": 2.0}


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
