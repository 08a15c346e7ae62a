import numpy as np
import pytest

from agents.heuristics.parties import PartiesParameters, PartiesPolicy

SERVING, TRAINING, INGEST = "serving_cpu_cores", "training_cpu_cores", "ingest_cpu_cores"
LATE = {"serving_latency_p99_seconds": 0.2}
GOOD = {"serving_latency_p99_seconds": 0.135}  # slack 0.1: neither needs nor spares
BEHIND = {"training_backlog_samples": 3000.0, "training_demand_per_second": 240.0}  # 12.5 s of 10 s
UP, DOWN = np.exp(0.05 * np.log(13)), np.exp(-0.05 * np.log(20))
"""What a unit of 0.1 of the scaled range does to serving, 0.1 to 1.3 cores, and to training, 0.05 to 1 core."""


def cores(follow, task, knob, readings, parameters=None, **given):
    return follow(task, PartiesPolicy(task, task.spec.default_setting, parameters), knob, readings, **given)


@pytest.fixture
def roomy(spec):
    """A setting that leaves half a core free."""
    setting = spec.default_setting
    setting[spec.knob_index(INGEST)] = 0.03
    return setting


def test_a_late_workload_gets_a_unit_of_what_is_free(allocation, follow, roomy):
    assert cores(follow, allocation, SERVING, [LATE], start=roomy) == pytest.approx([0.5 * UP], rel=1e-3)
    assert cores(follow, allocation, TRAINING, [LATE], start=roomy) == pytest.approx([0.5], rel=1e-3)


def test_on_a_full_host_the_workload_with_the_most_slack_gives_it(allocation, follow):
    late = LATE | {"ingest_lag_seconds": 1.0}  # slack of training 1, of ingest 0.67
    assert cores(follow, allocation, SERVING, [late]) == pytest.approx([0.5 * UP], rel=1e-3)
    assert cores(follow, allocation, TRAINING, [late]) == pytest.approx([1.0 - 0.5 * UP], rel=1e-3)
    assert cores(follow, allocation, INGEST, [late]) == pytest.approx([0.5], rel=1e-3)


def test_the_neediest_workload_comes_first(allocation, follow, roomy):
    both = LATE | {"training_backlog_samples": 6000.0, "training_demand_per_second": 240.0}  # slacks -0.33 and -1.5
    assert cores(follow, allocation, TRAINING, [both], start=roomy) == pytest.approx([0.5 / DOWN], rel=1e-3)
    assert cores(follow, allocation, SERVING, [both], start=roomy) == pytest.approx([0.5], rel=1e-3)


def test_the_workload_with_the_most_slack_gives_a_unit_away(allocation, follow):
    calm = {"serving_latency_p99_seconds": 0.06, "ingest_lag_seconds": 1.0}  # slacks 0.6, 1 and 0.67
    assert cores(follow, allocation, TRAINING, [calm]) == pytest.approx([0.5 * DOWN], rel=1e-3)
    assert cores(follow, allocation, INGEST, [calm]) == pytest.approx([0.5], rel=1e-3)


def test_one_move_at_a_time_is_watched(allocation, follow, roomy):
    # Asked for in the first period, judged in the sixth, and the next one is made in the seventh.
    seen = cores(follow, allocation, SERVING, [LATE] * 8, start=roomy)
    assert seen == pytest.approx([0.5 * UP] * 6 + [0.5 * UP**2] * 2, rel=1e-3)


def test_a_cut_that_hurts_is_undone_and_not_tried_again_for_long(allocation, follow):
    calm = {"serving_latency_p99_seconds": 0.135, "ingest_lag_seconds": 2.6}  # only training spares
    parameters = PartiesParameters(observe_periods=2.0, block_periods=6.0)
    seen = cores(follow, allocation, TRAINING, [calm, BEHIND, BEHIND, *[calm] * 8], parameters)
    # Cut in the first, undone in the third, watched until the fifth, blocked until the ninth.
    assert seen == pytest.approx([0.5 * DOWN] * 2 + [0.5] * 6 + [0.5 * DOWN] * 3, rel=1e-3)


def test_a_cut_that_hurts_nobody_stays(allocation, follow):
    calm = {"serving_latency_p99_seconds": 0.135, "ingest_lag_seconds": 2.6}
    parameters = PartiesParameters(observe_periods=2.0)
    seen = cores(follow, allocation, TRAINING, [calm] * 4, parameters)
    assert seen == pytest.approx([0.5 * DOWN] * 3 + [0.5 * DOWN**2], rel=1e-3)


def test_a_spike_shorter_than_the_mean_moves_nothing(allocation, follow, roomy):
    readings = [GOOD | {"ingest_lag_seconds": 2.6} | BEHIND | {"training_backlog_samples": 2160.0}] * 9
    spike = readings[0] | {"serving_latency_p99_seconds": 0.16}
    seen = cores(follow, allocation, SERVING, [*readings, spike], start=roomy)  # the mean of ten has slack 0.08
    assert seen == pytest.approx([0.5] * 10, rel=1e-3)


def test_a_workload_that_has_nothing_left_to_give_does_not_keep_the_others_from_giving(allocation, follow, spec):
    start = spec.default_setting
    start[spec.knob_index(INGEST)] = 0.03
    calm = {"serving_latency_p99_seconds": 0.06, "training_backlog_samples": 240.0, "training_demand_per_second": 240.0}
    seen = cores(follow, allocation, TRAINING, [calm] * 2, start=start)  # slacks 0.6, 0.9 and 1
    assert seen == pytest.approx([0.5, 0.5 * DOWN], rel=1e-3)


def test_nothing_is_known_nothing_is_moved(allocation, follow):
    unknown = {
        "serving_latency_p99_seconds": float("nan"),
        "training_backlog_samples": float("nan"),
        "ingest_lag_seconds": float("nan"),
    }
    assert cores(follow, allocation, SERVING, [unknown] * 3) == pytest.approx([0.5] * 3, rel=1e-3)
    assert cores(follow, allocation, TRAINING, [unknown] * 3) == pytest.approx([0.5] * 3, rel=1e-3)


def test_the_late_workload_rises_to_its_top_and_no_further(allocation, follow, roomy):
    seen = cores(follow, allocation, SERVING, [LATE] * 120, start=roomy)
    assert seen[-1] == pytest.approx(1.3, rel=1e-3)
