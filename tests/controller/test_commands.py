from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from controller import commands
from controller.commands import CommandError
from controller.doctor import examine
from controller.journal import Journal


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert commands.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1s", "2 weeks", "nan"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(CommandError, match="such as 90s or 2h; given"):
        commands.seconds_of(text)


@pytest.mark.parametrize("text", ["", "=1", "serving_batch_size", "serving_batch_size=many", "serving_batch_size=nan"])
def test_what_is_no_pin_is_told(text: str) -> None:
    with pytest.raises(CommandError, match="a pin is KNOB=NUMBER"):
        commands.pin_of(text)


def test_broken_pins_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"setting": {"serving_batch_size": 8}}')
    (tmp_path / "pins.json").write_text("{")
    with pytest.raises(CommandError, match="correct or delete it first"):
        commands.pin(tmp_path, "serving_batch_size", 4.0)
    assert (tmp_path / "pins.json").read_text() == "{"


def test_history_tells_each_change_with_its_outcome(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for number in range(3):
        change = {"id": f"c{number}", "workload": "serving", "role": "tuning", "knobs": {"threads": (1, 2)}}
        modes = {"modes": {"serving": "canary"}} if number == 2 else {}
        journal.append({"at": f"t{number}", "mode": "act", **modes, "opened": [change], "verdicts": []})
    journal.append({"at": "t3", "verdicts": [{"id": "c1", "outcome": "keep", "reason": "not worse", "gain": 0.1}]})
    journal.close()
    found = commands.history(tmp_path, 2)
    assert [(change["id"], change["at"], change["mode"], change["outcome"]) for change in found] == [
        ("c1", "t1", "act", "keep"),
        ("c2", "t2", "canary", "running"),
    ]


def test_doctor_tries_what_the_controller_needs_and_leaves_nothing(tmp_path: Path) -> None:
    findings = examine(tmp_path / "state")
    assert [finding.name for finding in findings if finding.needed and not finding.works] == []
    assert list((tmp_path / "state").iterdir()) == []


def test_doctor_says_why_something_does_not_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = {finding.name: finding.detail for finding in examine(tmp_path / "file" / "state") if not finding.works}
    assert "Not a directory" in broken["journal"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "trimtab", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("control", "kill", "--state-dir", "/nowhere"), "made when the controller is started"),
        (("control", "pin", "serving_batch_size", "--state-dir", "/tmp"), "a pin is KNOB=NUMBER"),
        (("control", "validate", "--spec", "no-such"), "no-such"),
    ],
)
def test_mistakes_are_one_line_on_stderr(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_commands_leave_what_the_controller_looks_for(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"setting": {"serving_batch_size": 8}}')
    state = ("--state-dir", str(tmp_path))
    for arguments in (("kill",), ("revert",), ("mode", "act"), ("pin", "serving_batch_size=4", "--for", "2h")):
        assert run("control", *arguments, *state).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"status.json", "kill", "revert", "mode", "pins.json"}
    assert json.loads((tmp_path / "pins.json").read_text())["serving_batch_size"]["value"] == 4
