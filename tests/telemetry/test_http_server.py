from __future__ import annotations

import http.client
import itertools
import socket
from collections.abc import Iterator

import pytest

from telemetry.http_server import Answer, HttpServer, PortTaken, Request


def echo(request: Request) -> Answer:
    if request.path == "/broken":
        raise ValueError("odd")
    if request.path == "/big":
        return Answer(200, b"x" * 500_000)
    return Answer(200, f"{request.method} {request.path} {dict(request.query)} {request.body!r}".encode())


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer(0, echo, max_body=100)
    yield server
    server.close()


def ask(server: HttpServer, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, target, body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def send(server: HttpServer, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(raw)
        received = b""
        while chunk := connection.recv(1 << 16):
            received += chunk
    return received


def test_a_request_arrives_whole(server: HttpServer) -> None:
    assert ask(server, "POST", "/push?job=a%20b&x=1", b"body") == (200, b"POST /push {'job': 'a b', 'x': '1'} b'body'")


def test_a_large_answer_arrives_whole(server: HttpServer) -> None:
    assert len(ask(server, "GET", "/big")[1]) == 500_000


def test_a_body_beyond_the_limit_is_refused_with_the_limit(server: HttpServer) -> None:
    assert ask(server, "POST", "/", b"x" * 101) == (413, b"the body has 101 bytes, allowed are 100\n")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/2\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
    ],
)
def test_what_is_no_plain_request_is_refused(server: HttpServer, raw: bytes, status: bytes) -> None:
    assert send(server, raw).startswith(b"HTTP/1.1 " + status)


def test_a_peer_that_waits_for_leave_to_send_its_body_gets_it(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ok")
        assert b"b'ok'" in connection.recv(1000)


def test_a_trickle_of_bytes_does_not_stretch_the_deadline() -> None:
    ticks = itertools.count()  # each look at the clock finds it a second later
    server = HttpServer(0, echo, deadline=2.0, clock=lambda: float(next(ticks)))
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET")
        connection.settimeout(5)
        received = connection.recv(1000)
        for _ in range(3):
            if received:
                break
            connection.sendall(b"x")
    server.close()
    assert received.startswith(b"HTTP/1.1 408")


def test_an_answer_that_fails_is_told_and_the_next_is_given(server: HttpServer) -> None:
    assert ask(server, "GET", "/broken") == (500, b"ValueError: odd\n")
    assert ask(server, "GET", "/")[0] == 200


def test_a_peer_that_goes_away_harms_nobody(server: HttpServer) -> None:
    socket.create_connection(("127.0.0.1", server.port)).close()
    assert ask(server, "GET", "/")[0] == 200


def test_a_port_in_use_is_told(server: HttpServer) -> None:
    with pytest.raises(PortTaken, match=f"cannot serve on 127.0.0.1:{server.port}: Address already in use"):
        HttpServer(server.port, echo)


def test_it_answers_on_loopback_alone(server: HttpServer) -> None:
    other = socket.socket()
    with other, pytest.raises(OSError):
        other.connect(("127.0.0.2", server.port))


def test_a_closed_server_frees_its_port() -> None:
    first = HttpServer(0, echo)
    first.close()
    second = HttpServer(first.port, echo)
    assert ask(second, "GET", "/")[0] == 200
    second.close()
