"""A disk that is really full: what cannot be written down is not done, and what is taken back still is."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlled import ScriptedPolicy
from controller.guard import Guard
from controller.journal import Journal, JournalError
from controller.loop import Controller
from controller.shield import Reason
from envs.spec import SystemSpec
from plants import ToyPlant

LARGE = {"kind": "note", "text": "x" * 2000}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs needs privilege: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    descriptor = os.open(path / "filling", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(descriptor, b"x" * 4096):
            pass
    os.close(descriptor)


@pytest.mark.clause("L4")
def test_nothing_is_changed_that_cannot_be_written_down(
    small_disk: Path, make_controller: Callable[..., Controller], plant: ToyPlant, policy: ScriptedPolicy
) -> None:
    controller = make_controller()
    controller.journal = Journal(small_disk / "journal.jsonl")
    for _ in range(7):
        controller.step()
    fill(small_disk)
    with contextlib.suppress(JournalError):
        while True:
            controller.journal.append(LARGE)
    policy.wanted = {"serving_batch_size": 16}
    decision = controller.step()
    assert Reason.JOURNAL in [refusal.reason for refusal in decision.reasons]
    assert plant.applied == []
    (small_disk / "filling").unlink()
    controller.step()
    assert len(plant.applied) == 1, "and goes on when there is room again"


@pytest.mark.clause("L4")
def test_the_reserve_has_room_for_what_is_taken_back(
    small_disk: Path,
    make_controller: Callable[..., Controller],
    plant: ToyPlant,
    policy: ScriptedPolicy,
    spec: SystemSpec,
) -> None:
    controller = make_controller()
    controller.journal = Journal(small_disk / "journal.jsonl")
    for _ in range(7):
        controller.step()
    policy.wanted = {"serving_batch_size": 16}
    assert controller.step().changed
    fill(small_disk)
    with contextlib.suppress(JournalError):
        while True:
            controller.journal.append(LARGE)
    plant.next_reading(serving_within_slo_ratio=0.1)
    decision = controller.step()
    assert plant.setting[spec.knob_index("serving_batch_size")] == 8
    assert Reason.JOURNAL not in [refusal.reason for refusal in decision.reasons]
    assert Journal.read(small_disk / "journal.jsonl")[-1]["verdicts"][0]["outcome"] == "rolled_back"


@pytest.mark.clause("L4")
def test_a_full_disk_stops_no_revert(small_disk: Path, tmp_path: Path) -> None:
    knob = tmp_path / "knob"
    knob.write_text("found")
    guard = Guard(small_disk / "state")
    with guard.acting([{"kind": "file", "path": str(knob), "text": "found", "replace": True}]):
        knob.write_text("risky")
    fill(small_disk)
    guard.close()
    assert knob.read_text() == "found"
