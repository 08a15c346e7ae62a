"""A live comparison's figures, from windows that were made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from live_windows import SPEC, window

from telemetry.workload import Demand
from training.comparison import ComparisonError, compare
from training.live import cut


def row(result, name: str):
    return next(row for row in result["rows"] if row["name"] == name)


def test_half_the_cpu_for_the_same_work_doubles_efficiency():
    result = compare(
        SPEC, [window("static", k) for k in range(4)], [window("trimtab", k, cores=0.25) for k in range(4)]
    )
    assert result["efficiency_gain"] == pytest.approx(1.0)
    assert result["efficiency_gain_ci"] == pytest.approx([1.0, 1.0])
    assert result["reserved_saving"] == pytest.approx(0.5)


def test_equal_arms_tie():
    result = compare(SPEC, [window("static", k) for k in range(4)], [window("trimtab", k) for k in range(4)])
    assert result["efficiency_gain"] == pytest.approx(0.0)
    assert result["slo_attainment"] == {"reference": 1.0, "trimtab": 1.0}


def test_windows_are_paired_by_segment_in_whatever_order_they_came():
    reference = [window("static", k, cores=0.5 / (k + 1)) for k in range(3)]
    ours = [window("trimtab", k, cores=0.25 / (k + 1)) for k in (2, 0, 1)]
    assert compare(SPEC, reference, ours)["efficiency_by_pair"] == pytest.approx([2.0, 2.0, 2.0])


def test_requests_are_counted_as_the_clients_saw_them():
    result = compare(SPEC, [window("static", 0, within=0.5)], [window("trimtab", 0)])
    assert result["slo_attainment"] == {"reference": 0.5, "trimtab": 1.0}
    assert result["accuracy"] == {"reference": pytest.approx(0.45), "trimtab": pytest.approx(0.9)}
    assert result["availability"] == 1.0
    assert result["availability_reference"] == 0.5


IDLE = {"serving_goodput_per_second": 0.0, "training_goodput_per_second": 0.0, "ingest_written_per_second": 0.0}


def test_a_segment_in_which_the_reference_did_nothing_is_left_out_and_counted():
    reference = [window("static", 0), window("static", 1, **IDLE)]
    result = compare(SPEC, reference, [window("trimtab", k, cores=0.25) for k in range(2)])
    assert result["efficiency_gain"] == pytest.approx(1.0)
    assert (result["pairs"], result["pairs_without_ratio"]) == (2, 1)
    assert result["weights"]["value/serving x2"] == pytest.approx(1.0)


def test_against_a_reference_that_did_nothing_at_all_there_is_no_gain_to_tell():
    result = compare(SPEC, [window("static", 0, **IDLE)], [window("trimtab", 0)])
    assert np.isnan([result["efficiency_gain"], *result["efficiency_gain_ci"]]).all()
    assert result["slo_attainment"]["trimtab"] == 1.0


def test_doing_nothing_where_the_reference_did_something_loses_everything():
    ours = [window("trimtab", 0), window("trimtab", 1, **IDLE)]
    assert compare(SPEC, [window("static", k) for k in range(2)], ours)["efficiency_gain"] == -1.0


def test_a_saving_counts_only_where_the_slos_are_held_as_often():
    slow = {"serving_within_slo_ratio": 0.5}
    saving = compare(SPEC, [window("static", 0)], [window("trimtab", 0, cores=0.25, **slow)])
    assert not saving["counts"]
    assert compare(SPEC, [window("static", 0, **slow)], [window("trimtab", 0, cores=0.25)])["counts"]


def test_each_slo_has_a_row_that_says_how_often_it_held():
    stale = window("trimtab", 0, serving_model_age_seconds=16.0)
    result = compare(SPEC, [window("static", 0)], [stale])
    assert row(result, "periods with model freshness met")["trimtab"] == 0.0
    assert row(result, "periods with latency met")["trimtab"] == 1.0
    assert row(result, "periods with all SLOs met")["trimtab"] == 0.0


def test_a_missing_reading_meets_no_slo():
    unknown = window("trimtab", 0, ingest_lag_seconds=float("nan"))
    assert row(compare(SPEC, [window("static", 0)], [unknown]), "periods with ingest freshness met")["trimtab"] == 0.0


def test_runs_that_differ_widen_the_interval_although_the_segments_of_each_agree():
    """Four segments of one run are no four independent runs."""
    reference = [window("static", k, run=r) for r in range(2) for k in range(4)]
    ours = [window("trimtab", k, run=r, cores=(0.25, 0.5)[r]) for r in range(2) for k in range(4)]
    pooled = compare(SPEC, reference, ours)
    assert pooled["pairs"] == 8
    assert pooled["efficiency_gain"] == pytest.approx(2**0.5 - 1.0, rel=0.1)
    assert pooled["efficiency_gain_ci"][0] == pytest.approx(0.0, abs=0.01)
    assert pooled["efficiency_gain_ci"][1] > 0.9
    cpu = row(pooled, "cpu reserved")
    assert cpu["difference"] == pytest.approx(-0.375)
    assert cpu["difference_ci"] == pytest.approx([-0.75, 0.0])


def test_a_figure_that_one_run_lacks_is_compared_on_the_segments_that_all_have():
    def windows(arm: str, p50: float):
        made = [window(arm, k, run=r) for r in range(2) for k in range(2)]
        client = replace(made[1].client, p50=p50)
        return [made[0], replace(made[1], client=client), *made[2:]]

    result = row(compare(SPEC, windows("static", float("nan")), windows("trimtab", 0.01)), "latency p50")
    assert result["difference"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [([(0, 0), (0, 1)], [(0, 0)]), ([(0, 0), (0, 1), (0, 2), (1, 0)], [(0, 0), (0, 1), (0, 2), (1, 0)]), ([], [])],
    ids=["other segments", "runs of unequal length", "nothing"],
)
def test_arms_that_did_not_meet_the_same_segments_are_refused(theirs, ours):
    windows = [[window(arm, k, run=r) for r, k in met] for arm, met in (("static", theirs), ("trimtab", ours))]
    with pytest.raises(ComparisonError, match="one window for each segment of each run"):
        compare(SPEC, *windows)


def test_a_demand_is_cut_into_equal_segments_that_begin_with_their_own_rate():
    rates = np.repeat([10.0, 20.0, 30.0], 100)
    demand = Demand("steps", 1.0, rates, rates / 2, "test")
    segments = cut(demand, SPEC, count=3, periods=10, settle_periods=4)
    assert [len(segment) for segment in segments] == [14, 14, 14]
    assert [segment.requests_per_second[0] for segment in segments] == [10.0, 20.0, 30.0]
    assert (segments[1].requests_per_second[:4] == 20.0).all()
