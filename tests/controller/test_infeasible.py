import json

import numpy as np
import pytest

from controller.arbiter import Move
from controller.infeasible import Infeasible
from controller.infeasible_file import INFEASIBLE, InfeasibleFile
from envs.spec import Role, SystemSpec

SPEC = SystemSpec.load("reference")
KNOB = SPEC.knob_index("serving_batch_size")
BEFORE = SPEC.default_setting
WANTED = np.where(np.arange(len(BEFORE)) == KNOB, 16.0, BEFORE)


def asked_in_vain(times, infeasible=None):
    infeasible = infeasible or Infeasible(SPEC, 60.0, 3600.0)
    for now in range(times):
        infeasible.read_back(BEFORE, WANTED, BEFORE, float(now))
    return infeasible


def move(value):
    return Move("serving", Role.TUNING, (KNOB,), (value,), adds=False, takes=False, seen_at=0.0)


@pytest.mark.clause("A6")
def test_a_value_that_was_asked_for_in_vain_is_left_alone_for_a_while():
    infeasible = asked_in_vain(2)
    left, refusals = infeasible.sift([move(16.0), move(64.0)], 5.0)
    assert left == [move(64.0)]
    assert "serving_batch_size: 16 did not take force" in refusals[0].detail
    assert infeasible.sift([move(16.0)], 62.0) == ([move(16.0)], [])


def test_an_actuator_that_acts_a_period_late_is_not_mistaken():
    assert asked_in_vain(1).sift([move(16.0)], 2.0)[0]


def test_a_value_that_was_bent_is_in_force_as_far_as_can_be():
    infeasible = Infeasible(SPEC, 60.0, 3600.0)
    bent = np.where(np.arange(len(BEFORE)) == KNOB, 12.0, BEFORE)
    for now in range(5):
        infeasible.read_back(BEFORE, WANTED, bent, float(now))
    assert infeasible.known == {}


@pytest.mark.clause("A6")
def test_the_pause_doubles_with_each_failure():
    infeasible = asked_in_vain(2)
    first = infeasible.known["serving_batch_size"][0][1]
    infeasible = asked_in_vain(2, infeasible)
    assert infeasible.known["serving_batch_size"][0][1] - 1.0 == pytest.approx(2 * (first - 1.0))


def test_other_knobs_of_a_move_go_ahead():
    infeasible = asked_in_vain(2)
    both = Move("serving", Role.TUNING, (KNOB, KNOB + 1), (16.0, 1.0), adds=False, takes=False, seen_at=0.0)
    left, _ = infeasible.sift([both], 5.0)
    assert [(m.knobs, m.values) for m in left] == [((KNOB + 1,), (1.0,))]


@pytest.mark.clause("A6")
def test_it_is_remembered_over_a_restart_of_controller_and_host(tmp_path):
    infeasible = asked_in_vain(1)
    file = InfeasibleFile(tmp_path, infeasible, clock=lambda: 10.0, wall_clock=lambda: 1e9)
    asked_in_vain(2, infeasible)
    file.save()
    later = Infeasible(SPEC, 60.0, 3600.0)
    InfeasibleFile(tmp_path, later, clock=lambda: 0.0, wall_clock=lambda: 1e9 + 30.0)
    assert later.sift([move(16.0)], 0.0)[0] == []
    assert later.sift([move(16.0)], 30.0)[0]
    InfeasibleFile(tmp_path, expired := Infeasible(SPEC, 60.0, 3600.0), lambda: 0.0, lambda: 1e9 + 100.0)
    assert expired.known == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '[{"until": "x"}]', "null", json.dumps([{"knob": "no", "until": 9e9, "value": 1}])]
)
def test_a_broken_file_is_left_aside(tmp_path, text):
    (tmp_path / INFEASIBLE).write_text(text)
    infeasible = Infeasible(SPEC, 60.0, 3600.0)
    InfeasibleFile(tmp_path, infeasible, lambda: 0.0, lambda: 1e9)
    assert infeasible.known == {}
