"""Whose breach it is: the trials of a recorded run on the testbed, and what must be blamed nevertheless."""

import numpy as np
import pytest

from controller.evidence import Noise
from controller.judge import Judge
from controller.trial import Outcome, Period, Trial, TrialConfig
from envs.spec import Role, SystemSpec

SPEC = SystemSpec.load("reference")
SLOS = [slo.name for slo in SPEC.slos]
LATENCY, MODEL, INGEST = (SLOS.index(name) for name in ("latency", "model_freshness", "ingest_freshness"))
GOOD = {"latency": 1.0, "accuracy": 0.85, "model_freshness": 8.0, "ingest_freshness": 0.5}
JUDGE = Judge(SPEC, TrialConfig())


def period(time, value=1.0, **readings):
    """As the judge makes it of a snapshot with these readings of the SLOs' metrics."""
    told = np.array([{**GOOD, **readings}[name] for name in SLOS])
    excess = [
        told[i] - slo.at_most if slo.at_most is not None else slo.at_least - told[i] for i, slo in enumerate(SPEC.slos)
    ]
    scale = np.array([slo.at_most if slo.at_most is not None else slo.at_least for slo in SPEC.slos])
    breaches = np.where(np.isnan(told), np.nan, 0.5 * (np.array(excess) > 0) + 0.5 * np.clip(excess / scale, 0.0, 1.0))
    value = value if np.isfinite(told).all() else float("nan")
    return Period(time, value, 1.0, -float(breaches.sum()), breaches, np.full(3, 100.0), readings=told)


def judged(before, since, workload="serving", adds=False, takes=True, noise=0.3):
    """The verdict on a change between two stretches of periods of a second."""
    baseline = [one for one in before if one.complete]
    found = Trial(
        "t-1", workload, Role.ALLOCATION, np.array([0]), np.array([0.6]), np.array([0.5]), adds, takes, 0.0, 0.0,
        baseline, Noise(noise, 40), Noise(noise, 40), list(since), before[-1],
    )  # fmt: skip
    return JUDGE.verdict(found, set())


def ages(start, count, name="model_freshness", first=-4.0):
    return [period(first + i, **{name: start + i}) for i in range(count)]


@pytest.mark.clause("E1")
def test_an_age_that_was_growing_before_the_change_is_waited_for_and_not_blamed_on_it():
    before, since = ages(11.0, 5), ages(16.0, 3, first=1.0)
    assert judged(before, since) is None
    verdict = judged(before, [*since, period(4.0, model_freshness=2.0), period(5.0, model_freshness=3.0)])
    assert verdict.outcome is Outcome.INCONCLUSIVE


@pytest.mark.clause("E2")
def test_an_age_that_goes_on_growing_until_it_is_bad_is_blamed_on_the_change():
    assert judged(ages(11.0, 5), ages(16.0, 6, first=1.0)) is None
    verdict = judged(ages(11.0, 5), ages(16.0, 8, first=1.0))
    assert verdict.outcome is Outcome.ROLLED_BACK
    assert "badly" in verdict.reason


@pytest.mark.clause("E2")
def test_an_age_that_jumps_is_blamed_on_the_change():
    since = [period(1.0 + i, model_freshness=17.0 + i) for i in range(3)]
    assert judged(ages(4.0, 5), since).outcome is Outcome.ROLLED_BACK


@pytest.mark.clause("E2")
def test_a_latency_is_no_age():
    before = [period(-4.0 + i) for i in range(5)]
    assert judged(before, [period(1.0 + i, latency=0.9) for i in range(3)]).outcome is Outcome.ROLLED_BACK


@pytest.mark.clause("E1")
def test_a_lag_that_was_too_long_already_and_goes_on_growing_is_not_the_changes_doing():
    before = ages(0.5, 5, "ingest_freshness")
    since = [period(1.0, ingest_freshness=5.5), period(2.0, ingest_freshness=6.5)]
    assert judged(before, since, workload="training") is None
    late = [period(1.0 + i, ingest_freshness=5.5 + i) for i in range(4)]
    verdict = judged(before, late, workload="training")
    assert verdict.outcome is Outcome.ROLLED_BACK, "what does not end soon is blamed after all"


@pytest.mark.clause("E2")
def test_a_latency_that_was_broken_before_the_change_is_blamed_on_it_all_the_same():
    before = [*[period(-4.0 + i) for i in range(4)], period(0.0, latency=0.3)]
    assert judged(before, [period(1.0, latency=0.35)]).outcome is Outcome.ROLLED_BACK


@pytest.mark.clause("E1")
def test_what_comes_back_bad_from_an_outage_that_began_before_the_change_is_not_its_doing():
    nan = float("nan")
    before = [*[period(-4.0 + i) for i in range(4)], period(0.0, latency=nan)]
    since = [period(1.0, latency=nan), period(2.0, latency=nan), period(3.0, latency=0.0)]
    assert judged(before, since, workload="training", adds=True, takes=False) is None
    back = [*since, period(4.0), period(5.0, latency=0.0)]
    verdict = judged(before, back, workload="training", adds=True, takes=False)
    assert verdict.outcome is Outcome.ROLLED_BACK, "it held in between"


@pytest.mark.clause("E2")
def test_an_outage_that_began_with_the_change_excuses_nothing():
    nan = float("nan")
    before = [period(-4.0 + i) for i in range(5)]
    assert judged(before, [period(1.0, latency=nan), period(2.0, latency=0.0)]).outcome is Outcome.ROLLED_BACK
