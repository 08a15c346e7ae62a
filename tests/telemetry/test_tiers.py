from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.ring import Block
from telemetry.tiers import ENDED, FIELDS, Summarizer, Summary, is_counter

NAN = float("nan")
NAMES = ("level", 'seen_total{a="b"}')


def block(times: list[float], rows: list[list[float]], names: tuple[str, ...] = NAMES) -> Block:
    return Block(np.array(times), np.zeros(len(times)), names, np.array(rows).reshape(len(times), len(names)))


def field(summary: Summary, name: str, series: str) -> float:
    return float(summary.values[FIELDS.index(name), summary.names.index(series)])


def test_a_minute_of_a_gauge_by_hand() -> None:
    summarizer = Summarizer(60.0)
    assert not summarizer.add(block([0.0, 20.0, 40.0], [[3.0, NAN], [1.0, NAN], [NAN, NAN]]))
    (minute,) = summarizer.add(block([60.0], [[9.0, NAN]]))
    assert (minute.time, minute.first, minute.last) == (60.0, 0.0, 40.0)
    assert [field(minute, name, "level") for name in ("mean", "min", "max", "last", "count")] == [2.0, 1.0, 3.0, 1.0, 2]
    assert np.isnan(field(minute, "increase", "level"))


def test_a_counter_grows_over_gaps_periods_and_resets() -> None:
    summarizer, name = Summarizer(60.0), NAMES[1]
    rows = [[NAN, 100.0], [NAN, NAN], [NAN, 130.0], [NAN, 5.0]]  # then reset: 5 since then
    first = summarizer.add(block([0.0, 10.0, 20.0, 30.0], rows)) + summarizer.add(block([70.0], [[NAN, 25.0]]))
    (second,) = summarizer.flush()
    assert field(first[0], "increase", name) == 35.0
    assert field(first[0], "seconds", name) == 30.0
    assert field(first[0], "last", name) == 5.0
    assert np.isnan(field(first[0], "mean", name))
    assert (field(second, "increase", name), field(second, "seconds", name)) == (20.0, 40.0)


def test_nothing_is_known_of_the_growth_before_the_first_reading() -> None:
    summarizer = Summarizer(60.0)
    summarizer.add(block([0.0], [[NAN, 100.0]]))
    assert np.isnan(field(summarizer.flush()[0], "increase", NAMES[1]))


def test_series_may_come_and_go_within_a_period() -> None:
    summarizer = Summarizer(60.0)
    summarizer.add(block([0.0], [[1.0]], ("a",)))
    summarizer.add(block([10.0], [[2.0, 3.0]], ("b", "a")))
    (minute,) = summarizer.flush()
    assert (field(minute, "mean", "a"), field(minute, "mean", "b")) == (2.0, 2.0)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6) | st.just(NAN), st.floats(0, 1e6) | st.just(NAN)), min_size=1, max_size=30),
    st.integers(1, 10),
)
def test_it_does_not_matter_in_which_pieces_sweeps_come(rows: list[tuple[float, float]], piece: int) -> None:
    def summarize(size: int) -> list[Summary]:
        summarizer, found = Summarizer(10.0), []
        for i in range(0, len(rows), size):
            taken = rows[i : i + size]
            found += summarizer.add(block([float(i + j) for j in range(len(taken))], [list(row) for row in taken]))
        return found + summarizer.flush()

    for whole, pieces in zip(summarize(len(rows)), summarize(piece), strict=True):
        assert (whole.time, whole.first, whole.last) == (pieces.time, pieces.first, pieces.last)
        np.testing.assert_allclose(whole.values, pieces.values, rtol=1e-9, atol=1e-6)


def test_an_hour_of_minutes_is_the_hour_of_its_sweeps() -> None:
    times = [60.0 * i + offset for i in range(60) for offset in range(0, 60, 20 if i % 2 else 30)]
    rows = [[np.sin(time), time if time < 1800 else time - 1800] for time in times]
    minutes, of_minutes, of_sweeps = Summarizer(60.0), Summarizer(3600.0), Summarizer(3600.0)
    of_minutes.merge(minutes.add(block(times, rows)) + minutes.flush())
    of_sweeps.add(block(times, rows))
    (one,), (other,) = of_minutes.flush(), of_sweeps.flush()
    assert one.time == other.time == 3600.0
    np.testing.assert_allclose(one.values, other.values)


def churned(minutes: int, each: int) -> list[Block]:
    """A block a minute: the two of `NAMES`, and so many series that no other minute has."""
    return [
        block([60.0 * i + 30.0], [[float(i), 10.0 * i, *([1.0] * each)]], (*NAMES, *(f"s{i}_{j}" for j in range(each))))
        for i in range(minutes)
    ]


def test_an_hour_forgets_series_that_ended() -> None:
    minutes, hours, each = Summarizer(60.0), Summarizer(3600.0), ENDED // 4
    pieces = [piece for one in churned(22, each) for piece in hours.merge(minutes.add(one))]
    pieces += hours.flush()
    assert max(len(piece.names) for piece in pieces) <= ENDED + 2 * each + len(NAMES)
    assert len({name for piece in pieces for name in piece.names}) == len(NAMES) + 21 * each


def test_the_pieces_of_an_hour_follow_each_other_and_make_the_hour() -> None:
    hours = Summarizer(3600.0)
    pieces = hours.add(churned(1, 0)[0]) + [p for one in churned(20, ENDED // 2)[1:] for p in hours.add(one)]
    pieces += hours.flush()
    assert len(pieces) > 3
    assert {piece.time for piece in pieces} == {3600.0}
    assert all(before.last < after.first for before, after in pairwise(pieces))
    assert sum(field(piece, "count", "level") for piece in pieces) == 20.0
    assert np.nansum([field(piece, "increase", NAMES[1]) for piece in pieces]) == 190.0


@pytest.mark.parametrize(
    ("name", "counter"), [('x_total{a="1"}', True), ('x_bucket{le="1"}', True), ("x_bytes", False)]
)
def test_a_counter_is_told_by_the_ending_of_its_name(name: str, counter: bool) -> None:
    assert is_counter(name) is counter
