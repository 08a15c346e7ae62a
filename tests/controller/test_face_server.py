"""The face as a process: where it listens, and where not."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from controller.face_server import FaceError, listen, serve


@pytest.mark.clause("L11")
def test_it_listens_on_the_loopback_alone() -> None:
    with listen(0, None) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.clause("L11")
def test_a_unix_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    with listen(None, tmp_path / "face"):
        assert stat.S_IMODE((tmp_path / "face").stat().st_mode) == 0o600


def test_a_socket_that_a_killed_face_left_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    listen(None, tmp_path / "face").close()
    with listen(None, tmp_path / "face"), pytest.raises(FaceError, match="in use"):
        listen(None, tmp_path / "face")


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    (tmp_path / "face").write_text("mine")
    with pytest.raises(FaceError, match="in use"):
        listen(None, tmp_path / "face")
    assert (tmp_path / "face").read_text() == "mine"


def test_a_port_that_is_taken_is_told() -> None:
    with listen(0, None) as listener, pytest.raises(FaceError, match=r"cannot serve on 127\.0\.0\.1"):
        listen(listener.getsockname()[1], None)


def test_both_places_or_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FaceError, match="either"):
        listen(1, tmp_path / "face")


def test_without_a_state_directory_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(FaceError, match="made when the controller is started"):
        serve(tmp_path / "none", port=0)
    assert list(tmp_path.iterdir()) == []


def test_the_command_answers_on_its_socket_until_it_is_told_to_end(tmp_path: Path) -> None:
    path = tmp_path / "face"
    command = [sys.executable, "-m", "trimtab", "control", "serve", "--state-dir", str(tmp_path), "--socket", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"unix socket {path}, tokens in {tmp_path / 'tokens.json'}\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert json.loads(body)["reasons"][0].startswith("controller: no controller has run")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert "Traceback" not in errors
        assert not path.exists()
    finally:
        process.kill()
        process.wait()
