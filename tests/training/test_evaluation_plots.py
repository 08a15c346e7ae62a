import pytest

from training.evaluation_plots import Point, pareto_front


@pytest.mark.parametrize(
    ("points", "less_x", "front"),
    [
        ([(1, 1), (2, 2), (3, 1)], False, "bc"),
        ([(1, 1), (2, 2), (3, 1)], True, "ab"),
        ([(1, 1), (1, 1)], False, "ab"),
        ([(1, 2), (1, 1)], False, "a"),
    ],
)
def test_the_pareto_front_is_what_no_other_beats_in_both(points, less_x, front):
    named = [Point(name, "rule", x, y) for name, (x, y) in zip("abc", points, strict=False)]
    assert "".join(p.name for p in pareto_front(named, less_x=less_x)) == front
