from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from controlled import ScriptedPolicy
from controller.config import ControllerConfig
from controller.decision import Mode
from controller.loop import Controller
from controller.mode_files import ModeFiles
from controller.operation import Operation, Overseer
from plants import ToyPlant

Files = Callable[[Controller], Controller]


@pytest.fixture
def watching(tmp_path: Path) -> Files:
    """A controller that heeds the files, as `run_controller` does it."""

    def watch(controller: Controller) -> Controller:
        overseer = Overseer(Operation(), controller)
        files = ModeFiles(tmp_path, controller, overseer)

        def heed() -> None:
            files.obey()
            overseer.take_over()

        controller.heed = heed
        controller.step()
        return controller

    return watch


def provoke_fall(controller: Controller, policy: ScriptedPolicy, plant: ToyPlant) -> None:
    """Let changes of serving fail until a mode falls."""
    policy.wanted = {"serving_batch_size": 16}
    for _ in range(30):
        plant.next_reading(serving_within_slo_ratio=0.1 if controller.trials.running else 1.0)
        controller.step()
        if controller.demoted:
            return
    pytest.fail("no mode fell")


@pytest.mark.clause("L12")
def test_a_mode_of_a_workload_is_obeyed_from_the_next_period_on_and_after_a_restart(
    make_controller: Callable[..., Controller], watching: Files, tmp_path: Path
) -> None:
    controller = watching(make_controller())
    (tmp_path / "mode.serving").write_text("shadow\n")
    assert controller.step().modes == {"serving": "shadow"}
    (tmp_path / "mode").write_text("canary")
    assert controller.step().mode == "canary"
    again = watching(make_controller())
    assert again.modes_in_force == {"serving": "shadow", "training": "canary", "ingest": "canary"}


@pytest.mark.clause("L12")
def test_what_a_workload_fell_to_stays_after_a_restart_until_an_operator_lets_it_rise(
    make_controller: Callable[..., Controller], watching: Files, policy: ScriptedPolicy, plant: ToyPlant, tmp_path: Path
) -> None:
    controller = watching(make_controller(config=ControllerConfig(rollbacks_per_hour=0)))
    provoke_fall(controller, policy, plant)
    controller.step()
    assert (tmp_path / "mode.serving").read_text() == "canary"
    assert not (tmp_path / "mode").exists(), "the system's mode is what it was"
    again = watching(make_controller())
    assert again.modes_in_force["serving"] == "canary"
    (tmp_path / "mode.serving").write_text("act")
    again.step()
    assert again.modes_in_force["serving"] == "act"


@pytest.mark.clause("L12")
def test_on_a_full_disk_a_mode_that_fell_stays_down_and_is_written_when_there_is_room(
    make_controller: Callable[..., Controller], watching: Files, policy: ScriptedPolicy, plant: ToyPlant, tmp_path: Path
) -> None:
    controller = watching(make_controller(config=ControllerConfig(rollbacks_per_hour=0)))
    (tmp_path / "mode.serving").mkdir()  # cannot be replaced by a file
    provoke_fall(controller, policy, plant)
    policy.wanted = {}
    for _ in range(3):
        assert controller.step().modes["serving"] == "canary"
    (tmp_path / "mode.serving").rmdir()
    controller.step()
    assert (tmp_path / "mode.serving").read_text() == "canary"


def test_what_is_no_mode_is_told_once_and_changes_nothing(
    make_controller: Callable[..., Controller], watching: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    controller = watching(make_controller())
    (tmp_path / "mode.serving").write_text("shadow")
    controller.step()
    (tmp_path / "mode.serving").write_bytes(b"autopilot" * 1000)
    (tmp_path / "mode.nobody").write_text("off")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert controller.step().modes == {"serving": "shadow"}
    assert len(caplog.messages) == 1
    assert "mode.serving says 'autopilot" in caplog.messages[0]


def test_a_file_that_is_deleted_lets_nothing_rise(
    make_controller: Callable[..., Controller], watching: Files, tmp_path: Path
) -> None:
    controller = watching(make_controller())
    (tmp_path / "mode.serving").write_text("off")
    controller.step()
    (tmp_path / "mode.serving").unlink()
    controller.step()
    assert controller.modes == {"serving": Mode.OFF}
