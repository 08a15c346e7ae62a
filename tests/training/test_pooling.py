"""What independent live comparisons say together, from windows that were made by hand."""

import pytest
from live_windows import CORES, SPEC, live_run

from training.demo import STATIC_DEFAULT
from training.pooling import comparisons, pool

STABLE = {
    "efficiency_gain", "efficiency_gain_ci", "reserved_saving", "used_saving", "slo_attainment", "accuracy",
    "availability", "optimizations", "rolled_back", "opportunity_to_applied_p99_seconds", "reference", "root",
}  # fmt: skip


def test_the_stable_keys_stand_at_the_top_level_against_the_static_default():
    result = pool(SPEC, [live_run(0)])
    assert set(result) >= STABLE
    assert result["reference"] == STATIC_DEFAULT
    assert result["reserved_saving"] == pytest.approx(0.5)
    assert result["simulated"] is None


def test_each_reference_has_its_own_comparison():
    result = pool(SPEC, [live_run(0)])
    savings = {part["reference"]: part["reserved_saving"] for part in comparisons(result)}
    assert savings == pytest.approx({name: 1.0 - 0.25 / cores for name, cores in CORES.items()})


def test_the_runs_are_pooled_and_each_is_summarised():
    result = pool(SPEC, [live_run(0), live_run(1, ours=0.5, capacity=200.0)])
    assert result["pairs"] == 6
    assert result["reserved_saving"] == pytest.approx(0.25)
    assert result["capacity_requests_per_second"] == 300.0
    assert [run["reserved_saving"] for run in result["runs"]] == pytest.approx([0.5, 0.0])
    assert [run["vs_best_static"]["reserved_saving"] for run in result["runs"]] == pytest.approx([0.375, -0.25])
    assert [run["demand"] for run in result["runs"]] == ["day-0", "day-1"]


def test_the_changes_of_all_runs_are_counted():
    result = pool(SPEC, [live_run(0), live_run(1)])
    assert (result["optimizations"], result["kept"], result["rolled_back"]) == (4, 2, 2)
    assert result["opportunity_to_applied_p99_seconds"] == 3.0
    assert [run["optimizations"] for run in result["runs"]] == [2, 2]


def test_a_run_tells_how_busy_the_host_was_under_the_controller():
    run = live_run(0)
    index = SPEC.catalogue.index("host_cpu_used_ratio")
    for window in run.windows:
        window.values[:, index] = 0.97 if window.arm == "trimtab" else 0.6
    assert pool(SPEC, [run])["runs"][0]["host_cpu_used_ratio"] == 0.97


def test_privileged_actuators_were_used_only_if_every_run_had_them():
    assert pool(SPEC, [live_run(0), live_run(1)])["root"]
    assert not pool(SPEC, [live_run(0), live_run(1, enforced=False)])["root"]
