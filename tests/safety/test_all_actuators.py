"""A controller that is killed with every kind of actuator in force, on this host's groups, networks and processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import syscalls
from controller.actuators.actuator import ActuatorError
from controller.actuators.choose import NAMES
from controller.actuators.hierarchy import Hierarchy

LEASE_SECONDS = 2.0
ACTUATORS = {
    "cpu_weight": (1, 10_000, 100, 300), "processors": (1, 64, 64, 1), "memory": (2**27, 2**33, 2**33, 2**30),
    "storage": (1e6, 1e9, 1e9, 5e6), "processes": (8, 4096, 4096, 512), "network": (1e4, 1e9, 1e9, 1e6),
    "io_priority": (0, 7, 4, 6), "rlimit": (64, 4096, 4096, 128), "file": (1, 64, 4, 8),
}  # fmt: skip
"""Actuator -> low, high, default, and what the controller sets."""
CONTROLLER = """
import json, sys, time
from controller.actuators.choose import build_actuators
from controller.components import Component
from controller.guard import Guard, GuardConfig
from envs.spec import SystemSpec
from telemetry.processes import process_start
directory, pid, lease, values = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4])
component = Component("training", "http://127.0.0.1:9", pid, process_start(pid))
actuators = build_actuators(SystemSpec.load(directory + "/spec.toml"), {"training": component}).of("training")
used = [a for a in actuators if set(a.knobs) & set(values) and type(a).__name__ != "Absent"]
guard = Guard(directory, GuardConfig(lease_seconds=lease))
while guard.problem():
    time.sleep(0.01)
with guard.acting([step for actuator in used for step in actuator.revert_steps()]):
    in_force = {}
    for actuator in used:
        in_force |= actuator.apply({knob: values[knob] for knob in actuator.knobs})
print(json.dumps(in_force), flush=True)
while True:
    guard.renew()
    time.sleep(0.1)
"""


@pytest.fixture
def component() -> Iterator[subprocess.Popen[str]]:
    """A process that may have a network of its own."""
    links = "ip link add t0 type veth peer name t1 && ip link set t0 up; echo ready; exec sleep 60"
    own = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0
    command = ["unshare", "--net", "sh", "-c", links] if own else ["sh", "-c", "echo ready; exec sleep 60"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def situation(pid: int, file: Path) -> dict[str, object]:
    """Everything that the actuators change about a process."""
    groups = {}
    for name, (old, new) in NAMES.items():
        try:
            groups[name] = str(Hierarchy.detect(old, unified_name=new).group_of(pid))
        except ActuatorError:
            groups[name] = ""
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net"] if os.geteuid() == 0 else []
    return {
        "groups": groups,
        "processors": os.sched_getaffinity(pid),
        "io_priority": syscalls.io_priority(pid),
        "rlimit": resource.prlimit(pid, resource.RLIMIT_NOFILE),
        "network": subprocess.run([*enter, "tc", "qdisc", "show"], capture_output=True, text=True, check=False).stdout,
        "file": file.read_text(),
    }


def write_spec(directory: Path, file: Path) -> None:
    targets = {"network": "t0", "rlimit": "nofile", "file": f"{file}#workers", "storage": str(directory)}
    blocks = ['extends = "reference"']
    for name, (low, high, default, _) in ACTUATORS.items():
        blocks.append(
            f'[[knobs]]\nname = "training_{name}"\nworkload = "training"\nrole = "tuning"\nunit = "x"\nlow = {low}\n'
            f'high = {high}\ndefault = {default}\nactuator = "{name}"\ntarget = "{targets.get(name, "")}"'
        )
    (directory / "spec.toml").write_text("\n".join(blocks))


@pytest.mark.clause("A3")
def test_a_killed_controller_leaves_no_actuator_in_force(tmp_path: Path, component: subprocess.Popen[str]) -> None:
    file = tmp_path / "knobs.json"
    file.write_text('{"workers":   4}\n')
    write_spec(tmp_path, file)
    found = situation(component.pid, file)
    values = {"training_cpu_cores": 0.4, **{f"training_{name}": float(row[3]) for name, row in ACTUATORS.items()}}
    command = [sys.executable, "-c", CONTROLLER, tmp_path, str(component.pid), str(LEASE_SECONDS), json.dumps(values)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        in_force = json.loads(controller.stdout.readline())
        try:
            assert in_force == pytest.approx({knob: values[knob] for knob in in_force}, rel=0.02)
            assert {"training_io_priority", "training_rlimit", "training_file"} <= set(in_force)
            assert situation(component.pid, file) != found
        finally:
            controller.send_signal(signal.SIGKILL)
    end = time.monotonic() + LEASE_SECONDS + 1.0
    while situation(component.pid, file) != found and time.monotonic() < end:
        time.sleep(0.02)  # the warden's own time; nothing to wait for otherwise
    assert situation(component.pid, file) == found
