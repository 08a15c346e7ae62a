import socket
import subprocess
import sys

import pytest

from testbed.launcher import PORT_NAMES, Testbed
from testbed.processes import TestbedError, choose_ports, lock


def test_free_ports_are_all_different():
    assert len(set(choose_ports(PORT_NAMES, {}).values())) == len(PORT_NAMES)


def test_a_port_in_use_is_an_error_that_names_it(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TestbedError, match=f"port {port} for serving"):
            Testbed(tmp_path, {"serving": port}).start()


def test_a_port_in_use_ends_the_command_in_one_line_without_a_traceback(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "testbed.launcher", "--serving-port", str(taken.getsockname()[1])]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: port ")
    assert len(ended.stderr.splitlines()) == 1


def test_an_unknown_port_name_is_answered_with_the_known_ones():
    with pytest.raises(TestbedError, match="'srving'; the names are: ingest, serving, training, load, events"):
        Testbed(ports={"srving": 1})


def test_a_state_directory_belongs_to_one_testbed(tmp_path):
    claim = lock(tmp_path)
    with pytest.raises(TestbedError, match="another testbed uses"):
        Testbed(tmp_path).start()
    assert claim


def test_stopping_what_never_started_does_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "testbed.json").write_text("not ours")
    Testbed().stop()
    assert (tmp_path / "testbed.json").exists()
