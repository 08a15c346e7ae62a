import pytest

from agents.heuristics.hpa import FAST, HpaParameters, HpaPolicy
from agents.heuristics.threshold import ThresholdParameters, ThresholdPolicy

CORES, USED = "serving_cpu_cores", "serving_cpu_used_cores"


def half(**given):
    return HpaParameters(serving=0.5, training=0.5, ingest=0.5, **given)


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (0.25, 0.5),  # ratio 1
        (0.27, 0.5),  # ratio 1.08: within the tolerance
        (0.30, 0.6),  # ratio 1.2
        (0.20, 0.4),  # ratio 0.8
        (float("nan"), 0.5),  # not known
    ],
)
def test_cores_follow_use_over_target(allocation, follow, spec, used, expected):
    policy = HpaPolicy(allocation, spec.default_setting, half(sync_seconds=1.0, window_seconds=1.0))
    assert follow(allocation, policy, CORES, [{USED: used}]) == pytest.approx([expected], rel=1e-3)


def test_a_grant_at_most_doubles_in_one_sync(allocation, follow, spec):
    parameters = HpaParameters(serving=0.2, sync_seconds=1.0, window_seconds=1.0)
    policy = HpaPolicy(allocation, spec.default_setting, parameters)
    assert follow(allocation, policy, CORES, [{USED: 0.5}]) == pytest.approx([1.0], rel=1e-3)  # ratio 5


def test_use_is_averaged_from_sync_to_sync(allocation, follow, spec):
    policy = HpaPolicy(allocation, spec.default_setting, half(sync_seconds=3.0, window_seconds=3.0))
    readings = [{USED: used} for used in (0.25, 0.2, 0.4, 0.3, 0.6)]
    # The first period is a sync; the fourth is the next, at a mean of 0.3: ratio 1.2.
    assert follow(allocation, policy, CORES, readings) == pytest.approx([0.5, 0.5, 0.5, 0.6, 0.6], rel=1e-3)


def test_a_missing_reading_does_not_spoil_the_average(allocation, follow, spec):
    policy = HpaPolicy(allocation, spec.default_setting, half(sync_seconds=3.0, window_seconds=3.0))
    readings = [{USED: used} for used in (0.25, 0.2, float("nan"), 0.4)]
    assert follow(allocation, policy, CORES, readings)[-1] == pytest.approx(0.6, rel=1e-3)


def test_cores_go_down_only_as_far_as_the_window_allows(allocation, follow, spec):
    policy = HpaPolicy(allocation, spec.default_setting, half(sync_seconds=1.0, window_seconds=3.0))
    readings = [{USED: used} for used in (0.4, 0.2, 0.2, 0.2)]
    assert follow(allocation, policy, CORES, readings) == pytest.approx([0.8, 0.8, 0.8, 0.4], rel=1e-3)


def test_the_published_one_remembers_a_peak_for_five_minutes(allocation, follow, spec):
    policy = HpaPolicy(allocation, spec.default_setting)
    cores = follow(allocation, policy, CORES, [{USED: 0.5}] + [{USED: 0.2}] * 301)
    # 0.5 / 0.8 at once; then the same for 300 s, in which 0.2 / 0.8 is recommended every 15 s.
    assert cores == pytest.approx([0.625] * 300 + [0.25] * 2, rel=1e-3)


def test_the_fast_one_is_the_threshold_rule_with_a_window_of_twenty(allocation, follow, spec):
    loads = [{USED: 0.3 + 0.1 * (period % 7) / 7} for period in range(60)]
    hpa = HpaPolicy(allocation, spec.default_setting, FAST)
    threshold = ThresholdPolicy(allocation, ThresholdParameters(0.8, 0.8, 0.8, window_periods=20))
    expected = follow(allocation, threshold, CORES, loads)
    assert follow(allocation, hpa, CORES, loads) == pytest.approx(expected, rel=1e-6)
