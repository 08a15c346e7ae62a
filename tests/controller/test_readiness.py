from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from controller.lease import BEAT, LEASE, write_in_place
from controller.readiness import examine
from telemetry.processes import process_start

NOW = 1000.0


@pytest.fixture
def status() -> dict[str, Any]:
    """Of a healthy controller, which this process plays."""
    return {
        "pid": os.getpid(), "process_start": process_start(os.getpid()), "completed_at": NOW - 0.5,
        "period_seconds": 1.0, "mode": "act", "killed": False, "paused": False, "conditions": {},
    }  # fmt: skip


def reasons(folder: Path, status: dict[str, Any], beat: float | None = NOW - 0.2) -> list[str]:
    (folder / "status.json").write_text(json.dumps(status))
    if beat is not None:
        write_in_place(str(folder / BEAT), beat)
    return examine(folder, lambda: NOW).reasons


def test_a_controller_that_lives_and_keeps_its_time_is_ready(tmp_path: Path, status: dict[str, Any]) -> None:
    assert reasons(tmp_path, status) == []


def test_a_workload_in_another_mode_than_the_system_is_named(tmp_path: Path, status: dict[str, Any]) -> None:
    reasons(tmp_path, status | {"modes": {"serving": "shadow", "ingest": "act"}})
    assert [check.detail for check in examine(tmp_path, lambda: NOW).checks if check.name == "mode"] == [
        "act, serving shadow"
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"process_start": 1}, "controller: process"),
        ({"completed_at": NOW - 3.5}, "last period: 3.5 s ago, at most 3"),
        ({"completed_at": None}, "last period: none"),
        ({"killed": True}, "kill switch: on"),
        ({"conditions": {"journal": "disk full"}}, "conditions: journal (disk full)"),
    ],
)
def test_each_thing_that_is_wrong_is_told(
    tmp_path: Path, status: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    found = reasons(tmp_path, status | change)
    assert found[0].startswith(reason)


def test_a_longer_period_may_be_older(tmp_path: Path, status: dict[str, Any]) -> None:
    assert reasons(tmp_path, status | {"period_seconds": 10.0, "completed_at": NOW - 25.0}) == []


@pytest.mark.parametrize("beat", [None, NOW - 2.5])
def test_a_silent_warden_is_told(tmp_path: Path, status: dict[str, Any], beat: float | None) -> None:
    assert [reason.partition(":")[0] for reason in reasons(tmp_path, status, beat)] == ["warden"]


def test_a_policy_on_its_fallback_is_shown_and_does_not_count(tmp_path: Path, status: dict[str, Any]) -> None:
    assert reasons(tmp_path, status | {"conditions": {"fallback": "allocation: 3 entries are missing"}}) == []
    assert "fallback" in next(c.detail for c in examine(tmp_path, lambda: NOW).checks if c.name == "conditions")


@pytest.mark.parametrize("content", [None, "", "[]", "{", '"text"', '{"pid": "x"}'])
def test_a_status_that_is_missing_or_damaged_speaks_against_it(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "status.json").write_text(content)
    found = examine(tmp_path, lambda: NOW)
    assert found.reasons[0].startswith("controller: ")
    assert found.series()["trimtab_controller_up"] == 0


def test_what_was_left_in_force_by_a_controller_that_is_gone_shows(tmp_path: Path, status: dict[str, Any]) -> None:
    (tmp_path / LEASE).write_text('{"steps": []}')
    assert reasons(tmp_path, status | {"process_start": 1}) != []
    series = examine(tmp_path, lambda: NOW).series()
    assert (series["trimtab_controller_up"], series["trimtab_controller_leased"]) == (0, 1)
    assert "trimtab_controller_seconds_since_last_period" not in series
