"""What an issue is, and what is to be foretold of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from telemetry.issues import (
    HOUR,
    TARGETS,
    IssueError,
    Target,
    first_hour,
    hourly_levels,
    issues,
    labels,
    onsets,
    predictability,
    seasonal_skill,
    widened,
)

LIMIT = 10.0


@pytest.mark.parametrize(("over", "expected"), [(2, 0.0), (3, 1.0), (12, 1.0)])
def test_an_issue_needs_a_quarter_of_the_hour_over_the_limit(over: int, expected: float) -> None:
    values = np.zeros(12)
    values[:over] = 11.0
    assert issues(hourly_levels(values, 300.0), LIMIT).tolist() == [expected]


@given(arrays(np.float64, (24,), elements=st.floats(0, 20)), st.floats(0, 20))
def test_the_level_is_over_a_limit_exactly_when_the_metric_was_for_a_quarter_of_the_hour(
    values: np.ndarray, limit: float
) -> None:
    expected = (values.reshape(2, 12) > limit).sum(axis=1) * 300.0 >= 900.0
    assert issues(hourly_levels(values, 300.0), limit).tolist() == expected.astype(float).tolist()


def test_hours_of_which_half_is_missing_are_not_known() -> None:
    values = np.full(24, 11.0)
    values[:7] = np.nan
    assert np.isnan(hourly_levels(values, 300.0)).tolist() == [True, False]


def test_hours_begin_with_the_clock() -> None:
    values = np.r_[np.full(6, 5.0), np.full(12, 7.0), np.full(6, 9.0)]
    assert hourly_levels(values, 300.0, start=HOUR / 2).tolist() == [7.0]
    assert first_hour(HOUR / 2) == HOUR


@pytest.mark.parametrize("step", [7200.0, 700.0, 0.0])
def test_steps_that_do_not_make_an_hour_are_refused(step: float) -> None:
    with pytest.raises(IssueError, match="whole number"):
        hourly_levels(np.zeros(10), step)


def test_an_exact_label_is_the_issue_of_that_very_hour() -> None:
    issue = np.array([0.0, 1.0, 0.0, np.nan])
    np.testing.assert_array_equal(labels(issue, Target("", 1)), [1.0, 0.0, np.nan, np.nan])


def test_within_is_settled_by_one_issue_and_denied_only_when_all_hours_are_known() -> None:
    issue = np.array([0.0, np.nan, 1.0, 0.0, 0.0, np.nan])
    np.testing.assert_array_equal(labels(issue, Target("", 2, within=True)), [1.0, 1.0, 0.0, np.nan, np.nan, np.nan])


@given(arrays(np.int8, (40,), elements=st.integers(0, 1)), st.sampled_from(TARGETS), st.integers(0, 39))
def test_no_label_depends_on_hours_beyond_its_lead(issue: np.ndarray, target: Target, hour: int) -> None:
    changed = issue.astype(float)
    changed[hour + target.lead + 1 :] = 1.0 - changed[hour + target.lead + 1 :]
    before, after = labels(issue.astype(float), target)[hour], labels(changed, target)[hour]
    assert before == after or (np.isnan(before) and np.isnan(after))


def test_an_onset_follows_six_calm_hours() -> None:
    issue = np.r_[np.zeros(6), 1.0, 0.0, 1.0, np.zeros(5), 1.0]
    assert np.flatnonzero(onsets(issue)).tolist() == [6]


def test_tolerance_reaches_one_hour_to_either_side() -> None:
    assert widened(np.array([0, 0, 1, 0, 0], dtype=bool)).tolist() == [False, True, True, True, False]


def test_a_daily_metric_is_strongly_predictable_and_noise_is_not() -> None:
    hours = np.arange(20 * 24)
    rng = np.random.default_rng(0)
    daily = np.sin(hours * np.pi / 12) + rng.normal(0, 0.05, len(hours))
    assert predictability(seasonal_skill(daily)) == "strong"
    assert predictability(seasonal_skill(rng.normal(size=len(hours)))) == "weak"


def test_what_never_moves_or_is_too_young_has_no_known_skill() -> None:
    assert np.isnan(seasonal_skill(np.ones(500)))
    assert np.isnan(seasonal_skill(np.arange(48.0)))
    assert predictability(float("nan")) == "weak"
