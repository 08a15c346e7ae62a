"""`trimtab bench prescale`."""

import pytest

from envs.spec import SystemSpec
from training.bench_prescale import bench_prescale, upper_coverage
from training.protocol import load_protocol

SPEC = SystemSpec.load("reference")


def test_the_upper_end_of_forecasts_holds_most_of_what_comes_and_not_all():
    demands = load_protocol().demands("validation", SPEC.control_period_seconds)[:2]
    shares = upper_coverage(SPEC, demands, periods=150)
    assert list(shares) == ["10s", "60s"]
    assert all(0.6 < share < 0.98 for share in shares.values())


def test_a_threshold_that_is_never_reached_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("training.bench_prescale.WARM_UP", 5)
    found = bench_prescale((1.5,), episodes=1, periods=70, days=1, which="validation")
    row = found["with"]["1.5"]
    assert (row["efficiency_gain"], row["slo_attainment_delta"], row["raised_periods"]) == (0.0, 0.0, 0.0)
