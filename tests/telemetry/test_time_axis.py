from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.time_axis import STEP_SECONDS, TimeAxis

START = 1_790_000_000.0


class Wall:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_times_follow_the_monotonic_clock_whatever_is_done_to_the_wall_clock(
    periods: list[tuple[float, float]],
) -> None:
    wall, monotonic = Wall(), 50.0
    axis, found = TimeAxis(wall=wall), []
    for period, jump in periods:
        monotonic += period
        wall.now += period + jump
        placed, offset = axis.place(monotonic)
        found.append(placed)
        assert placed + offset == pytest.approx(wall.now, abs=STEP_SECONDS + 0.001)
    for (before, after), (period, _) in zip(itertools.pairwise(found), periods[1:], strict=True):
        assert after - before == pytest.approx(period, abs=1e-5)


def test_the_offset_is_zero_while_nobody_sets_the_clock() -> None:
    wall = Wall()
    axis = TimeAxis(wall=wall)
    for second in range(5):
        wall.now = START + second + 0.2 * (second % 2)  # the sweep took a while before the clock was read
        assert axis.place(10.0 + second) == (START + second, 0.0)


def test_a_session_after_the_clock_was_set_back_continues_behind_the_last() -> None:
    placed, offset = TimeAxis(last=START + 3600.0, wall=Wall()).place(1.0)
    assert placed > START + 3600.0
    assert placed + offset == pytest.approx(START, abs=0.001)


@pytest.mark.parametrize("monotonic", [1.0, 0.5, float("nan"), float("inf")])
def test_what_is_not_later_is_refused(monotonic: float) -> None:
    axis = TimeAxis(wall=Wall())
    axis.place(1.0)
    with pytest.raises(ValueError, match="times must grow"):
        axis.place(monotonic)
