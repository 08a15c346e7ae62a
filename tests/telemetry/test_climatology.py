"""The hour-of-day table."""

import numpy as np
import pytest

from telemetry.climatology import DAYS, PAST_HOURS, issue_frequency, past_of, same_hours
from telemetry.issues import DAY_HOURS, TARGETS, Target

HOURS = np.arange(30 * DAY_HOURS, dtype=float)


def test_the_past_is_newest_first_and_unknown_before_the_beginning() -> None:
    past = past_of(HOURS, np.array([2]))
    assert past.shape == (1, PAST_HOURS)
    assert past[0, :3].tolist() == [2.0, 1.0, 0.0]
    assert np.isnan(past[0, 3:]).all()


@pytest.mark.parametrize("lead", [1, 6, 24])
def test_same_hours_are_whole_days_before_the_target(lead: int) -> None:
    origin = 400
    found = same_hours(past_of(HOURS, np.array([origin])), Target("", lead))[0]
    assert found.tolist() == [origin + lead - DAY_HOURS * day for day in range(1, DAYS + 1)]


def test_within_takes_the_highest_of_the_target_s_hours() -> None:
    found = same_hours(past_of(HOURS, np.array([400])), Target("", 6, within=True))[0]
    assert found[0] == 400 + 6 - DAY_HOURS  # levels grow, so it is the last hour


def test_an_issue_every_day_at_nine_is_foretold_at_nine() -> None:
    levels = (HOURS % 24 == 9).astype(float)
    origins = np.array([400 - 400 % 24 + 8, 400 - 400 % 24 + 9])  # an hour before nine, and at nine
    found = issue_frequency(past_of(levels, origins), np.full(2, 0.5), Target("", 1))
    assert found[0] > 0.9
    assert found[1] < 0.05


@pytest.mark.parametrize("target", TARGETS)
def test_frequencies_are_probabilities_even_without_any_history(target: Target) -> None:
    past = np.full((1, PAST_HOURS), np.nan)
    found = issue_frequency(past, np.array([1.0]), target)
    assert 0.0 < found[0] < 1.0
