from __future__ import annotations

import datetime
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controller.commands import CommandError
from controller.journal import Journal
from controller.report import Report, count, lines, report, wilson

NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)


def decision(second: float, mode: str = "act", **more: Any) -> dict[str, Any]:
    at = (NOON + datetime.timedelta(seconds=second)).isoformat(timespec="milliseconds")
    empty: dict[str, Any] = {"reasons": [], "opened": [], "verdicts": [], "inputs": {"values": [1.0]}}
    return {"kind": "decision", "time": 500.0 + second, "at": at, "mode": mode, **empty, **more}


def opened(id: str, delay: float = 1.0) -> list[dict[str, Any]]:
    return [{"id": id, "seen_at": 10.0, "applied_at": 10.0 + delay}]


def verdict(id: str, outcome: str) -> list[dict[str, Any]]:
    return [{"id": id, "outcome": outcome}]


def start(second: float) -> dict[str, Any]:
    return {"kind": "start", "at": (NOON + datetime.timedelta(seconds=second)).timestamp()}


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # By hand from (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.96.
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (8, 10, 0.4902, 0.9433), (98, 100, 0.9300, 0.9945)],
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((successes / trials, low, high), abs=1e-4)


def test_without_a_trial_nothing_is_claimed() -> None:
    assert all(math.isnan(figure) for figure in wilson(0, 0))
    assert "kept, of those judged             unknown" in lines(Report())


def test_optimizations_are_counted_by_what_came_of_them() -> None:
    outcomes = ["keep", "keep", "keep", "rolled_back", "inconclusive", "superseded"]
    records = [decision(n, opened=opened(f"c{n}", delay=float(n))) for n in range(7)]
    records += [decision(7 + n, verdicts=verdict(f"c{n}", outcome)) for n, outcome in enumerate(outcomes)]
    found = count(records)
    assert found.optimizations == 7
    assert (found.outcomes["keep"], found.outcomes["superseded"], found.outcomes["running"]) == (3, 1, 1)
    plain = found.plain()
    assert plain["success_rate"] == 3 / 5
    assert plain["not_rolled_back"] == 4 / 5
    assert (plain["opportunity_to_applied_p50_seconds"], plain["opportunity_to_applied_p99_seconds"]) == (3.0, 6.0)
    assert plain["optimizations_per_day"] == pytest.approx(7 * 86400 / 13)


def test_availability_counts_periods_that_are_missing_and_those_with_missing_readings() -> None:
    records = [decision(n) for n in (0, 1, 2, 3, 8, 9)]  # 4 periods are not there
    records[1]["inputs"] = {"values": [1.0, None]}
    records[2]["inputs"] = {"values": ["nan"]}
    assert count(records).availability == 4 / 10


def test_the_time_between_two_controllers_is_nobodys() -> None:
    again = [decision(n) | {"time": n} for n in range(1000, 1005)]  # the host was restarted, its clock began anew
    found = count([start(0), *(decision(n) for n in range(5)), start(999), *again])
    assert (found.running_seconds, found.due, found.starts, found.availability) == (10.0, 10, 2, 1.0)


def test_changes_of_mode_and_refusals_are_told() -> None:
    busy = [{"reason": "busy", "detail": ""}] * 2
    found = count([decision(0, "shadow", reasons=busy), decision(1, "act"), decision(2, "act", reasons=busy)])
    assert found.modes == [("2026-01-31T12:00:01.000+00:00", "shadow", "act")]
    assert found.refusals == {"busy": 2}, "periods, not refusals"
    assert found.periods == {"shadow": 1, "act": 2}


def test_changes_of_the_mode_of_one_workload_are_told_beside_those_of_the_system() -> None:
    held = {"modes": {"serving": "shadow"}}
    found = count([decision(0), decision(1, **held), decision(2, "canary", **held), decision(3, "canary")])
    assert [change[1:] for change in found.workload_modes] == [
        ("serving", "act", "shadow"), ("serving", "shadow", "canary"),
    ]  # fmt: skip
    assert [change[1:] for change in found.modes] == [("act", "canary")]
    assert "  2026-01-31T12:00:01.000+00:00   serving: act -> shadow" in lines(found)
    assert found.plain()["workload_mode_changes"][0]["workload"] == "serving"


@pytest.mark.parametrize("since", ["2s", "2026-01-31T12:00:08", "2026-01-31T13:00:08+01:00"])
def test_only_what_is_newer_counts(tmp_path: Path, since: str) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(start(0))
    for number in range(10):
        journal.append(decision(number, opened=opened(f"c{number}"), verdicts=verdict(f"c{number - 1}", "keep")))
    journal.close()
    found = report(tmp_path, since, NOON + datetime.timedelta(seconds=10))
    assert (found.periods["act"], found.optimizations, found.outcomes["keep"], found.starts) == (2, 2, 1, 0)


def test_the_part_that_was_rotated_away_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", max_bytes=1500)
    for number in range(8):
        journal.append(decision(number))
    journal.close()
    assert (tmp_path / "journal.jsonl.1").exists()
    assert report(tmp_path).periods["act"] == len(Journal.read(tmp_path / "journal.jsonl"))


def test_what_cannot_be_reported_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no journal"):
        report(tmp_path)
    (tmp_path / "journal.jsonl").write_text("")
    with pytest.raises(CommandError, match="such as 90s or 2h"):
        report(tmp_path, "yesterday")
    assert report(tmp_path).optimizations == 0


def test_the_command_prints_one_json_object(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("")
    command = [sys.executable, "-m", "trimtab", "report", "--state-dir", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["optimizations"], found["success_rate"], found["success_rate_ci"]) == (0, None, [None, None])
