import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.success import not_rolled_back, success_rate, wilson


def record(*verdicts):
    return {"kind": "decision", "verdicts": [{"outcome": o, "gain_interval": i} for o, i in verdicts]}


@pytest.mark.clause("E6")
def test_success_is_kept_with_a_proven_gain_and_nothing_else():
    records = [
        {"kind": "intent"},
        record(("keep", [0.01, 0.1]), ("keep", [-0.01, 0.1]), ("keep", [None, None]), ("keep", None)),
        record(("rolled_back", [0.1, 0.2]), ("inconclusive", [0.1, 0.2]), ("superseded", None), ("undone", None)),
    ]
    found = success_rate(records)
    judged = {"keep": 4, "rolled_back": 1, "inconclusive": 1, "undone": 1}
    assert found.counts == {**judged, "superseded": 1, "proven": 1}
    assert found.rate == pytest.approx(1 / 7)
    assert found.low < found.rate < found.high
    assert not_rolled_back(found.counts).rate == pytest.approx(5 / 7), "what is undone for want of proof did not stay"


def test_nothing_judged_is_no_rate():
    assert math.isnan(success_rate([]).rate)


def test_none_and_all_of_many_lie_in_their_intervals():
    assert wilson(0, 48)[0] == 0.0
    assert wilson(48, 48)[1] == 1.0


def test_interval_as_in_the_textbook():
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=0.001)


@given(st.integers(0, 500), st.integers(1, 500))
def test_interval_holds_the_share(successes, more):
    low, high = wilson(successes, trials := successes + more)
    assert 0.0 <= low <= successes / trials <= high <= 1.0
