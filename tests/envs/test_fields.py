"""Checked dataclasses: what fits is brought to the declared type, what does not is one line that names the field."""

import contextlib
import json
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.fields import Bounds, Checked, FieldError, Length, Pattern


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Leaf(Checked):
    low: float
    high: float = 1.0

    def _check(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")


@dataclass(frozen=True, kw_only=True)
class Tree(Checked):
    name: str
    count: Annotated[int, Bounds(at_least=1, below=10)] = 1
    share: Annotated[float, Bounds(above=0, at_most=1)] = 0.5
    colour: Colour = Colour.RED
    kind: Literal["oak", "elm"] = "oak"
    evergreen: bool = False
    height: float | None = None
    window: Annotated[str, Pattern(r"\d\d:\d\d", "22:00")] = "00:00"
    leaves: Annotated[list[Leaf], Length(0, 2)] = field(default_factory=list)
    ranges: dict[Literal["a", "b"], tuple[float, float]] = field(default_factory=dict)


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
        ({"leaves": [{"low": 0}] * 3}, "leaves: must have 0 to 2 entries"),
        ({"leaves": {"low": 0}}, "leaves: must be a list (given {'low': 0})"),
        ({"leaves": [0]}, "leaves.0: must be a table (given 0)"),
        ({"count": 2.5}, "count: must be a whole number (given 2.5)"),
        ({"count": True}, "count: must be a whole number (given True)"),
        ({"count": 0}, "count: must be at least 1 (given 0)"),
        ({"count": 10}, "count: must be less than 10 (given 10)"),
        ({"share": 0}, "share: must be greater than 0 (given 0)"),
        ({"share": 1.5}, "share: must be at most 1 (given 1.5)"),
        ({"share": math.nan}, "share: must be a finite number (given nan)"),
        ({"share": "0.5"}, "share: must be a finite number (given '0.5')"),
        ({"share": 10**400}, "share: must be a finite number (given 1000"),
        ({"colour": "green"}, "colour: must be one of 'red', 'blue' (given 'green')"),
        ({"kind": "fir"}, "kind: must be one of 'oak', 'elm' (given 'fir')"),
        ({"evergreen": 1}, "evergreen: must be true or false (given 1)"),
        ({"name": 3}, "name: must be a text (given 3)"),
        ({"window": "7 pm"}, "window: must look like 22:00 (given '7 pm')"),
        ({"ranges": {"c": [0, 1]}}, "ranges.c: must be one of 'a', 'b' (given 'c')"),
        ({"ranges": {"a": [0]}}, "ranges.a: must have 2 entries (given [0])"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(given, message):
    with pytest.raises(FieldError) as caught:
        Tree.model_validate({**({"name": "x"} if given and "nmae" not in given else {}), **given})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_is_made_or_changed_in_python_is_checked_likewise():
    tree = Tree(name="x", colour="blue")
    assert tree.colour is Colour.BLUE
    with pytest.raises(FieldError, match="count: must be at least 1"):
        tree.model_copy(update={"count": 0})


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
