"""Thresholds from before each block, tolerance and onsets."""

import numpy as np
import pytest

from telemetry.issues import Target, onsets
from training.backtest_cohort import Cohort
from training.backtest_outcomes import Outcome

N = 300
RNG = np.random.default_rng(0)


NEXT_HOUR = Target("1h", 1)


def outcome(series, given, target=NEXT_HOUR, issue=None):
    issue = (RNG.random(N) < 0.2).astype(float) if issue is None else issue
    hours = np.arange(N)
    blocks = hours // 100
    truth = np.r_[issue[target.lead :], np.full(target.lead, np.nan)]
    matured = hours + target.lead < (blocks + 1) * 100
    given = np.where(np.isnan(truth), 0.0, truth) if given is None else given
    return Outcome(series, target, hours, blocks, matured, truth, issue == 0.0, onsets(issue), {"forecast": given})


def test_a_perfect_forecast_scores_one():
    cohort = Cohort([outcome(0, None), outcome(1, None)], np.array([False, True]))
    scores = cohort.counted(cohort.alarms("forecast", "balanced")).total(np.ones((1, 2))).scores()
    assert scores["balanced_accuracy"][0] == 1.0


def test_no_threshold_depends_on_its_own_block_or_on_hosts_held_out():
    first, second = outcome(0, RNG.random(N)), outcome(1, RNG.random(N))
    held_out = np.array([False, True])
    expected = Cohort([first, second], held_out).thresholds("forecast", "balanced")
    later = {"forecast": np.where(first.blocks == 2, RNG.random(N), first.given["forecast"])}
    other = {"forecast": RNG.random(N)}
    changed = [Outcome(**{**vars(first), "given": later}), Outcome(**{**vars(second), "given": other})]
    assert Cohort(changed, held_out).thresholds("forecast", "balanced") == expected


def test_forecasts_that_had_not_come_true_at_the_edge_set_no_threshold():
    target = Target("24h", 24)
    one = outcome(0, RNG.random(N), target)
    late = {"forecast": np.where(one.matured, one.given["forecast"], 1.0)}
    expected = Cohort([one], np.array([False])).thresholds("forecast", "balanced")
    again = Cohort([Outcome(**{**vars(one), "given": late})], np.array([False]))
    assert again.thresholds("forecast", "balanced") == expected


def test_an_alarm_an_hour_beside_the_issue_counts_with_tolerance_only():
    issue = (np.arange(N) % 24 == 10).astype(float)
    shifted = np.roll(np.r_[issue[1:], 0.0], 1)
    cohort = Cohort([outcome(0, shifted, issue=issue)], np.array([False]))
    alarm = shifted == 1.0
    assert cohort.counted(alarm).scores()["recall"][0] == 0.0
    tolerant = cohort.counted(alarm, tolerant=True).scores()
    assert tolerant["recall"][0] == 1.0
    assert tolerant["precision"][0] == 1.0
    assert tolerant["balanced_accuracy"][0] == 1.0


@pytest.mark.parametrize(("before", "lead"), [(3, 3), (6, 6), (7, None)])
def test_an_onset_is_announced_by_the_first_alarm_within_the_lead(before, lead):
    issue = np.zeros(N)
    issue[200:203] = 1.0
    cohort = Cohort([outcome(0, None, Target("within_6h", 6, within=True), issue)], np.array([False]))
    alarm = np.zeros(N, dtype=bool)
    alarm[200 - before] = True
    found = cohort.forewarned(alarm)
    assert found.onsets.tolist() == [1]
    assert found.leads[0].tolist() == ([] if lead is None else [lead])


def test_calm_origins_alone_are_counted_when_asked():
    cohort = Cohort([outcome(0, None)], np.array([False]))
    calm = cohort.counted(np.ones(N, dtype=bool), calm=True)
    every = cohort.counted(np.ones(N, dtype=bool))
    assert calm.given[0] < every.given[0]
