"""`trimtab bench faults` prints, writes and fails as it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.bench_cli import bench_app
from training.faults.campaign import CampaignError, Outcome
from training.faults.command import FaultsRequest, run_faults, write_docs
from training.faults.hazards import HAZARDS
from training.faults.monitors import INVARIANTS

ROOT = Path(__file__).resolve().parents[3]
EMPTY = {
    "episodes": 0,
    "pairs": 0,
    "periods": 0,
    "optimizations": 0,
    "deaths": 0,
    "worst_revert_seconds": 0.0,
    "scoreboard": [],
}
MARKS = "".join(
    f"<!-- faults:{name} -->\nOLD TABLE\n<!-- faults:end -->\n" for name in ("hazards", "invariants", "scoreboard")
)


def test_json_has_the_stable_keys() -> None:
    result = CliRunner().invoke(bench_app, ["faults", "--hazards", "H5", "--episodes", "1", "--json"])
    found = json.loads(result.stdout)
    assert result.exit_code == (1 if found["violated"] else 0)
    assert {"hazards", "episodes", "violations", "worst_revert_seconds", "scoreboard", "live"} <= set(found)
    assert (found["hazards"], found["episodes"], found["violations"]) == (1, 1, len(found["violated"]))
    # On a busy host the controller's own CPU is the host's doing.
    assert [one for one in found["violated"] if "own_cpu_within_one_percent" not in str(one)] == []


def test_tables_are_written_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS}after\n")
    write_docs(page, Outcome(), EMPTY)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "OLD TABLE" not in text
    assert all(title in text for title in HAZARDS.values())


def test_a_page_without_marks_is_refused_before_anything_runs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(CampaignError, match="faults:hazards"):
        run_faults(FaultsRequest(10**6, write=page), lambda done, total, line: None)


def test_the_page_in_the_docs_is_of_this_campaign() -> None:
    text = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
    assert [one.name for one in INVARIANTS if f"| {one.name.replace('_', ' ')} |" not in text] == []
    assert [hazard for hazard in HAZARDS if f"| {hazard} {HAZARDS[hazard]} |" not in text] == []
