"""The alert rules do what they say, and each has a place in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from controller.forecast_figures import FAMILIES as FORECAST_FAMILIES
from controller.own_metrics import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
RULES, TESTS = ROOT / "deploy/prometheus/alerts.yml", ROOT / "deploy/prometheus/alerts_test.yml"
NAMES = re.findall(r"- alert: (\w+)", RULES.read_text())
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)"
)


@needs_promtool
@pytest.mark.parametrize("command", [("check", "rules", str(RULES)), ("test", "rules", str(TESTS))])
def test_promtool_finds_that_the_rules_do_what_their_tests_say(command: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_to_be_quiet_and_to_fire(name: str) -> None:
    text = TESTS.read_text()
    assert re.search(rf"alertname: {name}, eval_time: \w+, exp_alerts: \[\]", text)
    assert re.search(rf"- alertname: {name}\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", text)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_has_a_place_in_the_runbook(name: str) -> None:
    assert f"runbook: docs/operations.md#{name.lower()}\n" in RULES.read_text()
    assert f"\n#### {name}\n" in (ROOT / "docs/operations.md").read_text()


def test_every_series_that_a_rule_asks_for_is_one_that_is_written() -> None:
    asked = set(re.findall(r"trimtab_(?:controller|forecast)_\w+", RULES.read_text()))
    assert {name.removesuffix("_bucket") for name in asked} <= {*FAMILIES, *FORECAST_FAMILIES}
