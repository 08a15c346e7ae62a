import subprocess
import uuid

import pytest

from controller.actuators.actuator import ActuatorError
from controller.actuators.hierarchy import Hierarchy
from controller.actuators.network import NetworkRate
from controller.actuators.network_share import NetworkShare
from controller.components import Component
from controller.revert import revert_all
from telemetry.processes import process_start

KNOB = "network_bytes_per_second"
LINE = 4e6
WAIT = "import sys\nprint('ready', flush=True)\nsys.stdin.readline()"
SEND = """
import socket, sys, time
print("ready", flush=True)
sys.stdin.readline()
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)  # so that what waits counts for little
begin, sent = time.monotonic(), 0
while time.monotonic() < begin + 0.6:
    sent += out.sendto(bytes(1000), ("127.0.0.1", 9))
print(sent / 0.6, flush=True)
"""


@pytest.fixture
def start(run_python):
    """Starts processes in one network namespace, each in a control group of its own."""
    pytest.importorskip("pyroute2")
    try:
        mount = Hierarchy.unified().mount
    except ActuatorError as error:
        pytest.skip(str(error))
    made, processes = [], []

    def start(script=WAIT, *, alone=True):
        group = mount / f"share-test-{uuid.uuid4().hex[:8]}"
        try:
            group.mkdir()
        except OSError as error:
            pytest.skip(f"control groups cannot be made here: {error.strerror}")
        made.append(group)
        enter = ["nsenter", f"--net=/proc/{processes[0].pid}/ns/net"] if processes else ["unshare", "--net"]
        if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
            pytest.skip("network namespaces are not permitted here")
        shell = f'echo $$ > {group}/cgroup.procs; ip link set lo up; exec "$@"'
        processes.append(run_python(script, *enter, "sh", "-c", shell, "sh"))
        if not alone:
            (group / "cgroup.procs").write_text(str(run_python(WAIT).pid))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
    for group in made:
        for pid in (group / "cgroup.procs").read_text().split():
            (mount / "cgroup.procs").write_text(pid)
        group.rmdir()


def share_of(process, slot=0, kind=NetworkShare):
    component = Component("serving", "", process.pid, process_start(process.pid))
    actuator = kind("serving", KNOB, component, unlimited=LINE, target="lo")
    actuator.slot = slot
    capability = actuator.probe()
    if "not permitted" in capability.reason or "No such file" in capability.reason:
        pytest.skip(f"this kernel has no htb, or no BPF classifier, or permits none: {capability.reason}")
    return actuator


def shown(process, what="qdisc"):
    command = ["nsenter", f"--net=/proc/{process.pid}/ns/net", "tc", what, "show", "dev", "lo"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def rate(process):
    return float(process.communicate("go\n", timeout=10)[0])


@pytest.mark.parametrize("by_warden", [False, True])
def test_a_share_is_put_in_force_read_back_and_restored(start, by_warden):
    process = start()
    found = shown(process)
    actuator = share_of(process)
    assert actuator.probe().reason == "share on lo of its own network namespace, outgoing"
    assert shown(process) == found
    steps = actuator.revert_steps()
    for value in (1e6, 2e4):
        assert actuator.apply({KNOB: value}) == {KNOB: value}
    assert "class htb 7472:10 parent 7472:1" in shown(process, "class")
    if by_warden:
        assert revert_all(steps) == ([], [])
        assert revert_all(steps) == ([], [])
    else:
        actuator.undo()
        actuator.undo()
    assert shown(process) == found
    assert actuator.read() == {KNOB: LINE}


def test_one_workload_alone_may_borrow_all_that_there_is(start):
    alone = start(SEND)
    share_of(alone).apply({KNOB: 1e6})
    assert rate(alone) == pytest.approx(LINE, rel=0.3)


def test_two_workloads_that_want_all_get_what_each_is_assured_of(start):
    small, large = start(SEND), start(SEND)
    share_of(small, 0).apply({KNOB: 1e6})
    share_of(large, 1).apply({KNOB: 3e6})
    for process in (small, large):
        process.stdin.write("go\n")
        process.stdin.flush()
    rates = [float(process.communicate(timeout=10)[0]) for process in (small, large)]
    assert rates == pytest.approx([1e6, 3e6], rel=0.3)


def test_what_has_no_share_is_not_held_back(start):
    limited, free = start(), start(SEND)
    share_of(limited).apply({KNOB: 1e6})
    assert rate(free) > 3 * LINE


def test_the_share_of_one_ends_and_that_of_the_other_stays(start):
    first, second = start(), start()
    found = shown(first)
    shares = [share_of(first, 0), share_of(second, 1)]
    for share in shares:
        share.apply({KNOB: 1e6})
    assert shares[0].apply({KNOB: LINE}) == {KNOB: LINE}
    assert shares[1].read() == {KNOB: 1e6}
    shares[1].undo()
    assert shown(first) == found


def test_a_workload_that_shares_its_control_group_is_refused(start):
    assert "not alone in a control group" in share_of(start(alone=False)).probe().reason


@pytest.mark.clause("A4")
def test_the_queueing_discipline_of_somebody_else_stays(start):
    process = start()
    actuator = share_of(process)
    enter = ["nsenter", f"--net=/proc/{process.pid}/ns/net"]
    subprocess.run([*enter, "tc", "qdisc", "add", "dev", "lo", "root", "handle", "5:", "htb"], check=True)
    found = shown(process)
    assert "queueing discipline htb 5: of somebody else" in actuator.probe().reason
    with pytest.raises(ActuatorError, match="of somebody else"):
        actuator.apply({KNOB: 1e6})
    actuator.undo()
    assert shown(process) == found


def test_a_limit_and_a_share_on_one_interface_are_refused(start):
    process = start()
    share, limit = share_of(process), share_of(process, kind=NetworkRate)
    share.apply({KNOB: 1e6})
    assert "has our htb already" in limit.probe().reason
    share.undo()
    limit.apply({KNOB: 1e6})
    assert "has our tbf already" in share.probe().reason
    share.undo()
    assert limit.read() == {KNOB: 1e6}
