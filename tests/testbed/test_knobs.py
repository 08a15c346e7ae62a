import math

import pytest

from testbed.knobs import Knob, KnobError, Knobs


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
