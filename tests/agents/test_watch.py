import math

import numpy as np
import pytest

from agents.network import MlpPolicy
from agents.ppo_config import PpoConfig
from agents.watch import Pace, Validation, describe

CONFIG = PpoConfig(n_envs=4, n_steps=4, batch_size=16, total_steps=400, evaluations=4)


def some_policy() -> MlpPolicy:
    return MlpPolicy([(np.zeros((1, 2), dtype=np.float32), np.zeros(1, dtype=np.float32))])


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_evaluations_are_spread_evenly_over_the_training():
    validation = Validation(CONFIG, lambda policy: 0.0)
    evaluated = []
    for steps in range(0, 400, 16):
        if validation.due(steps):
            validation.judge(some_policy(), steps)
            evaluated.append(steps)
    assert evaluated == [112, 208, 304]  # the fourth comes at the end


def test_the_first_and_the_middle_policy_are_to_be_drawn():
    validation = Validation(CONFIG, lambda policy: 0.0)
    assert [validation.judge(some_policy(), steps) for steps in (112, 208, 304, 400)] == [True, True, False, False]


def test_the_best_policy_is_kept_and_a_score_that_is_no_number_never_is_best():
    marks = iter([math.nan, 0.2, 0.9, math.nan, 0.5])
    validation, policies = Validation(CONFIG, lambda policy: next(marks)), [some_policy() for _ in range(5)]
    for i, policy in enumerate(policies):
        validation.judge(policy, 100 * (i + 1))
    assert validation.best is policies[2]
    assert validation.best_score == 0.9


def test_pace_and_time_left_count_from_where_the_training_was_taken_up():
    clock = Clock()
    pace = Pace(clock, steps=1000, seconds=50.0)
    clock.now += 10.0
    assert pace.rate(3000) == 200.0
    assert pace.seconds_left(3000, 5000) == 10.0
    assert pace.seconds == 60.0


def test_nothing_is_foretold_before_anything_was_done():
    clock = Clock()
    pace = Pace(clock)
    assert pace.rate(0) == 0.0
    assert math.isnan(pace.seconds_left(0, 100))


@pytest.mark.parametrize(
    ("curve", "line"),
    [([], "reward 0.500, 62.1k steps/s"), ([(1, 1.0), (2, 1.25)], "validation 1.250, 62.1k steps/s")],
)
def test_the_line_of_the_bar_tells_the_last_validation_score_and_the_pace(curve, line):
    assert describe(0.5, curve, 62_100.0) == line


def test_the_multiplier_grows_while_the_target_is_missed_and_shrinks_while_it_is_exceeded():
    attainments = iter([0.80, 0.99])
    config = CONFIG.model_copy(update={"slo_target": 0.9})
    validation = Validation(config, lambda policy: 1.0, lambda policy: next(attainments))
    validation.judge(some_policy(), 100)
    missed = validation.multiplier
    assert missed > 1.0
    validation.judge(some_policy(), 200)
    assert validation.multiplier < missed


def test_a_policy_that_misses_the_target_is_not_the_best_for_a_little_more_reward():
    marks, attainments = iter([1.0, 1.1]), iter([0.92, 0.80])
    config = CONFIG.model_copy(update={"slo_target": 0.9})
    validation = Validation(config, lambda policy: next(marks), lambda policy: next(attainments))
    policies = [some_policy(), some_policy()]
    for i, policy in enumerate(policies):
        validation.judge(policy, 100 * (i + 1))
    assert validation.best is policies[0]
    assert validation.best_score == 1.0


def test_an_attainment_that_is_no_number_leaves_the_multiplier_as_it_is():
    config = CONFIG.model_copy(update={"slo_target": 0.9})
    validation = Validation(config, lambda policy: 1.0, lambda policy: math.nan)
    validation.judge(some_policy(), 100)
    assert validation.multiplier == 1.0
    assert validation.best_score == -math.inf


def test_a_target_that_nobody_measures_is_refused():
    with pytest.raises(ValueError, match="no hook tells"):
        Validation(CONFIG.model_copy(update={"slo_target": 0.9}), lambda policy: 0.0)
