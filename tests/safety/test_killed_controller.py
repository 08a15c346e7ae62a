"""Real processes, really killed: whatever they had set goes back by itself."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from controlled import FakeComponent
from controller.budget_file import BudgetFile
from controller.config import ControllerConfig
from controller.guard import Guard
from controller.journal import Journal
from controller.kernel import Kernel
from controller.shield import Reason, ShieldConfig
from envs.spec import SystemSpec
from killing import LEASE_SECONDS, KilledController, wait_until
from plants import HEALTHY
from telemetry.metrics import Snapshot
from telemetry.processes import boot_id, boot_seconds, process_start

POINTS = [
    "before the intent is written", "after the intent is written", "after the lease is written",
    "between two actuators", "after everything is set", "before the decision is recorded",
    "after the decision is recorded",
]  # fmt: skip
FAST_SPEC = SystemSpec.model_validate(
    {**SystemSpec.load("reference").model_dump(mode="json"), "control_period_seconds": 0.1}
)
"""Of the controllers that are killed."""
ONE_REVERSAL = ControllerConfig(shield=ShieldConfig(reversals_per_hour=0.0, reversal_burst=1.0, cooldown_seconds=0.0))
System = dict[str, FakeComponent]
Start = Callable[..., KilledController]


def entries(system: System) -> dict[str, object]:
    return {name: component.entry for name, component in system.items()}


def restored(controller: KilledController, system: System) -> bool:
    """Whether component, file and control groups are as they were found."""
    serving = system["serving"]
    groups = Path(f"/proc/{serving.process.pid}/cgroup").read_text()
    return (
        serving.knobs["serving_batch_size"] == 8
        and controller.file.read_text() == "found"
        and f"trimtab-{controller.process.pid}" not in groups
    )


def wardens(controller: KilledController) -> list[int]:
    """Process ids of this controller's warden."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"controller.warden" in words and str(controller.directory).encode() in words:
            found.append(int(path.parent.name))
    return found


def refused(kernel: Kernel, **wanted: float) -> list[Reason]:
    """Why a kernel's shield does not let knobs be set, in a healthy system."""
    spec, now = kernel.spec, boot_seconds()
    setting = kernel.found.copy()
    for name, value in wanted.items():
        setting[spec.knob_index(name)] = value
    readings = np.array([HEALTHY.get(name, 0.0) for name in spec.catalogue.names])
    _, refusals = kernel.shield.check(setting, kernel.found, Snapshot(now, readings), now)
    return [refusal.reason for refusal in refusals]


@pytest.mark.clause("L1")
@pytest.mark.clause("A1")
@pytest.mark.clause("A3")
@pytest.mark.parametrize("point", POINTS)
def test_whatever_a_killed_controller_had_set_is_taken_back(
    point: str, system: System, start_controller: Start
) -> None:
    controller = start_controller(entries(system), point, LEASE_SECONDS)
    assert controller.process.wait(60) == -signal.SIGKILL
    assert wait_until(lambda: restored(controller, system)) <= LEASE_SECONDS + 1.0
    wait_until(lambda: not wardens(controller))  # nobody is left to be watched
    records = Journal.read(controller.directory / "journal.jsonl")
    intents = [record for record in records if record["kind"] == "intent"]
    assert bool(intents) == (point != POINTS[0]), "what may have been set stands in the journal"
    assert all(record["boot"] == boot_id() for record in intents)


@pytest.mark.clause("A2")
@pytest.mark.clause("A3")
@pytest.mark.parametrize("point", ["between two replicas", "between change and read back", "after everything is set"])
def test_all_replicas_get_back_what_they_had_when_the_controller_is_killed(
    point: str, system: System, make_component: Callable[..., FakeComponent], start_controller: Start
) -> None:
    replicas = [system["serving"], make_component("serving", **system["serving"].knobs)]
    entry = {"replicas": [replica.entry for replica in replicas]}
    controller = start_controller({**entries(system), "serving": entry}, point, LEASE_SECONDS)
    assert controller.process.wait(60) == -signal.SIGKILL
    assert any("PATCH" in request for replica in replicas for request in replica.requests)
    took = wait_until(lambda: [replica.knobs["serving_batch_size"] for replica in replicas] == [8, 8])
    assert took <= LEASE_SECONDS + 1.0
    wait_until(lambda: not wardens(controller))


@pytest.mark.clause("D2")
@pytest.mark.parametrize("point", ["after everything is set", "after the decision is recorded", ""])
def test_what_a_killed_controller_had_set_is_charged_to_the_next_one(
    point: str, system: System, start_controller: Start
) -> None:
    controller = start_controller(entries(system), point)
    if not point:
        controller.wait_line("applied")
        controller.process.kill()
    controller.process.wait(60)
    wait_until(lambda: restored(controller, system) and not wardens(controller))
    kernel = Kernel(FAST_SPEC, ONE_REVERSAL, FAST_SPEC.default_setting, "next")
    assert Reason.FLAPPING not in refused(kernel, serving_batch_size=16)
    BudgetFile(controller.directory, kernel, boot_seconds)
    assert Reason.FLAPPING in refused(kernel, serving_batch_size=16)


@pytest.mark.clause("A3")
def test_a_stopped_controller_loses_its_lease_and_begins_anew(system: System, start_controller: Start) -> None:
    controller = start_controller(entries(system), lease=LEASE_SECONDS)
    controller.wait_line("applied")
    wait_until(lambda: not restored(controller, system))  # again, where the machine is too slow for so short a lease
    os.kill(controller.process.pid, signal.SIGSTOP)
    assert wait_until(lambda: restored(controller, system)) <= LEASE_SECONDS + 1.0
    wait_until(lambda: bool(controller.reverted()))  # the setting comes first, then the note
    assert controller.reverted()[0]["reason"] == "the lease ran out"
    os.kill(controller.process.pid, signal.SIGCONT)
    journal = controller.directory / "journal.jsonl"
    wait_until(lambda: '"reason":"lease"' in journal.read_text())
    wait_until(lambda: not restored(controller, system))  # the operator's pins come back, with a new lease
    controller.process.kill()
    wait_until(lambda: restored(controller, system))


@pytest.mark.clause("L1")
def test_what_controller_and_warden_left_is_taken_back_before_the_next_one_begins(
    system: System, start_controller: Start
) -> None:
    controller = start_controller(entries(system))
    controller.wait_line("applied")
    os.kill(controller.process.pid, signal.SIGSTOP)  # or it would start another warden
    for pid in wardens(controller):
        os.kill(pid, signal.SIGKILL)
    controller.process.kill()
    controller.process.wait()
    assert not restored(controller, system)
    guard = Guard(controller.directory)
    try:
        assert restored(controller, system)
        assert "were taken back" in guard.reconciled[0]
    finally:
        guard.close()


@pytest.mark.clause("A3")
def test_a_killed_warden_is_started_again(system: System, start_controller: Start) -> None:
    controller = start_controller(entries(system))
    controller.wait_line("applied")
    wait_until(lambda: wardens(controller))
    first = wardens(controller)
    os.kill(first[0], signal.SIGKILL)
    wait_until(lambda: [pid for pid in wardens(controller) if pid not in first and process_start(pid)])
    controller.process.kill()
    wait_until(lambda: restored(controller, system))


def test_the_warden_lives_in_little_memory(system: System, start_controller: Start) -> None:
    controller = start_controller(entries(system))
    controller.wait_line("applied")
    wait_until(lambda: wardens(controller))
    pid = wardens(controller)[0]
    size = subprocess.run(["grep", "VmRSS", f"/proc/{pid}/status"], capture_output=True, text=True, check=True)
    assert int(size.stdout.split()[1]) < 20 * 1024  # KiB; numpy alone takes more
