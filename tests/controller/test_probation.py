from __future__ import annotations

import numpy as np
import pytest

from controller.decision import Decision, Mode
from controller.probation import Probation
from controller.shield import Reason, Refusal
from envs.spec import Role
from telemetry.metrics import Snapshot

SETTING = np.zeros(2)


def period(*reasons: Reason, complete: bool = True, asked: bool = True) -> Decision:
    decision = Decision(0.0, "", Mode.SHADOW, Snapshot(0.0, SETTING), SETTING, SETTING, SETTING, complete=complete)
    decision.proposals = {Role.TUNING: SETTING} if asked else {}
    decision.reasons = [Refusal(reason, "tuning: scripted failed") for reason in reasons]
    return decision


@pytest.mark.clause("L6")
def test_a_new_policy_acts_after_so_many_complete_periods() -> None:
    probation = Probation(3.0, 1.0)
    for _ in range(3):
        assert probation.mode(Mode.ACT) is Mode.SHADOW
        probation.observe(period(Reason.COOLDOWN))
    assert probation.over
    assert probation.mode(Mode.ACT) is Mode.ACT


@pytest.mark.clause("L6")
def test_a_failure_begins_the_count_anew_and_is_told() -> None:
    probation = Probation(3.0, 1.0)
    for reasons in ((), (), (Reason.FALLBACK,)):
        probation.observe(period(*reasons))
    assert probation.left == 3
    assert probation.failed == "fallback: tuning: scripted failed"


@pytest.mark.parametrize(
    "silent",
    [
        period(complete=False),
        period(Reason.FALLBACK, complete=False),
        period(asked=False),
        period(Reason.OUT_OF_DISTRIBUTION, Reason.NO_PROPOSAL),
    ],
)
def test_a_period_without_readings_or_question_counts_for_nothing(silent: Decision) -> None:
    probation = Probation(3.0, 1.0)
    probation.observe(period())
    probation.observe(silent)
    assert probation.left == 2


def test_lower_modes_are_not_touched_and_without_a_time_there_is_none() -> None:
    assert Probation(3.0, 1.0).mode(Mode.OFF) is Mode.OFF
    assert Probation(0.0, 1.0).over
