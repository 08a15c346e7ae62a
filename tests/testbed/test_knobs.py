import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.knobs import FenceError, Knob, KnobError, Knobs, VersionError


@pytest.fixture
def knobs():
    return Knobs(
        Knob("batch_size", default=8, low=1, high=64),
        Knob("timeout_seconds", default=0.005, low=0.0, high=0.05, integer=False),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 65),
        ("batch_size", 8.5),
        ("batch_size", True),
        ("batch_size", "8"),
        ("batch_size", None),
        ("batch_size", [8]),
        pytest.param("batch_size", 10**5000, id="batch_size-huge"),
        ("timeout_seconds", math.nan),
        ("timeout_seconds", math.inf),
        ("timeout_seconds", -math.inf),
        ("timeout_seconds", -0.001),
        ("batchsize", 8),
    ],
)
def test_a_value_that_is_not_allowed_changes_nothing(knobs, name, value):
    with pytest.raises(KnobError):
        knobs.apply({"timeout_seconds": 0.01, "batch_size": 16, name: value})
    assert knobs["batch_size"] == 8
    assert knobs["timeout_seconds"] == 0.005


def test_the_error_says_what_was_given_and_what_is_allowed(knobs):
    with pytest.raises(KnobError, match=r"batch_size was given 65; allowed is an integer from 1 to 64"):
        knobs.apply({"batch_size": 65})


def test_an_unknown_name_is_answered_with_the_known_ones(knobs):
    with pytest.raises(KnobError, match="'size'; the knobs here are: batch_size, timeout_seconds"):
        knobs.apply({"size": 1})


@pytest.mark.parametrize(("value", "applied"), [(1, 1), (64, 64), (16.0, 16)])
def test_whole_numbers_within_the_range_are_applied(knobs, value, applied):
    assert knobs.apply({"batch_size": value}) == {"batch_size": applied}
    assert knobs.count("batch_size") == applied


def test_a_default_out_of_range_is_refused_at_once():
    with pytest.raises(KnobError):
        Knobs(Knob("workers", default=0, low=1, high=4))


@pytest.mark.clause("A4")
def test_a_change_made_for_another_version_changes_nothing(knobs):
    seen = knobs.version
    knobs.apply({"timeout_seconds": 0.005})  # the value in force already
    with pytest.raises(VersionError, match=r"the knobs are at version .*-1, not '.*-0'; read them again"):
        knobs.apply({"batch_size": 16}, expected=seen)
    assert knobs["batch_size"] == 8
    knobs.apply({"batch_size": 16}, expected=knobs.version)
    assert knobs["batch_size"] == 16


def test_each_knob_tells_the_version_of_its_own_last_change(knobs):
    first = knobs.version
    knobs.apply({"batch_size": 16})
    described = knobs.describe()
    assert described["batch_size"]["version"] == knobs.version != first
    assert described["timeout_seconds"]["version"] == first


def test_after_a_restart_no_version_is_as_before(knobs):
    assert Knobs(Knob("batch_size", default=8, low=1, high=64)).version != knobs.version


@pytest.mark.clause("A5")
@given(st.lists(st.tuples(st.none() | st.integers(0, 9), st.integers(0, 80))))
def test_nobody_changes_anything_after_one_with_a_higher_token(writes):
    """Whatever is asked for, allowed or not; who brings no token is an operator, and always heard."""
    knobs, highest = Knobs(Knob("batch_size", default=8, low=1, high=64)), 0
    for fence, value in writes:
        before = (knobs.version, knobs["batch_size"])
        try:
            knobs.apply({"batch_size": value}, fence=fence)
        except FenceError:
            assert fence < highest
        except KnobError:
            assert not 1 <= value <= 64
        else:
            assert fence is None or fence >= highest
            highest = max(highest, fence or 0)
            assert (knobs.fence, knobs["batch_size"]) == (highest, value)
            continue
        assert (knobs.version, knobs["batch_size"]) == before
