"""When controller and warden are both gone, one command takes everything back: `control revert --offline`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from controlled import FakeComponent
from controller.guard import Guard, GuardError, take_back_offline
from controller.lease import Lease, read_lease
from killing import KilledController, wait_until
from telemetry.processes import ids_in

Start = Callable[..., KilledController]


@pytest.mark.clause("L1")
def test_what_controller_and_warden_left_is_taken_back(
    system: dict[str, FakeComponent], start_controller: Start, tmp_path: Path
) -> None:
    running = start_controller({name: one.entry for name, one in system.items()})
    running.wait_line("applied")
    pid = running.process.pid
    wardens = ids_in(f"/proc/{pid}/task/{pid}/children")
    for one in (*wardens, pid):
        os.kill(one, signal.SIGKILL)
    running.process.wait()
    wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in wardens))
    assert (system["serving"].knobs["serving_batch_size"], running.file.read_text()) == (16, "risky")
    command = [sys.executable, "-m", "trimtab", "control", "revert", "--offline", "--state-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "were taken back" in done.stdout
    assert (system["serving"].knobs["serving_batch_size"], running.file.read_text()) == (8, "found")
    assert read_lease(str(tmp_path)) is None
    assert take_back_offline(tmp_path) == "nothing was left"


def test_beside_a_controller_that_runs_nothing_is_taken_back(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    with pytest.raises(GuardError, match="stop it first"):
        take_back_offline(tmp_path)
    guard.close()


def test_what_cannot_be_taken_back_is_an_error_and_stays_known(tmp_path: Path) -> None:
    step = {"kind": "file", "path": str(tmp_path / "none" / "knob"), "text": "found", "replace": True}
    (tmp_path / "state").mkdir()
    Lease(str(tmp_path / "state"), (1, 1), 5.0).hold([step], 1)
    with pytest.raises(GuardError, match="1 of 1 steps failed"):
        take_back_offline(tmp_path / "state")
    (tmp_path / "none").mkdir()
    assert "1 steps" in take_back_offline(tmp_path / "state")
    assert (tmp_path / "none" / "knob").read_text() == "found"


def test_without_a_state_directory_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert "nothing was left" in take_back_offline(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
