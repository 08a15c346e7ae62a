"""The commands of an operator, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from controller.cli import control_app
from controller.commands import CommandError
from controller.config_file import ConfigError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(control_app, list(arguments))


def test_policies_are_used_listed_and_returned_from(tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path))
    version = run("policy", "use", "shipped", *state).stdout.strip()
    assert f"{version}  current   proven" in run("policy", "list", *state).stdout
    assert isinstance(run("policy", "back", *state).exception, CommandError)


def test_a_configuration_is_written_and_validated(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(run("config").stdout)
    assert "a valid configuration for reference" in run("validate", str(tmp_path / "c.toml")).stdout
    (tmp_path / "c.toml").write_text("rungs = 3")
    assert isinstance(run("validate", str(tmp_path / "c.toml")).exception, ConfigError)


def test_a_spec_is_validated_as_such() -> None:
    assert "12 knobs" in run("validate", "envs/specs/reference.toml").stdout


@pytest.mark.parametrize("mode", ["off", "shadow", "advise", "canary", "act"])
def test_every_rung_is_a_mode(tmp_path: Path, mode: str) -> None:
    assert run("mode", mode, "--state-dir", str(tmp_path)).exit_code == 0
    assert (tmp_path / "mode").read_text() == mode


@pytest.mark.clause("L12")
def test_a_workload_that_the_controller_knows_has_a_mode_of_its_own(tmp_path: Path) -> None:
    status = {"pid": 1, "process_start": -2, "modes": {"serving": "act", "ingest": "act"}}
    (tmp_path / "status.json").write_text(json.dumps(status))
    arguments = ["mode", "shadow", "--state-dir", str(tmp_path), "--workload"]
    assert run(*arguments, "serving").exit_code == 0
    assert (tmp_path / "mode.serving").read_text() == "shadow"
    refused = run(*arguments, "../serving")
    assert str(refused.exception) == "no workload '../serving'; known are: serving, ingest"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mode.serving", "status.json"]
