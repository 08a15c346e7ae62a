import numpy as np
import pytest

from training.strategies import CmaEs, OnePlusOne, RandomSearch

START = np.zeros(3)
TOP = np.array([0.3, -0.2, 0.1])
MAKE = {
    "random": lambda: RandomSearch(START, 0.5, 12, seed=0),
    "one-plus-one": lambda: OnePlusOne(START, 0.1, seed=0),
    "cma-es": lambda: CmaEs(START, 0.1, seed=0),
}
each = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def paraboloid(candidates: np.ndarray) -> np.ndarray:
    return -((candidates - TOP) ** 2).sum(axis=-1)


def run(strategy, generations: int, score=paraboloid) -> np.ndarray:
    for _ in range(generations):
        candidates = strategy.ask()
        assert len(candidates) == strategy.population
        strategy.tell(candidates, score(candidates))
    return strategy.best


@each
def test_the_top_of_a_paraboloid_is_found(make):
    assert run(make(), 200) == pytest.approx(TOP, abs=0.1)


@each
def test_the_answer_before_any_generation_is_the_start(make):
    np.testing.assert_array_equal(make().best, START)


@each
def test_the_same_seed_finds_the_same(make):
    np.testing.assert_array_equal(run(make(), 10), run(make(), 10))


@each
def test_an_answer_once_given_does_not_change(make):
    strategy = make()
    run(strategy, 5)
    answer = strategy.best
    before = answer.copy()
    run(strategy, 20)
    np.testing.assert_array_equal(answer, before)


def test_random_search_lets_the_best_so_far_meet_every_generation():
    strategy = MAKE["random"]()
    best = run(strategy, 3)
    np.testing.assert_array_equal(strategy.ask()[0], best)


def test_steps_of_the_one_plus_one_es_keep_their_length_at_one_success_in_five():
    strategy = MAKE["one-plus-one"]()
    for success in (True, False, False, False, False):
        strategy.tell(strategy.ask(), np.array([0.0, 1.0 if success else -1.0]))
    assert strategy.spread == pytest.approx(0.1)


def test_a_child_that_is_only_as_good_does_not_replace_its_parent():
    strategy = MAKE["one-plus-one"]()
    run(strategy, 5, score=lambda candidates: np.zeros(len(candidates)))
    np.testing.assert_array_equal(strategy.best, START)
