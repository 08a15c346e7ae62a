"""Checked dataclasses: what fits is brought to the declared type, what does not is one line that names the field."""

import contextlib
import json
import math
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, field

from envs.fields import Checked, FieldError, Finite


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Leaf(Checked, frozen=True, kw_only=True):
    low: Finite
    high: Finite = 1.0

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")


class Tree(Checked, frozen=True, kw_only=True):
    name: str
    count: Annotated[int, Meta(ge=1, lt=10)] = 1
    share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    colour: Colour = Colour.RED
    kind: Literal["oak", "elm"] = "oak"
    evergreen: bool = False
    height: Finite | None = None
    window: Annotated[str, Meta(pattern=r"^\d\d:\d\d\Z", examples=["22:00"])] = "00:00"
    leaves: Annotated[list[Leaf], Meta(max_length=2)] = field(default_factory=list)
    ranges: dict[Literal["a", "b"], tuple[Finite, Finite]] = field(default_factory=dict)


def test_tables_become_dataclasses_and_whole_numbers_floats():
    tree = Tree.model_validate({"name": "x", "leaves": [{"low": 0}], "ranges": {"a": [1, 2]}, "colour": "blue"})
    assert tree.leaves == [Leaf(low=0.0)]
    assert (type(tree.leaves[0].low), tree.ranges, tree.colour) == (float, {"a": (1.0, 2.0)}, Colour.BLUE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "name: is missing"),
        ({"nmae": "x"}, "unknown key 'nmae'; did you mean 'name'? known keys: name, count"),
        ({"leaves": [{"low": 0}, {"lwo": 0}]}, "leaves.1: unknown key 'lwo'; did you mean 'low'?"),
        ({"leaves": [{"low": 2}]}, "leaves.0: low 2.0 must be below high 1.0"),
        ({"leaves": [{"low": 0}] * 3}, "leaves: must be a list of length <= 2 (given"),
        ({"leaves": {"low": 0}}, "leaves: must be a list (given {'low': 0})"),
        ({"leaves": [0]}, "leaves.0: must be a table (given 0)"),
        ({"count": 2.5}, "count: must be a whole number (given 2.5)"),
        ({"count": True}, "count: must be a whole number (given True)"),
        ({"count": 0}, "count: must be a whole number >= 1 (given 0)"),
        ({"count": 10}, "count: must be a whole number <= 9 (given 10)"),
        ({"share": 0}, "share: must be a number > 0 (given 0)"),
        ({"share": 1.5}, "share: must be a number <= 1 (given 1.5)"),
        ({"share": math.nan}, "share: must be a number > 0 (given nan)"),
        ({"share": "0.5"}, "share: must be a number (given '0.5')"),
        ({"share": 10**400}, "share: must be a finite number (given 1000"),
        ({"colour": "green"}, "colour: must be one of 'red', 'blue' (given 'green')"),
        ({"height": math.inf}, "height: must be a finite number (given inf)"),
        ({"height": math.nan}, "height: must be a finite number (given nan)"),
        ({"kind": "fir"}, "kind: must be one of 'oak', 'elm' (given 'fir')"),
        ({"evergreen": 1}, "evergreen: must be true or false (given 1)"),
        ({"name": 3}, "name: must be a text (given 3)"),
        ({"window": "07:00\n"}, "window: must look like 22:00 (given '07:00\\n')"),
        ({"window": "7 pm"}, "window: must look like 22:00 (given '7 pm')"),
        ({"ranges": {"c": [0, 1]}}, "ranges.c: must be one of 'a', 'b' (given 'c')"),
        ({"ranges": {"b": [0, 1], "a": [0, "x"]}}, "ranges.a.1: must be a number (given 'x')"),
        ({"ranges": {"a": [0]}}, "ranges.a: must be a list of length 2 (given [0])"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(given, message):
    with pytest.raises(FieldError) as caught:
        Tree.model_validate({**({"name": "x"} if given and "nmae" not in given else {}), **given})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_is_changed_in_python_is_checked_likewise():
    tree = Tree(name="x").model_copy(update={"colour": "blue", "leaves": [Leaf(low=0.5)]})
    assert (tree.colour, tree.leaves) == (Colour.BLUE, [Leaf(low=0.5)])
    with pytest.raises(FieldError, match="count: must be a whole number >= 1"):
        tree.model_copy(update={"count": 0})
    with pytest.raises(FieldError, match=r"leaves.0: low 2.0 must be below high 1.0"):
        tree.model_copy(update={"leaves": [{"low": 2.0}]})


def test_what_holds_between_fields_is_checked_in_python_too():
    with pytest.raises(ValueError, match=r"low 2.0 must be below high 1.0"):
        Leaf(low=2.0)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(Colour), st.none() | st.floats(0.0, 9.0))
def test_what_is_dumped_as_json_is_read_as_the_same(low, colour, height):
    leaves = [Leaf(low=low, high=math.nextafter(low, math.inf))] if abs(low) < 1e300 else []
    tree = Tree(name="x", leaves=leaves, colour=colour, height=height, ranges={"b": (low, low)})
    assert Tree.model_validate(json.loads(json.dumps(tree.model_dump()))) == tree


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_value_leads_to_another_error_than_one_of_the_field(value):
    for name in ("count", "share", "colour", "kind", "leaves", "ranges", "height", "evergreen"):
        with contextlib.suppress(FieldError):
            Tree.model_validate({"name": "x", name: value})
