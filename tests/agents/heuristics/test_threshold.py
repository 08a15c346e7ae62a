import numpy as np
import pytest

from agents.heuristics.fallback import fallback_policy
from agents.heuristics.threshold import ThresholdParameters, ThresholdPolicy
from agents.policy import Policy

CASES = [
    # used of 0.5 cores granted, target 0.5 -> cores asked for
    (0.25, 0.5),  # ratio 1
    (0.27, 0.5),  # ratio 1.08: within the tolerance of 0.1
    (0.226, 0.5),  # ratio 0.904: within it
    (0.30, 0.6),  # ratio 1.2
    (0.50, 1.0),  # ratio 2
    (0.20, 0.4),  # ratio 0.8
]


def asked(task, action, knob):
    scaled = np.zeros(len(task.spec.knobs))
    scaled[task.knobs] = action
    return task.knob_scaling.unscale(scaled)[task.spec.knob_index(knob)]


@pytest.fixture
def eager(allocation):
    """Target one half, no stabilisation."""
    return ThresholdPolicy(allocation, ThresholdParameters(0.5, 0.5, 0.5, window_periods=1))


@pytest.mark.parametrize(("used", "expected"), CASES)
def test_cores_follow_the_rule_of_the_hpa(allocation, observe, eager, used, expected):
    action = eager.act(observe(serving_cpu_used_cores=used))
    assert asked(allocation, action, "serving_cpu_cores") == pytest.approx(expected, rel=1e-3)


def test_each_workload_has_its_own_target(allocation, observe):
    policy = ThresholdPolicy(allocation, ThresholdParameters(serving=0.5, training=0.8, window_periods=1))
    action = policy.act(observe(serving_cpu_used_cores=0.4, training_cpu_used_cores=0.5))
    assert asked(allocation, action, "serving_cpu_cores") == pytest.approx(0.8, rel=1e-3)
    assert asked(allocation, action, "training_cpu_cores") == pytest.approx(0.625, rel=1e-3)


def test_cores_go_up_at_once_and_down_only_after_the_window(allocation, observe):
    policy = ThresholdPolicy(allocation, ThresholdParameters(0.5, 0.5, 0.5, window_periods=3))
    loads = [0.40, 0.10, 0.10, 0.10]
    cores = [asked(allocation, policy.act(observe(serving_cpu_used_cores=u)), "serving_cpu_cores") for u in loads]
    assert cores == pytest.approx([0.8, 0.8, 0.8, 0.2], rel=1e-3)


def test_reset_forgets_the_window(allocation, observe):
    policy = ThresholdPolicy(allocation, ThresholdParameters(0.5, 0.5, 0.5, window_periods=3))
    policy.act(observe(serving_cpu_used_cores=0.4))
    policy.reset()
    action = policy.act(observe(serving_cpu_used_cores=0.1))
    assert asked(allocation, action, "serving_cpu_cores") == pytest.approx(0.2, rel=1e-3)


def test_a_missing_reading_keeps_what_is_granted(allocation, observe, eager):
    action = eager.act(observe(serving_cpu_used_cores=float("nan")))
    assert asked(allocation, action, "serving_cpu_cores") == pytest.approx(0.5, rel=1e-3)


def test_a_batch_with_its_own_parameters_gives_what_single_policies_give(allocation, observe):
    targets, windows = np.array([0.4, 0.6, 0.9]), np.array([1, 2, 3])
    batch = ThresholdPolicy(allocation, ThresholdParameters(targets, targets, targets, windows))
    singles = [
        ThresholdPolicy(allocation, ThresholdParameters(t, t, t, w)) for t, w in zip(targets, windows, strict=True)
    ]
    for used in (0.45, 0.1, 0.2, 0.05):
        observation = observe(serving_cpu_used_cores=used, training_cpu_used_cores=0.3)
        expected = [single.act(observation) for single in singles]
        np.testing.assert_array_equal(batch.act(np.tile(observation, (3, 1))), expected)


def test_the_rule_refuses_the_tuning_role(tuning):
    with pytest.raises(ValueError, match="allocation"):
        ThresholdPolicy(tuning)


def test_fallback_leaves_half_of_the_serving_cores_free(allocation, observe):
    policy = fallback_policy(allocation)
    action = policy.act(observe(serving_cpu_used_cores=0.4))
    assert asked(allocation, action, "serving_cpu_cores") == pytest.approx(0.8, rel=1e-3)


def test_fallback_of_tuning_holds_the_default(tuning, observe, spec):
    policy = fallback_policy(tuning)
    assert isinstance(policy, Policy)
    np.testing.assert_array_equal(policy.act(observe()), tuning.encode(spec.default_setting))
