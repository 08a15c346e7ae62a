import numpy as np
import pytest

from agents.heuristics.aimd import AimdParameters, AimdPolicy, BatchAimdPolicy

PARAMETERS = AimdParameters(increase_cores=0.1, decrease=0.8, slack=0.3, increase_batch=2.0, decrease_batch=0.5)


def asked(task, action, knob):
    scaled = np.zeros(len(task.spec.knobs))
    scaled[task.knobs] = action
    return task.knob_scaling.unscale(scaled)[task.spec.knob_index(knob)]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ({"serving_within_slo_ratio": 0.9, "serving_latency_p99_seconds": 0.2}, 0.6),  # SLO missed: + 0.1
        ({"serving_latency_p99_seconds": 0.05, "serving_cpu_used_cores": 0.2}, 0.4),  # calm: x 0.8
        ({"serving_latency_p99_seconds": 0.12, "serving_cpu_used_cores": 0.2}, 0.5),  # latency leaves too little
        ({"serving_latency_p99_seconds": 0.05, "serving_cpu_used_cores": 0.4}, 0.5),  # CPU leaves too little
        ({"serving_latency_p99_seconds": float("nan"), "serving_cpu_used_cores": 0.2}, 0.5),  # not known: neither
    ],
)
def test_serving_cores_rise_by_a_constant_and_fall_by_a_factor(allocation, observe, readings, expected):
    action = AimdPolicy(allocation, PARAMETERS).act(observe(**readings))
    assert asked(allocation, action, "serving_cpu_cores") == pytest.approx(expected, rel=1e-3)


def test_a_growing_backlog_adds_cores(allocation, observe):
    policy = AimdPolicy(allocation, PARAMETERS)
    policy.act(observe(training_backlog_samples=5000.0))
    action = policy.act(observe(training_backlog_samples=6000.0))
    assert asked(allocation, action, "training_cpu_cores") == pytest.approx(0.6, rel=1e-3)


def test_reset_forgets_the_backlog(allocation, observe):
    policy = AimdPolicy(allocation, PARAMETERS)
    policy.act(observe(training_backlog_samples=5000.0))
    policy.reset()
    action = policy.act(observe(training_backlog_samples=6000.0))
    assert asked(allocation, action, "training_cpu_cores") == pytest.approx(0.4, rel=1e-3)


def test_a_late_ingest_gets_cores(allocation, observe):
    action = AimdPolicy(allocation, PARAMETERS).act(observe(ingest_lag_seconds=5.0))
    assert asked(allocation, action, "ingest_cpu_cores") == pytest.approx(0.6, rel=1e-3)


def test_batch_grows_while_latency_holds_and_shrinks_when_it_does_not(tuning, observe, spec):
    policy = BatchAimdPolicy(tuning, spec.default_setting, PARAMETERS)
    latencies = [0.05, 0.05, 0.3, float("nan")]
    batches = [
        asked(tuning, policy.act(observe(serving_latency_p99_seconds=latency)), "serving_batch_size")
        for latency in latencies
    ]
    assert batches == [10, 12, 6, 6]  # from the default of 8


def test_batch_rule_leaves_the_other_tuning_knobs_alone(tuning, observe, spec):
    setting = spec.default_setting
    setting[spec.knob_index("training_batch_size")] = 64
    action = BatchAimdPolicy(tuning, setting, PARAMETERS).act(observe())
    assert asked(tuning, action, "training_batch_size") == 64


@pytest.mark.parametrize(("policy", "role"), [(AimdPolicy, "tuning"), (BatchAimdPolicy, "allocation")])
def test_each_rule_refuses_the_other_role(policy, role, allocation, tuning, spec):
    task = {"allocation": allocation, "tuning": tuning}[role]
    arguments = (task,) if policy is AimdPolicy else (task, spec.default_setting)
    with pytest.raises(ValueError, match="role"):
        policy(*arguments)
