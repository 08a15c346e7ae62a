"""The systemd units, as far as they can be judged without a systemd that runs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

import trimtab

UNITS = Path(__file__).resolve().parents[2] / "deploy/systemd"
NAMES = sorted(path.name for path in UNITS.glob("*.service"))
needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (apt-get install systemd)"
)


def settings_of(name: str) -> dict[str, str]:
    """Key -> value of a unit; of one given twice, the last."""
    return dict(re.findall(r"^(\w+)=(.*)$", (UNITS / name).read_text(), re.MULTILINE))


@needs_analyze
@pytest.mark.parametrize("name", NAMES)
def test_the_exposure_is_below_2(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) < 2.0


@needs_analyze
@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    program = tmp_path / "trimtab"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (UNITS / name).read_text().replace("/opt/trimtab/bin/trimtab", str(program))
    (tmp_path / name).write_text(re.sub(r"^User=.*\n", "", text, flags=re.MULTILINE))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert not [line for line in done.stderr.splitlines() if name in line], done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_the_units_exist_with_their_options(name: str) -> None:
    text = (UNITS / name).read_text()
    for line in re.findall(r"^Exec\w+=/opt/trimtab/bin/trimtab (.*)$", text, re.MULTILINE):
        words = shlex.split(line)
        shown = CliRunner().invoke(trimtab.app, [*words[:2], "--help"], env={"COLUMNS": "200"}).output
        assert [word for word in words if word.startswith("--") and word not in shown] == []


@pytest.mark.clause("A3")
def test_whatever_ends_the_controller_everything_is_taken_back_afterwards() -> None:
    settings = settings_of("trimtab-controller.service")
    assert "control revert --offline" in settings["ExecStopPost"]
    assert re.search(r"--state-dir (\S+)", settings["ExecStopPost"])[1] in settings["ExecStart"]  # type: ignore[index]


@pytest.mark.clause("L9")
def test_systemd_watches_the_controller_by_the_periods_that_it_completes() -> None:
    settings = settings_of("trimtab-controller.service")
    assert settings["Type"] == "notify"
    assert 0 < float(settings["WatchdogSec"]) <= 60
    assert settings["Restart"] == "on-failure"
    assert settings["KillMode"] == "mixed", (
        "SIGTERM must not end the warden before the controller has taken things back"
    )
