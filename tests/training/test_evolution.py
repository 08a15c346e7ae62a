import numpy as np
import pytest

from training.evolution import SearchConfig, evolve

TINY = SearchConfig(population=8, generations=2)
MIDDLE = np.zeros(2)


def ignore(best):
    """Nobody looks at the progress."""


def paraboloid(candidates: np.ndarray) -> np.ndarray:
    return -((candidates - np.array([0.3, -0.8])) ** 2).sum(axis=-1)


def watching(seen):
    def score(candidates):
        seen.append(candidates)
        return np.zeros(len(candidates))

    return score


def test_evolution_finds_the_top_of_a_paraboloid():
    config = SearchConfig(population=24, generations=40)
    best, score = evolve(paraboloid, config, ignore, start=MIDDLE)
    assert best == pytest.approx([0.3, -0.8], abs=0.02)
    assert score == pytest.approx(0.0, abs=0.001)


def test_every_search_tries_as_many_candidates_as_its_budget_says():
    seen = []
    evolve(watching(seen), TINY, ignore, start=MIDDLE)
    assert sum(map(len, seen)) == TINY.evaluations


def test_the_start_is_one_of_the_candidates():
    start = np.array([0.3, -0.8])
    best, _ = evolve(paraboloid, SearchConfig(population=6, generations=0), ignore, start=start)
    assert best == pytest.approx(start)


def test_the_same_seed_finds_the_same():
    found = [evolve(paraboloid, TINY, ignore, start=MIDDLE)[0] for _ in range(2)]
    np.testing.assert_array_equal(*found)


def test_a_first_generation_covers_the_range_or_lies_around_the_start():
    seen, start = [], np.array([0.2, 0.9])
    config = SearchConfig(population=40, generations=0)
    evolve(watching(seen), config, ignore, start=start, spread=np.array([np.inf, 0.1]))
    wide, near = seen[0].T
    assert seen[0][0] == pytest.approx(start)
    assert np.sort(wide)[[1, -2]] == pytest.approx([-0.95, 0.95], abs=0.1)
    assert 0.5 < near.min() <= near.max() <= 1.0
