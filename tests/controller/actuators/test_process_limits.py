import os
import resource
import signal
import subprocess
import sys

import pytest

from controller import syscalls
from controller.actuators.actuator import ActuatorError
from controller.actuators.process_limits import Affinity, IoPriority, Nice, Rlimit
from controller.components import Component
from controller.revert import revert_all
from telemetry.processes import process_start, process_tree, thread_ids

KNOB = "knob"


def component(pid):
    return Component("serving", "", pid, process_start(pid))


@pytest.fixture
def make(child):
    made = []

    def make(kind, process=child, **options):
        made.append(kind("serving", KNOB, component(process.pid), **options))
        return made[-1]

    yield make
    for actuator in made:
        actuator.undo()


@pytest.fixture
def own_session_child():
    """In our session, where nice has an effect."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def io_priorities(pid):
    return {thread: syscalls.io_priority(thread) for process in process_tree(pid) for thread in thread_ids(process)}


@pytest.mark.parametrize("by_warden", [False, True])
def test_io_priority_is_set_on_all_threads_and_restored(make, child, by_warden):
    found = io_priorities(child.pid)
    actuator = make(IoPriority)
    assert actuator.probe().available
    steps = actuator.revert_steps()
    assert actuator.apply({KNOB: 6.0}) == {KNOB: 6.0}
    assert {value & 7 for value in io_priorities(child.pid).values()} == {6}
    restore(actuator, steps, by_warden)
    assert io_priorities(child.pid) == found


@pytest.mark.parametrize("by_warden", [False, True])
def test_processors_are_taken_and_given_back(make, child, by_warden):
    found = {pid: os.sched_getaffinity(pid) for pid in process_tree(child.pid)}
    actuator = make(Affinity)
    steps = actuator.revert_steps()
    assert actuator.apply({KNOB: 1.0}) == {KNOB: 1.0}
    assert {len(os.sched_getaffinity(pid)) for pid in process_tree(child.pid)} == {1}
    restore(actuator, steps, by_warden)
    assert {pid: os.sched_getaffinity(pid) for pid in process_tree(child.pid)} == found


@pytest.mark.parametrize("by_warden", [False, True])
def test_soft_limits_are_set_on_all_processes_and_the_hard_ones_stay(make, child, by_warden):
    found = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in process_tree(child.pid)}
    actuator = make(Rlimit, unlimited=65536.0, target="nofile")
    steps = actuator.revert_steps()
    assert actuator.apply({KNOB: 64.0}) == {KNOB: 64.0}
    in_force = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in process_tree(child.pid)}
    assert in_force == {pid: (64, hard) for pid, (_, hard) in found.items()}
    restore(actuator, steps, by_warden)
    assert {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in process_tree(child.pid)} == found


def restore(actuator, steps, by_warden):
    if by_warden:
        assert revert_all(steps) == ([], [])
        assert revert_all(steps) == ([], [])
    else:
        actuator.undo()
        actuator.undo()


def test_a_limit_below_what_is_in_use_is_refused(make, child):
    actuator = make(Rlimit, unlimited=1e12, target="as")
    with pytest.raises(ActuatorError, match=r"serving uses .* of 'as' already, 1000 was asked for"):
        actuator.apply({KNOB: 1000.0})


def test_an_unknown_resource_names_the_known_ones(make):
    capability = make(Rlimit, unlimited=1.0, target="nofiles").probe()
    assert not capability.available
    assert "no resource 'nofiles'; known are as, core, cpu, data" in capability.reason


def test_nice_is_set_and_lowered_again(make, own_session_child):
    actuator = make(Nice, process=own_session_child)
    capability = actuator.probe()
    if not capability.available:
        pytest.skip(capability.reason)
    found = os.getpriority(os.PRIO_PROCESS, own_session_child.pid)
    steps = actuator.revert_steps()
    assert actuator.apply({KNOB: 7.0}) == {KNOB: 7.0}
    assert revert_all(steps) == ([], [])
    assert os.getpriority(os.PRIO_PROCESS, own_session_child.pid) == found


def test_nice_without_the_way_back_is_refused_and_leaves_no_trace():
    script = """
import os, subprocess
from controller.actuators.process_limits import Nice
from controller.components import Component
from telemetry.processes import process_start
if os.geteuid() == 0:
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
child = subprocess.Popen(["sleep", "60"])
print(Nice("serving", "knob", Component("serving", "", child.pid, process_start(child.pid))).probe().reason)
print(os.getpriority(os.PRIO_PROCESS, child.pid) - os.getpriority(os.PRIO_PROCESS, 0))
child.kill()
child.wait()
"""
    if resource.getrlimit(resource.RLIMIT_NICE)[0] > 0:
        pytest.skip("this user may lower nice values")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "nice: cannot be taken back without privilege; allow it (LimitNICE=+0), or take actuator cpu_weight",
        "0",
    ]


def test_nice_between_sessions_is_refused_where_it_would_do_nothing(make, child):
    with open("/proc/sys/kernel/sched_autogroup_enabled", encoding="ascii") as file:
        if file.read().strip() != "1":
            pytest.skip("autogroups are off here")
    assert "no effect between sessions" in make(Nice).probe().reason


def test_what_was_started_meanwhile_is_restored_too(make, run_python):
    forking = run_python(
        "import subprocess, sys\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "c = subprocess.Popen(['sleep', '60'])\nprint(c.pid, flush=True)\nsys.stdin.readline()\nc.kill()"
    )
    found = os.sched_getaffinity(forking.pid)
    actuator = make(Affinity, process=forking)
    actuator.apply({KNOB: 1.0})
    forking.stdin.write("go\n")
    forking.stdin.flush()
    grandchild = int(forking.stdout.readline())
    actuator.undo()
    assert os.sched_getaffinity(grandchild) == found
    os.kill(grandchild, signal.SIGKILL)


def test_a_process_that_ended_is_an_error(make):
    ended = subprocess.Popen(["true"])
    ended.wait()
    actuator = make(IoPriority, process=ended)
    assert "no process on this host" in actuator.probe().reason
    with pytest.raises(ActuatorError, match="has ended"):
        actuator.apply({KNOB: 3.0})
