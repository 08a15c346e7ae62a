"""Real processes, really killed: whatever they had set goes back by itself."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from controlled import FakeComponent
from controller.guard import Guard
from controller.journal import Journal
from killing import LEASE_SECONDS, KilledController, wait_until
from telemetry.processes import boot_id, process_start

POINTS = [
    "before the intent is written", "after the intent is written", "after the lease is written",
    "between two actuators", "after everything is set", "before the decision is recorded",
    "after the decision is recorded",
]  # fmt: skip
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


@pytest.mark.clause("L1")
@pytest.mark.clause("A1")
@pytest.mark.clause("A3")
@pytest.mark.parametrize("point", POINTS)
def test_whatever_a_killed_controller_had_set_is_taken_back(
    point: str, system: System, start_controller: Start
) -> None:
    controller = start_controller(entries(system), point)
    assert controller.process.wait(20) == -signal.SIGKILL
    assert wait_until(lambda: restored(controller, system)) <= LEASE_SECONDS + 1.0
    wait_until(lambda: not wardens(controller))  # nobody is left to be watched
    records = Journal.read(controller.directory / "journal.jsonl")
    intents = [record for record in records if record["kind"] == "intent"]
    assert bool(intents) == (point != POINTS[0]), "what may have been set stands in the journal"
    assert all(record["boot"] == boot_id() for record in intents)


@pytest.mark.clause("A3")
def test_a_stopped_controller_loses_its_lease_and_begins_anew(system: System, start_controller: Start) -> None:
    controller = start_controller(entries(system))
    controller.wait_line("applied")
    assert not restored(controller, system)
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
