from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.ring import Ring

NAMES = [f"s{i}" for i in range(6)]


def filled(sweeps: list[tuple[str, ...]], capacity: int = 4) -> Ring:
    """Sweep i has the value 100 i + (number of the series)."""
    ring = Ring(capacity)
    for i, names in enumerate(sweeps):
        ring.append(float(i), 0.0, names, np.array([100.0 * i + int(name[1:]) for name in names]))
    return ring


@settings(max_examples=100)
@given(st.lists(st.lists(st.sampled_from(NAMES), unique=True).map(tuple), max_size=20), st.integers(1, 8))
def test_every_value_is_found_under_its_name_while_series_come_and_go(sweeps: list[tuple[str, ...]], last: int) -> None:
    block = filled(sweeps).last(last)
    held = list(range(len(sweeps)))[-min(last, 4) :] if sweeps else []
    assert block.times.tolist() == held
    assert set(block.names) == {name for i in held for name in sweeps[i]}
    for row, i in zip(block.values, held, strict=True):
        found = {name: value for name, value in zip(block.names, row, strict=True) if not np.isnan(value)}
        assert found == {name: 100.0 * i + int(name[1:]) for name in sweeps[i]}


def test_series_that_ended_take_no_room_in_the_sweeps_after_them() -> None:
    ring = filled([(f"s{i}", f"s{i + 1}", f"s{i + 2}") for i in range(500)], capacity=4)
    assert ring.nbytes == 4 * 3 * 8  # 6 series have a value in these sweeps, 3 in each


def test_series_may_be_asked_for_by_name() -> None:
    block = filled([("s1", "s2")] * 3).last(2, ["s2", "s5"])
    np.testing.assert_array_equal(block.values, [[102.0, np.nan], [202.0, np.nan]])


def test_the_names_are_the_same_tuple_while_the_series_are() -> None:
    ring = filled([("s1", "s2")] * 3)
    assert ring.last(1).names is ring.last(3).names


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Ring(0)
