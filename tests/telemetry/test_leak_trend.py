"""Time to the limit of what grows steadily."""

import numpy as np
import pytest

from telemetry.leak_trend import time_to_limit

HOURS = np.arange(72.0)


def test_a_leak_reaches_its_limit_when_the_line_does():
    found = time_to_limit(10.0 + 0.5 * HOURS, limit=10.0 + 0.5 * 81)
    assert found is not None
    assert found.seconds == pytest.approx(10 * 3600)
    assert found.slope_per_hour == pytest.approx(0.5)


def test_the_interval_holds_the_truth_for_noisy_leaks():
    inside = 0
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(0, 1.0, len(HOURS))
        found = time_to_limit(0.5 * HOURS + noise, limit=0.5 * 91)
        assert found is not None
        inside += found.earliest - 3600 <= 20 * 3600 <= found.latest + 3600
    assert inside >= 36


@pytest.mark.parametrize(
    "levels",
    [
        10.0 + 5.0 * np.sin(HOURS * np.pi / 12),
        np.random.default_rng(0).normal(size=72),
        np.full(72, 5.0),
        10.0 - 0.1 * HOURS,
        HOURS[:8],
        np.full(72, np.nan),
        1e-4 * HOURS,
    ],
    ids=["daily", "noise", "constant", "falling", "too young", "unknown", "too slow"],
)
def test_what_does_not_grow_steadily_has_no_time_to_limit(levels):
    assert time_to_limit(levels, limit=100.0) is None


def test_what_is_over_the_limit_already_has_none():
    assert time_to_limit(HOURS, limit=50.0) is None


def test_a_leak_with_missing_hours_is_still_seen():
    levels = 0.5 * HOURS
    levels[::3] = np.nan
    levels[-1] = 0.5 * 71
    found = time_to_limit(levels, limit=0.5 * 81)
    assert found is not None
    assert found.seconds == pytest.approx(10 * 3600, rel=0.02)
