import pytest

from agents.heuristics.autopilot import AutopilotParameters, AutopilotPolicy


def policy(task, **parameters):
    return AutopilotPolicy(task, task.spec.default_setting, AutopilotParameters(**parameters))


def test_serving_gets_a_percentile_of_its_load_not_of_its_time(allocation, follow):
    readings = [{"serving_cpu_used_cores": used} for used in [0.05] * 19 + [0.5]]
    cores = follow(allocation, policy(allocation, window_seconds=1.0), "serving_cpu_cores", readings)
    # Of the time, 95 % need 0.05 cores; but of the load, 0.5 of 1.45 came at 0.5 cores, whose bucket ends at 0.511.
    assert cores[-1] == pytest.approx(1.15 * 0.2 * (1.05**26 - 1), rel=1e-3)


def test_training_gets_the_mean_of_its_use(allocation, follow):
    readings = [{"training_cpu_used_cores": used} for used in (0.2, 0.4)]
    cores = follow(allocation, policy(allocation, window_seconds=1.0), "training_cpu_cores", readings)
    assert cores == pytest.approx([1.15 * 0.2, 1.15 * 0.3], rel=1e-3)


def test_older_use_counts_less(allocation, follow):
    readings = [{"training_cpu_used_cores": used} for used in (0.2, 0.4)]
    rule = policy(allocation, half_life_seconds=1.0, window_seconds=1.0)
    cores = follow(allocation, rule, "training_cpu_cores", readings)
    assert cores[-1] == pytest.approx(1.15 * (0.5 * 0.2 + 0.4) / 1.5, rel=1e-3)


def test_the_limit_is_the_largest_recommendation_of_the_window(allocation, follow):
    readings = [{"training_cpu_used_cores": used} for used in (0.4, 0.1, 0.1, 0.1)]
    rule = policy(allocation, half_life_seconds=1e-3, window_seconds=3.0)  # each mean is the last use
    cores = follow(allocation, rule, "training_cpu_cores", readings)
    assert cores == pytest.approx([0.46, 0.46, 0.46, 0.115], rel=1e-3)


def test_without_a_reading_what_is_granted_stays(allocation, follow):
    cores = follow(allocation, policy(allocation), "serving_cpu_cores", [{"serving_cpu_used_cores": float("nan")}] * 2)
    assert cores == pytest.approx([0.5, 0.5], rel=1e-3)
