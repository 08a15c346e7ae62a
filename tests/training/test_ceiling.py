"""What any forecast could reach at best."""

import pytest

from training.ceiling import best_balanced_accuracy


@pytest.mark.parametrize(
    ("r2", "base_rate", "expected"), [(0.49, 0.1, 0.79), (0.81, 0.1, 0.90), (0.95, 0.1, 0.955), (0.64, 0.02, 0.89)]
)
def test_ceilings_are_those_of_a_simulation(r2, base_rate, expected):
    assert best_balanced_accuracy(r2, base_rate) == pytest.approx(expected, abs=0.01)


def test_knowing_nothing_is_a_coin_and_knowing_all_is_one():
    assert best_balanced_accuracy(-0.3, 0.1) == 0.5
    assert best_balanced_accuracy(1.0, 0.1) == 1.0
