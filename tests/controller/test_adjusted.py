"""What counts in comparing the periods around a change: nothing that others did meanwhile."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adjusted import useful_work
from controller.arbiter import Move
from controller.trial import Period, Trial, TrialConfig
from controller.trials import Trials
from envs.spec import Role, SystemSpec
from plants import HEALTHY
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
WORKLOADS = list(SPEC.workloads)
SERVING, TRAINING = WORKLOADS.index("serving"), WORKLOADS.index("training")
READINGS = np.array([HEALTHY.get(name, 0.0) for name in SPEC.catalogue.names])
SHARES, PRICES = (0.5, 0.3, 0.1), (0.4, 0.3, 0.1)


def period(shares=SHARES, prices=PRICES, rest=0.1):
    cost = sum(prices) + rest
    return Period(
        0.0, sum(shares), cost, 0.0, np.zeros(len(SPEC.slos)), np.full(3, 100.0), np.array(shares), np.array(prices)
    )


def compared(since, before=None, adds=False, aside=()):
    baseline = before or [period()] * 5
    trial = Trial(
        "t", "serving", Role.ALLOCATION, np.array([0]), np.array([0.6]), np.array([0.5]), adds, not adds, 0.0, 0.0,
        baseline,
    )  # fmt: skip
    return useful_work(trial, since, SERVING, aside)


def test_the_own_price_counts():
    before, after = compared([period(prices=(0.3, 0.3, 0.1))])
    assert before.mean() == pytest.approx(0.9)
    assert after.mean() == pytest.approx(0.9 * 0.9 / 0.8)


@given(st.floats(0.0, 5.0), st.floats(0.0, 5.0))
def test_what_others_are_granted_meanwhile_changes_nothing(training, ingest):
    before, after = compared([period(prices=(0.4, training, ingest))])
    assert after.mean() == pytest.approx(before.mean())


@given(st.floats(0.0, 1.5))
def test_the_work_of_a_workload_left_aside_counts_as_before(share):
    before, after = compared([period(shares=(0.5, share, 0.1))], aside=[TRAINING])
    assert after.mean() == pytest.approx(before.mean())


def test_a_checkpoint_written_in_one_period_is_no_lasting_price():
    since = [period(), period(rest=0.2), period()]
    assert compared(since)[1].mean() == pytest.approx(0.9)
    assert compared([period(rest=0.2)] * 3)[1].mean() == pytest.approx(0.9 * 0.9 / 1.0)


def test_added_capacity_is_not_charged():
    assert compared([period(prices=(0.6, 0.3, 0.1))], adds=True)[1].mean() == pytest.approx(0.9)


def test_periods_of_an_old_journal_are_compared_as_they_were():
    old = Period(0.0, 1.0, 0.5, 0.0, np.zeros(4), np.full(3, 100.0))
    new = Period(0.0, 1.0, 1.0, 0.0, np.zeros(4), np.full(3, 100.0))
    assert compared([new], before=[old] * 2, aside=[TRAINING])[1].mean() == pytest.approx(0.5)


def move(workload, knob, adds=False):
    return Move(workload, Role.TUNING, (knob,), (1.0,), adds, False, 0.0)


def opened(trials, workload, now, adds=False):
    knob = next(i for i, k in enumerate(SPEC.knobs) if k.workload == workload and k.role is Role.TUNING)
    changed = SPEC.default_setting.copy()
    changed[knob] += 1.0
    return trials.open(move(workload, knob, adds), SPEC.default_setting, changed, now)


@pytest.mark.clause("D3")
def test_the_work_of_whoever_is_changed_meanwhile_is_left_aside():
    trials = Trials(SPEC, TrialConfig(), "run")
    first, together = opened(trials, "serving", 1.0), opened(trials, "training", 1.0)
    later = opened(trials, "ingest", 2.0)
    assert (first.aside, together.aside) == (["training", "ingest"], ["serving", "ingest"])
    assert later.aside == [], "the changes before it are in its baseline"


def test_capacity_that_others_get_meanwhile_is_no_reason_to_leave_them_aside():
    trials = Trials(SPEC, TrialConfig(), "run")
    first = opened(trials, "serving", 1.0)
    opened(trials, "training", 2.0, adds=True)
    assert first.aside == []


@pytest.mark.clause("E1")
def test_a_restart_elsewhere_begins_a_trial_anew_and_leaves_that_work_aside():
    trials = Trials(SPEC, TrialConfig(), "run")
    for now in range(4):
        trials.observe(Snapshot(float(now), READINGS), SPEC.default_setting)
    found = opened(trials, "serving", 3.0)
    trials.observe(Snapshot(4.0, READINGS), SPEC.default_setting)
    trials.restarted("training", 4.0)
    trials.restarted("nobody", 4.0)
    assert (found.watched, found.aside) == ([], ["training"])
    assert found.last.time == 4.0
    assert len(found.baseline) == 4, "what it did before stays what it is compared with"


@pytest.mark.clause("E1")
def test_after_a_restoration_nothing_is_compared_with_what_was_before():
    trials = Trials(SPEC, TrialConfig(), "run")
    for now in range(5):
        trials.observe(Snapshot(float(now), READINGS), SPEC.default_setting)
    trials.forget(4.0)
    assert all(trials.baseline(workload) == [] for workload in SPEC.workloads)
    for now in range(5, 8):
        trials.observe(Snapshot(float(now), READINGS), SPEC.default_setting)
    assert [period.time for period in trials.baseline("serving")] == [6.0, 7.0]
