"""The age of the model in use, which components tell as a time of the day."""

from __future__ import annotations

import math

import pytest

from controller.readings import Averages, Interval
from telemetry.sweep import Sweep

NAME = 'serving_model_trained_timestamp_seconds{component="serving"}'


def interval(time: float, trained: float) -> Interval:
    return Interval(Sweep(time - 1.0, {}), Sweep(time, {NAME: trained}))


@pytest.mark.clause("L3")
@pytest.mark.parametrize("jump", [0.0, 3600.0, -3600.0])
def test_a_jump_of_the_wall_clock_makes_no_model_older_or_younger(jump: float) -> None:
    averages = Averages()
    assert averages.model_age(interval(100.0, 5000.0), 5004.0) == 4.0
    assert averages.model_age(interval(103.0, 5000.0), 5007.0 + jump) == 7.0


def test_a_new_model_has_its_own_age() -> None:
    averages = Averages()
    averages.model_age(interval(100.0, 5000.0), 5004.0)
    assert averages.model_age(interval(110.0, 5012.0), 5014.0) == 2.0


@pytest.mark.parametrize("trained", [0.0, math.nan])
def test_before_a_first_model_there_is_no_age(trained: float) -> None:
    assert math.isnan(Averages().model_age(interval(100.0, trained), 5004.0))


def test_a_model_of_the_future_is_new() -> None:
    assert Averages().model_age(interval(100.0, 5000.0), 4000.0) == 0.0
