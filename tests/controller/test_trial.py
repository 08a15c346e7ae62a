import numpy as np
import pytest

from controller.arbiter import Move
from controller.trial import Judge, Outcome, Period, Trial, TrialConfig
from controller.trials import Trials
from envs.spec import Role, SystemSpec

SPEC = SystemSpec.load("reference")
SLOS = [slo.name for slo in SPEC.slos]
LATENCY, FRESHNESS = SLOS.index("latency"), SLOS.index("ingest_freshness")


def period(value=1.0, cost=1.0, breach=None, load=100.0, depth=0.55):
    breaches = np.zeros(len(SLOS))
    if breach is not None:
        breaches[breach] = depth
    return Period(0.0, value, cost, -float(breaches.sum()), breaches, np.full(3, load))


def trial(watched, baseline=5, workload="serving", adds=False, takes=False, before=None):
    base = [before or period() for _ in range(baseline)]
    return Trial(
        "t-1", workload, Role.TUNING, np.array([3]), np.array([8.0]), np.array([16.0]), adds, takes, 0.0, 0.0,
        base, 0.01, list(watched),
    )  # fmt: skip


def judged(trial, busy=frozenset()):
    return Judge(SPEC, TrialConfig()).verdict(trial, set(busy))


def test_trial_goes_on_until_its_window_is_over():
    assert judged(trial([period(), period()])) is None


def test_change_that_makes_nothing_worse_is_kept():
    verdict = judged(trial([period(), period(1.1), period(1.1)]))
    assert verdict.outcome is Outcome.KEEP
    assert verdict.gain == pytest.approx(0.1)


def test_settling_period_is_not_judged():
    assert judged(trial([period(0.1), period(), period()])).outcome is Outcome.KEEP


@pytest.mark.clause("E1")
def test_fall_of_the_score_is_rolled_back():
    assert judged(trial([period(), period(0.8), period(0.8)])).outcome is Outcome.ROLLED_BACK


def test_fall_within_the_margin_is_kept():
    assert judged(trial([period(), period(0.93), period(0.93)])).outcome is Outcome.KEEP


def test_fall_within_the_noise_is_kept():
    noisy = trial([period(), period(0.8), period(0.8)])
    noisy.noise = 0.2
    assert judged(noisy).outcome is Outcome.KEEP


def test_fall_at_another_load_is_inconclusive():
    verdict = judged(trial([period(), period(0.8, load=130.0), period(0.8, load=130.0)]))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "+30%" in verdict.reason


def test_new_breach_is_rolled_back():
    bad = [period(breach=LATENCY), period(breach=LATENCY), period(breach=LATENCY)]
    verdict = judged(trial(bad))
    assert verdict.outcome is Outcome.ROLLED_BACK
    assert "SLO latency" in verdict.reason


def test_one_bad_period_in_two_is_no_breach():
    assert (
        judged(trial([period(), period(breach=FRESHNESS), period()], workload="ingest")).reason
        != "SLO ingest_freshness"
    )


def test_breach_that_was_there_before_is_not_blamed_on_the_change():
    before = period(breach=LATENCY)
    assert judged(trial([before, before, before], before=before)).outcome is Outcome.KEEP


@pytest.mark.clause("E1")
def test_breach_while_the_load_rose_is_inconclusive():
    bad = period(breach=LATENCY, load=130.0)
    assert judged(trial([bad, bad, bad])).outcome is Outcome.INCONCLUSIVE


def test_breach_after_taking_capacity_is_rolled_back_whatever_the_load_does():
    bad = period(breach=LATENCY, load=130.0)
    assert judged(trial([bad, bad, bad], takes=True)).outcome is Outcome.ROLLED_BACK


def test_breach_of_another_workload_under_trial_is_not_ours():
    bad = period(breach=FRESHNESS)
    found = trial([bad, bad, bad])
    for watched in found.watched:
        object.__setattr__(watched, "slo", 0.0)
    assert judged(found, busy={"ingest"}).outcome is Outcome.KEEP
    assert judged(found).outcome is Outcome.ROLLED_BACK


@pytest.mark.clause("E2")
def test_bad_breach_is_rolled_back_without_waiting():
    verdict = judged(trial([period(breach=LATENCY, depth=0.9)]))
    assert verdict.outcome is Outcome.ROLLED_BACK
    assert "right after" in verdict.reason


def test_added_capacity_is_not_taken_back_in_a_breach_of_its_own_workload():
    bad = period(breach=LATENCY, depth=0.9)
    assert judged(trial([bad, bad, bad], adds=True)).outcome is Outcome.INCONCLUSIVE


def test_added_capacity_is_not_blamed_for_its_price():
    assert judged(trial([period(), period(cost=1.3), period(cost=1.3)], adds=True)).outcome is Outcome.KEEP


def test_added_capacity_that_costs_useful_work_is_rolled_back():
    assert judged(trial([period(), period(0.7), period(0.7)], adds=True)).outcome is Outcome.ROLLED_BACK


@pytest.mark.clause("E5")
@pytest.mark.parametrize(("adds", "outcome"), [(False, Outcome.ROLLED_BACK), (True, Outcome.INCONCLUSIVE)])
def test_missing_readings_are_no_success(adds, outcome):
    assert judged(trial([period(), period(), period(float("nan"))], adds=adds)).outcome is outcome


def test_without_a_baseline_nothing_is_proven():
    assert judged(trial([period(), period(), period()], baseline=0)).outcome is Outcome.INCONCLUSIVE


def test_a_pause_does_not_overflow_however_often_a_change_fails():
    trials = Trials(SPEC, TrialConfig(), "run")
    setting = SPEC.default_setting
    changed = setting + 1.0
    for number in range(1100):
        trials.open(Move("serving", Role.TUNING, (0,), (1.0,), False, False, 0.0), setting, changed, float(number))
        trials.end("serving", Outcome.ROLLED_BACK, "worse", float(number))
    assert trials.pause_left("serving", Role.TUNING, 1099.0) == TrialConfig().longest_backoff_seconds
