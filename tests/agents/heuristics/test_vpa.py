import pytest

from agents.heuristics.vpa import VpaParameters, VpaPolicy

CORES, USED = "serving_cpu_cores", "serving_cpu_used_cores"
TARGET = 1.15 * 0.2 * (1.05**19 - 1)
"""Of a use of 0.3 cores, 0.351: the bucket that holds it, the 19th, ends at 0.305."""


def policy(task, **parameters):
    return VpaPolicy(task, task.spec.default_setting, VpaParameters(**parameters))


def test_the_target_is_a_percentile_with_a_margin(allocation, follow):
    # After one second of a two-second day the request is old.
    cores = follow(allocation, policy(allocation, day_seconds=2.0), CORES, [{USED: 0.3}])
    assert cores == pytest.approx([TARGET], rel=1e-3)


def test_a_request_within_the_bounds_is_left_until_it_is_old(allocation, follow):
    # Confidence 0.05 to 0.2: the bounds are 0.345 and more than 2 cores. Old at 10 s.
    cores = follow(allocation, policy(allocation, day_seconds=20.0), CORES, [{USED: 0.3}] * 10)
    assert cores == pytest.approx([0.5] * 9 + [TARGET], rel=1e-3)


def test_a_request_below_the_lower_bound_is_renewed_at_once(allocation, follow, spec):
    start = spec.default_setting
    start[spec.knob_index(CORES)] = 0.28  # lower bound 1.15 * 0.305 * (1 + 0.001 / 0.01)^-2 = 0.290
    cores = follow(allocation, policy(allocation, day_seconds=100.0), CORES, [{USED: 0.3}], start=start)
    assert cores == pytest.approx([TARGET], rel=1e-3)


def test_a_request_just_above_the_lower_bound_is_left(allocation, follow, spec):
    start = spec.default_setting
    start[spec.knob_index(CORES)] = 0.30
    cores = follow(allocation, policy(allocation, day_seconds=100.0), CORES, [{USED: 0.3}], start=start)
    assert cores == pytest.approx([0.30], rel=1e-3)


def test_an_old_request_close_to_the_target_is_left(allocation, follow, spec):
    start = spec.default_setting
    start[spec.knob_index(CORES)] = 0.38  # 8 % above the target
    cores = follow(allocation, policy(allocation, day_seconds=2.0), CORES, [{USED: 0.3}] * 3, start=start)
    assert cores == pytest.approx([0.38] * 3, rel=1e-3)


def test_more_history_is_needed_to_take_away_than_to_give(allocation, follow, spec):
    start = spec.default_setting
    start[: len(spec.workloads)] = [1.2, 0.1, 0.1]
    # Above the upper bound, 0.351 * (1 + 1 / confidence), as soon as confidence is 0.414: after 42 of 100 s.
    cores = follow(allocation, policy(allocation, day_seconds=100.0), CORES, [{USED: 0.3}] * 42, start=start)
    assert cores == pytest.approx([1.2] * 41 + [TARGET], rel=1e-3)


def test_without_a_reading_the_request_stays(allocation, follow):
    cores = follow(allocation, policy(allocation, day_seconds=1.0), CORES, [{USED: float("nan")}] * 5)
    assert cores == pytest.approx([0.5] * 5, rel=1e-3)
