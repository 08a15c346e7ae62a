"""Judging on the real testbed: what it refuses, what it shows, and one short comparison."""

import json
from dataclasses import replace

import numpy as np
import pytest
from live_windows import SPEC, live_run, window
from rich.console import Console

from agents.artifact import ArtifactError
from controller.commands import JOURNAL
from envs.spec import SystemSpec
from telemetry.trace import Trace, TraceError
from training.demo import DemoConfig, DemoError
from training.live_judging import NoHeuristic, best_heuristic, disturbances, evaluate_live, live_tables, without_ratio
from training.pooling import comparisons, pool

TINY = DemoConfig(segments=1, periods=2, settle_periods=1, warm_up_periods=0)


def text(result) -> str:
    screen = Console(width=120)
    with screen.capture() as capture:
        for table in live_tables(result):
            screen.print(table)
    return capture.get()


def test_the_best_heuristic_is_a_published_rule_that_the_search_tuned():
    assert best_heuristic(SPEC) == "aimd"


def test_a_spec_for_which_no_heuristic_was_tuned_is_refused():
    with pytest.raises(NoHeuristic, match="run `trimtab search`"):
        best_heuristic(SystemSpec.load("host"))


def test_a_folder_with_an_earlier_comparison_is_refused(tmp_path):
    (tmp_path / JOURNAL).touch()
    with pytest.raises(DemoError, match="choose another folder"):
        evaluate_live("reference", None, tmp_path, runs=1)


@pytest.mark.parametrize(("given", "error"), [("policy", ArtifactError), ("trace", TraceError)])
def test_what_cannot_be_used_is_told_before_anything_is_started(tmp_path, given, error):
    stages = []
    with pytest.raises(error):
        evaluate_live(
            "reference",
            tmp_path / "missing" if given == "policy" else None,
            tmp_path / "out",
            runs=2,
            trace=tmp_path / "missing" if given == "trace" else None,
            on_stage=stages.append,
        )
    assert not stages
    assert not (tmp_path / "out").exists()


def test_a_run_on_a_busy_host_is_told():
    result = pool(SPEC, [live_run(0), live_run(1)])
    assert not disturbances(result)
    result["runs"][1]["host_cpu_used_ratio"] = 0.97
    assert [line.split(":")[0] for line in disturbances(result)] == ["run 2"]


def test_a_reference_that_did_nothing_is_told_and_shown():
    run = live_run(0)
    nothing = dict.fromkeys((objective.done for objective in SPEC.workloads.values()), 0.0)
    idle = [window("static default", k, **nothing) for k in range(3)]
    result = pool(SPEC, [replace(run, windows=idle + [w for w in run.windows if w.arm != "static default"])])
    assert [line.split(":")[0] for line in without_ratio(result)] == ["static default"]
    assert "in 3 of 3 windows" in without_ratio(result)[0]
    assert "static default" in text(result)
    assert not without_ratio(pool(SPEC, [run]))


def test_the_tables_show_every_arm_and_every_reference():
    shown = text(pool(SPEC, [live_run(0)]))
    for name in ("static default", "best static", "best heuristic (aimd)", "Trimtab", "rolled back"):
        assert name in shown
    assert "run by run" not in shown


def test_several_runs_are_shown_side_by_side():
    shown = text(pool(SPEC, [live_run(0), live_run(1)]))
    assert "run by run" in shown
    assert "run 2" in shown


@pytest.mark.system
def test_a_short_comparison_on_the_testbed_leaves_result_report_and_logs(tmp_path):
    stages, periods = [], []
    result = evaluate_live(
        "reference", None, tmp_path, runs=1, config=TINY, on_stage=stages.append, on_period=periods.append
    )
    assert [part["reference"] for part in comparisons(result)] == [
        "static default",
        "best static",
        "best heuristic (aimd)",
    ]
    assert [part["pairs"] for part in comparisons(result)] == [1, 1, 1]
    assert len(periods) == periods[-1].total == 4 * 3
    assert stages[0] == "starting the testbed"
    assert json.loads((tmp_path / "result.json").read_text())["runs"][0]["demand"] == result["demand"]
    assert "best heuristic (aimd)" in (tmp_path / "report.html").read_text()
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {
        "static-default",
        "best-static",
        "best-heuristic-aimd",
        "trimtab",
    }
    trace = Trace.load(tmp_path / "trace")
    assert len(trace) == 4 * 3
    np.testing.assert_allclose(trace.settings, [period.setting for period in periods])
