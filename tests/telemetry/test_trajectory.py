"""Levels of the next day."""

import numpy as np
import pytest

from telemetry.climatology import past_of
from telemetry.trajectory import LARGEST_MEMORY, expected_levels, trajectory

HOURS = np.arange(30 * 24)
DAILY = 10.0 + 5.0 * np.sin(HOURS * np.pi / 12)


def test_a_daily_metric_is_foretold_exactly():
    found = trajectory(DAILY[:-24])
    np.testing.assert_allclose(found.expected, DAILY[-24:], atol=1e-9)


def test_a_deviation_fades_but_keeps_its_sign():
    rng = np.random.default_rng(0)
    noise = np.zeros(len(HOURS))
    for hour in range(1, len(HOURS)):
        noise[hour] = 0.8 * noise[hour - 1] + rng.normal(0, 0.5)
    levels = DAILY + noise
    levels[-1] = DAILY[-1] + 8.0
    excess = expected_levels(past_of(levels, np.array([len(levels) - 1])))[0] - DAILY[:24]
    assert excess[0] > 4.0
    assert abs(excess[-1]) < 1.5


def test_bands_hold_about_what_they_promise():
    rng = np.random.default_rng(1)
    levels = DAILY + rng.normal(size=len(HOURS))
    inside = []
    for end in range(400, 690, 24):
        found = trajectory(levels[:end])
        inside.append((levels[end : end + 24] >= found.low) & (levels[end : end + 24] <= found.high))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.08)


def test_a_young_metric_has_levels_where_an_hour_of_day_was_seen_but_no_bands():
    found = trajectory(DAILY[:30])
    assert np.isfinite(found.expected).all()
    assert np.isnan(found.low).all()


def test_a_metric_that_never_moves_stays():
    found = trajectory(np.full(300, 7.0))
    assert (found.expected == 7.0).all()
    assert LARGEST_MEMORY < 1.0
