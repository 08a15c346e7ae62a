import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.heuristics.window import Window

VALUES = st.lists(st.one_of(st.floats(-100, 100), st.just(float("nan"))), min_size=1, max_size=30)


def test_each_system_looks_back_as_far_as_its_own_window():
    window = Window(np.array([1, 2, 3]))
    for value in (5.0, 3.0, 4.0):
        window.add(np.full(3, value))
    np.testing.assert_array_equal(window.largest(), [4.0, 4.0, 5.0])
    np.testing.assert_allclose(window.mean(), [4.0, 3.5, 4.0])
    np.testing.assert_allclose(window.deviation(), [0.0, 0.5, np.sqrt(2 / 3)])


def test_a_cleared_window_has_forgotten():
    window = Window(5)
    window.add(np.array(9.0))
    window.clear()
    window.add(np.array(1.0))
    assert window.largest() == 1.0


def test_an_empty_window_says_that_it_is():
    with pytest.raises(ValueError, match="add one first"):
        Window(5).largest()


@given(values=VALUES, periods=st.integers(1, 8))
def test_a_window_is_a_slice_without_the_missing(values, periods):
    window = Window(periods)
    for value in values:
        window.add(np.array([value]))
    seen = [value for value in values[-periods:] if not np.isnan(value)]
    expected = [np.max(seen), np.mean(seen), np.std(seen)] if seen else [np.nan] * 3
    found = [window.largest()[0], window.mean()[0], window.deviation()[0]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
