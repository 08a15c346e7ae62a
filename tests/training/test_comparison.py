"""A live comparison's figures, from windows that were made by hand."""

import numpy as np
import pytest

from envs.spec import SystemSpec
from telemetry.workload import Demand
from training.comparison import compare
from training.live import ClientFigures, Window, cut

SPEC = SystemSpec.load("reference")
PERIODS = 6


def window(arm: str, segment: int, *, cores: float = 0.5, goodput: float = 100.0, within: float = 1.0) -> Window:
    readings = dict.fromkeys(SPEC.catalogue.names, 0.0) | {
        "serving_arrivals_per_second": 100.0,
        "serving_goodput_per_second": goodput,
        "serving_within_slo_ratio": goodput / 100.0,
        "serving_accuracy_ratio": 0.9,
        "training_demand_per_second": 100.0,
        "training_goodput_per_second": 100.0,
        "ingest_arrivals_per_second": 50.0,
        "ingest_written_per_second": 50.0,
    }
    values = np.tile([readings[name] for name in SPEC.catalogue.names], (PERIODS, 1))
    setting = SPEC.default_setting
    setting[:3] = cores
    settings = np.tile(setting, (PERIODS, 1))
    client = ClientFigures(
        sent=600, answered=600 * within, within_slo=within, p50=0.03, p99=0.08, accuracy=0.9, right=0.9 * within
    )
    return Window(arm, segment, np.arange(PERIODS) + 1.0, values, settings, settings, client)


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


def test_a_demand_is_cut_into_equal_segments_that_begin_with_their_own_rate():
    rates = np.repeat([10.0, 20.0, 30.0], 100)
    demand = Demand("steps", 1.0, rates, rates / 2, "test")
    segments = cut(demand, SPEC, count=3, periods=10, settle_periods=4)
    assert [len(segment) for segment in segments] == [14, 14, 14]
    assert [segment.requests_per_second[0] for segment in segments] == [10.0, 20.0, 30.0]
    assert (segments[1].requests_per_second[:4] == 20.0).all()
