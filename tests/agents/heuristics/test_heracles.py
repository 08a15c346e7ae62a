import pytest

from agents.heuristics.heracles import HeraclesParameters, HeraclesPolicy

SERVING, TRAINING = "serving_cpu_cores", "training_cpu_cores"
GOOD = {"serving_latency_p99_seconds": 0.05, "serving_cpu_used_cores": 0.2}
MISSED = {"serving_latency_p99_seconds": 0.2, "serving_cpu_used_cores": 0.2}
EVERY = HeraclesParameters(poll_seconds=1.0, cooldown_seconds=3.0)
"""Of the 1.5 cores ingest is held at 0.5, so that 1 core is divided; training starts at 0.5."""


def cores(follow, task, knob, readings, parameters=EVERY):
    return follow(task, HeraclesPolicy(task, task.spec.default_setting, parameters), knob, readings)


def test_training_grows_by_a_unit_every_two_seconds_while_latency_has_slack(allocation, follow):
    assert cores(follow, allocation, TRAINING, [GOOD] * 4) == pytest.approx([0.6, 0.6, 0.7, 0.7], rel=1e-3)


def test_serving_has_what_training_leaves(allocation, follow):
    assert cores(follow, allocation, SERVING, [GOOD] * 3) == pytest.approx([0.4, 0.4, 0.3], rel=1e-3)


def test_training_does_not_grow_while_slack_is_small(allocation, follow):
    close = GOOD | {"serving_latency_p99_seconds": 0.138}  # slack 0.08
    assert cores(follow, allocation, TRAINING, [close] * 3) == pytest.approx([0.5] * 3, rel=1e-3)


def test_training_shrinks_when_slack_is_very_small(allocation, follow):
    close = GOOD | {"serving_latency_p99_seconds": 0.145}  # slack 0.03
    assert cores(follow, allocation, TRAINING, [close]) == pytest.approx([0.1], rel=1e-3)


def test_a_missed_deadline_stops_training_for_the_cooldown(allocation, follow):
    # It starts three periods later, at the knob's minimum, and grows by a unit at once.
    seen = cores(follow, allocation, TRAINING, [MISSED, GOOD, GOOD, GOOD])
    assert seen == pytest.approx([0.05, 0.05, 0.05, 0.15], rel=1e-3)


def test_a_high_load_stops_training_until_it_is_lower(allocation, follow):
    # Serving can have 0.95 cores: loads 0.95, 0.82 (between the bounds: as it was) and 0.21.
    readings = [GOOD | {"serving_cpu_used_cores": used} for used in (0.9, 0.78, 0.2)]
    assert cores(follow, allocation, TRAINING, readings) == pytest.approx([0.05, 0.05, 0.15], rel=1e-3)


def test_between_two_polls_nothing_is_noticed(allocation, follow):
    parameters = HeraclesParameters(poll_seconds=3.0, growth_seconds=100.0)
    seen = cores(follow, allocation, TRAINING, [GOOD, MISSED, MISSED, MISSED], parameters)
    assert seen == pytest.approx([0.6, 0.6, 0.6, 0.05], rel=1e-3)


def test_a_smaller_machine_leaves_cores_unreserved(allocation, follow):
    parameters = HeraclesParameters(machine=0.8)  # 1.2 cores, less 0.5 of ingest, less 0.6 of training
    assert cores(follow, allocation, SERVING, [GOOD], parameters) == pytest.approx([0.1], rel=1e-3)


def test_without_a_latency_nothing_starts_or_grows(allocation, follow):
    unknown = GOOD | {"serving_latency_p99_seconds": float("nan")}
    seen = cores(follow, allocation, TRAINING, [unknown, MISSED, *[unknown] * 5])
    assert seen == pytest.approx([0.5] + [0.05] * 6, rel=1e-3)
