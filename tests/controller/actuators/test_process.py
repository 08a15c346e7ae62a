import os
import subprocess
import time
from pathlib import Path

import pytest

from controller.actuators.actuator import ActuatorError
from controller.actuators.process import ProcessCpu
from controller.components import Component
from telemetry.collectors.targets import process_start

KNOB = "serving_cpu_cores"


def nice(pid):
    return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])


@pytest.fixture
def child():
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def actuator(child):
    component = Component("serving", "", child.pid, process_start(child.pid))
    actuator = ProcessCpu("serving", KNOB, component, uncapped=1.3)
    capability = actuator.probe()
    if not capability.available:
        pytest.skip(capability.reason)
    assert not capability.enforced
    yield actuator
    actuator.undo()


def test_fewer_cores_mean_less_weight(actuator, child):
    assert actuator.read() == {KNOB: 1.3}
    assert actuator.apply({KNOB: 0.3}) == {KNOB: 0.3}
    light = nice(child.pid)
    assert actuator.apply({KNOB: 0.6}) == {KNOB: 0.6}
    assert 0 < nice(child.pid) < light


def test_one_core_or_less_is_one_processor(actuator, child):
    found = os.sched_getaffinity(child.pid)
    actuator.apply({KNOB: 0.9})
    assert len(os.sched_getaffinity(child.pid)) == 1
    actuator.apply({KNOB: 1.2})
    assert os.sched_getaffinity(child.pid) == found


def test_undo_restores_what_was_found(actuator, child):
    found = (nice(child.pid), os.sched_getaffinity(child.pid))
    actuator.apply({KNOB: 0.1})
    actuator.undo()
    actuator.undo()
    assert (nice(child.pid), os.sched_getaffinity(child.pid)) == found


def test_weight_changed_by_somebody_else_shows_in_the_reading(actuator, child):
    actuator.apply({KNOB: 0.3})
    other = ProcessCpu("serving", KNOB, Component("serving", "", child.pid), uncapped=1.3)
    other.apply({KNOB: 1.3})
    assert actuator.read() == {KNOB: 1.3}


def test_process_in_our_own_session_is_refused():
    process = subprocess.Popen(["sleep", "60"])
    try:
        component = Component("serving", "", process.pid, process_start(process.pid))
        capability = ProcessCpu("serving", KNOB, component, uncapped=1.3).probe()
        assert not capability.available
        assert "shares the session" in capability.reason
    finally:
        process.kill()
        process.wait()


def test_process_that_is_gone_is_an_error():
    ended = subprocess.Popen(["true"], start_new_session=True)
    ended.wait()
    actuator = ProcessCpu("serving", KNOB, Component("serving", "", ended.pid), uncapped=1.3)
    assert not actuator.probe().available
    with pytest.raises(ActuatorError):
        actuator.apply({KNOB: 0.3})


def test_write_that_comes_too_early_is_tried_again(actuator, monkeypatch):
    waits, write, failures = [], os.write, [BlockingIOError(11, "Resource temporarily unavailable")] * 2

    def hesitant(descriptor, text):
        if failures:
            raise failures.pop()
        return write(descriptor, text)

    def wait(seconds):
        waits.append(seconds)
        time.sleep(seconds)  # the kernel's own limit is on while unprivileged

    actuator._sleep = wait
    monkeypatch.setattr(os, "write", hesitant)
    assert actuator.apply({KNOB: 0.3}) == {KNOB: 0.3}
    assert len(waits) >= 2
