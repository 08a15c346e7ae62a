import os
import stat

import pytest

from controller.actuators import systemd
from controller.actuators.actuator import ActuatorError
from controller.actuators.group import WorkloadGroup
from controller.actuators.hierarchy import Hierarchy
from controller.actuators.memory import Memory
from controller.components import Component
from controller.revert import RevertError, revert, revert_all
from plants import FakeClock
from telemetry.processes import process_start, process_tree


@pytest.mark.parametrize(
    ("file", "text", "properties"),
    [
        ("cpu.max", "10000 20000", ["CPUQuota=50%", "CPUQuotaPeriodSec=20000us"]),
        ("cpu.max", "max 100000", ["CPUQuota=", "CPUQuotaPeriodSec="]),
        ("cpu.weight", "40", ["CPUWeight=40"]),
        ("cpuset.cpus", "0,2", ["AllowedCPUs=0,2"]),
        ("memory.high", "1048576", ["MemoryHigh=1048576"]),
        ("memory.high", "max", ["MemoryHigh=infinity"]),
        ("pids.max", "64", ["TasksMax=64"]),
        (
            "io.max",
            "254:0 riops=100 wiops=max",
            ["IOReadIOPSMax=/dev/block/254:0 100", "IOWriteIOPSMax=/dev/block/254:0 infinity"],
        ),
        ("cgroup.freeze", "1", None),
    ],
)
def test_what_a_file_would_say_as_properties(file, text, properties):
    assert systemd.assignments(file, text) == properties


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A `systemctl` that writes down how it is called, and answers as it is told; systemd seems to run."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "systemctl"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncat {tmp_path}/error >&2\nexit $(cat {tmp_path}/rc)\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    (tmp_path / "rc").write_text("0")
    (tmp_path / "error").write_text("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(systemd, "SYSTEMD", tmp_path)
    monkeypatch.setattr(systemd, "LAG_SECONDS", 0.0)
    return lambda: (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []


@pytest.fixture
def unit(tmp_path, child, monkeypatch):
    """The control group of a unit that is the child's alone, as plain files."""
    group = tmp_path / "system.slice/serving.service"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("\n".join(map(str, process_tree(child.pid))))
    monkeypatch.setattr(Hierarchy, "group_of", lambda self, pid: group.relative_to(tmp_path))
    return group


def memory(tmp_path, child):
    hierarchy = Hierarchy(tmp_path, 2, "memory")
    component = Component("serving", "", child.pid, process_start(child.pid))
    return Memory("serving", "knob", hierarchy, WorkloadGroup("serving", component, hierarchy), unlimited=4e9)


def test_a_unit_is_set_by_properties_and_its_files_are_not_written(tmp_path, child, unit, calls):
    (unit / "memory.high").write_text("2000000000\n")
    (unit / "memory.current").write_text("100\n")
    (unit / "memory.stat").write_text("inactive_file 0\n")
    actuator = memory(tmp_path, child)
    assert "serving.service by systemd" in actuator.describe()[1]
    steps = actuator.revert_steps()
    actuator.apply({"knob": 1e9})
    assert (unit / "memory.high").read_text() == "2000000000\n"
    actuator.undo()
    set_property = "--no-ask-password set-property --runtime serving.service MemoryHigh="
    assert calls() == [f"{set_property}1000000000", f"{set_property}2000000000"]
    assert revert_all(steps) == ([], [])
    assert calls()[-1] == f"{set_property}2000000000"


def test_a_controller_that_systemd_has_not_turned_on_counts_as_unlimited(tmp_path, child, unit, calls):
    (unit / "memory.current").write_text("100\n")
    (unit / "memory.stat").write_text("inactive_file 0\n")
    actuator = memory(tmp_path, child)
    assert actuator.read() == {"knob": 4e9}
    assert actuator.revert_steps()[0]["assignments"] == ["MemoryHigh=infinity"]


def test_a_refusal_of_systemd_is_an_error_in_one_line(calls, tmp_path):
    (tmp_path / "rc").write_text("1")
    (tmp_path / "error").write_text("Failed to set unit properties:\nAccess denied\n")
    with pytest.raises(ActuatorError, match=r"serving\.service CPUWeight=5: Failed .*: Access denied"):
        systemd.set_properties("serving.service", ["CPUWeight=5"])
    with pytest.raises(RevertError, match="Access denied"):
        revert({"kind": "systemd", "unit": "serving.service", "assignments": ["CPUWeight=5"]})


def test_a_unit_that_is_gone_took_its_limits_along(calls, tmp_path):
    (tmp_path / "rc").write_text("1")
    (tmp_path / "error").write_text("Failed to set unit properties: Unit serving.service not loaded.\n")
    revert({"kind": "systemd", "unit": "serving.service", "assignments": ["CPUWeight=5"]})


def test_where_systemd_does_not_run_a_group_of_that_name_is_any_group(monkeypatch, tmp_path):
    monkeypatch.setattr(systemd, "SYSTEMD", tmp_path / "no")
    assert systemd.unit_of(tmp_path / "serving.service") is None


@pytest.mark.clause("A2")
def test_a_file_that_follows_late_is_waited_for_and_not_for_ever(tmp_path):
    clock, path = FakeClock(), tmp_path / "cpu.max"

    def sleep(seconds):
        clock.advance(seconds)
        if clock() > 0.1:
            path.write_text("10000 20000\n")

    systemd.wait_for(path, "10000 20000", clock, sleep)
    assert 0.1 < clock() < 0.2
    systemd.wait_for(path, "5000 20000", clock, sleep)
    assert clock() == pytest.approx(0.6, abs=0.05)
