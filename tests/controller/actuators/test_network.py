import builtins
import subprocess

import pytest

from controller.actuators.actuator import ActuatorError
from controller.actuators.network import NetworkRate
from controller.components import Component
from controller.revert import revert_all
from telemetry.processes import process_start

KNOB = "serving_network_limit_bytes_per_second"
UNLIMITED = 1e8
READY = "import sys\nprint('ready', flush=True)\nsys.stdin.readline()"


@pytest.fixture
def start(run_python):
    """Starts a process in a network namespace of its own, with a pair of interfaces."""
    pytest.importorskip("pyroute2")

    def start(script=READY):
        links = "ip link set lo up; ip link add t0 type veth peer name t1; ip link set t0 up; ip link set t1 up"
        command = ["unshare", "--net", "sh", "-c", f'{links}; exec "$@"', "sh"]
        if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
            pytest.skip("network namespaces are not permitted here")
        return run_python(script, *command)

    return start


def rate_of(process, target="t0"):
    component = Component("serving", "", process.pid, process_start(process.pid))
    actuator = NetworkRate("serving", KNOB, component, unlimited=UNLIMITED, target=target)
    capability = actuator.probe()
    if "not permitted" in capability.reason:
        pytest.skip(capability.reason)
    return actuator


def qdiscs(process):
    command = ["nsenter", f"--net=/proc/{process.pid}/ns/net", "tc", "qdisc", "show"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("by_warden", [False, True])
def test_a_rate_is_put_in_force_read_back_and_restored(start, by_warden):
    process = start()
    found = qdiscs(process)
    actuator = rate_of(process)
    assert "own network namespace" in actuator.probe().reason
    assert qdiscs(process) == found
    steps = actuator.revert_steps()
    for rate in (1e6, 2e4):
        assert actuator.apply({KNOB: rate}) == {KNOB: rate}
    assert "qdisc tbf 7472: dev t0 root" in qdiscs(process)
    if by_warden:
        assert revert_all(steps) == ([], [])
        assert revert_all(steps) == ([], [])
    else:
        actuator.undo()
        actuator.undo()
    assert qdiscs(process) == found
    assert actuator.read() == {KNOB: UNLIMITED}


def test_the_upper_end_is_no_limit(start):
    process = start()
    found = qdiscs(process)
    actuator = rate_of(process)
    actuator.apply({KNOB: 1e6})
    assert actuator.apply({KNOB: UNLIMITED}) == {KNOB: UNLIMITED}
    assert qdiscs(process) == found


@pytest.mark.clause("A4")
def test_the_queueing_discipline_of_somebody_else_stays(start):
    process = start()
    actuator = rate_of(process)
    enter = ["nsenter", f"--net=/proc/{process.pid}/ns/net"]
    subprocess.run([*enter, "tc", "qdisc", "add", "dev", "t0", "root", "handle", "5:", "htb"], check=True)
    found = qdiscs(process)
    assert "queueing discipline htb 5: of somebody else" in actuator.probe().reason
    with pytest.raises(ActuatorError, match="of somebody else"):
        actuator.apply({KNOB: 1e6})
    actuator.undo()
    assert qdiscs(process) == found


def test_what_is_sent_is_held_to_the_rate(start):
    script = """
import socket, sys, threading, time
print("ready", flush=True)
sys.stdin.readline()
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
peer = server.accept()[0]
threading.Thread(target=lambda: [peer.recv(1 << 16) for _ in iter(int, 1)], daemon=True).start()
begin, sent = time.monotonic(), 0
while time.monotonic() < begin + 0.5:
    sent += client.send(bytes(1 << 14))
print(sent / 0.5, flush=True)
"""
    process = start(script)
    rate_of(process, "lo").apply({KNOB: 2e6})
    rate = float(process.communicate("go\n", timeout=10)[0])
    assert rate < 12e6  # unlimited: hundreds; the socket's buffers of some megabytes fill at once


def test_a_workload_on_the_network_of_the_host_needs_a_named_interface(child):
    pytest.importorskip("pyroute2")
    assert "name an interface in the knob's target" in rate_of(child, "").probe().reason


def test_an_interface_that_is_not_there_is_an_error(start):
    assert "has no interface 't9'" in rate_of(start(), "t9").probe().reason


def test_without_pyroute2_it_says_what_to_install(child, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("pyroute2"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert rate_of(child, "lo").probe().reason == "network rates need pyroute2: pip install 'trimtab[network]'"


def test_a_process_that_ended_is_not_available():
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert "no process on this host" in rate_of(ended).probe().reason
