"""Baselines: frequencies in the past of a metric."""

import numpy as np
import pytest

from telemetry.forecast_baselines import CLIMATOLOGY, PERSISTENCE, PERSISTENCE_AND_SEASON, SEASONAL_NAIVE, baselines
from telemetry.issues import Target

AT_NINE = (np.arange(20 * 24) % 24 == 9).astype(float)
ORIGINS = np.array([14 * 24 + 8, 14 * 24 + 9])  # before nine, and at nine


def test_climatology_is_the_base_rate():
    found = baselines(AT_NINE, Target("", 1), 14 * 24, ORIGINS)[CLIMATOLOGY]
    assert found == pytest.approx([1 / 24, 1 / 24], abs=0.01)


def test_the_season_is_seen_by_yesterday_and_persistence_is_not_fooled():
    found = baselines(AT_NINE, Target("", 1), 14 * 24, ORIGINS)
    assert found[SEASONAL_NAIVE][0] > 0.7
    assert found[PERSISTENCE][1] < 0.05  # an issue never lasts
    assert found[PERSISTENCE_AND_SEASON][0] > 0.7


def test_what_comes_after_the_training_part_changes_no_frequency():
    changed = AT_NINE.copy()
    changed[14 * 24 + 10 :] = 1.0
    for name, expected in baselines(AT_NINE, Target("", 1), 14 * 24, ORIGINS).items():
        assert baselines(changed, Target("", 1), 14 * 24, ORIGINS)[name].tolist() == expected.tolist()


def test_an_unknown_state_gets_the_base_rate():
    issue = AT_NINE.copy()
    issue[ORIGINS[0]] = np.nan
    found = baselines(issue, Target("", 1), 14 * 24, ORIGINS)
    assert found[PERSISTENCE][0] == found[CLIMATOLOGY][0]
