import numpy as np
import pytest

from controller.recovery import Recovery
from controller.shield import Reason

NAMES = ("a", "b", "c")
BAD, GOOD = np.array([9.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])


def awaiting():
    recovery = Recovery(3, tries=3)
    recovery.expect(np.array([0]), GOOD)
    return recovery


@pytest.mark.clause("E3")
def test_what_did_not_come_back_is_asked_for_again():
    recovery, target = awaiting(), BAD.copy()
    recovery.read_back(BAD, NAMES, seen=True)
    recovery.put_into(target)
    assert target.tolist() == GOOD.tolist()


def test_what_came_back_is_asked_for_no_more():
    recovery, target = awaiting(), BAD.copy()
    recovery.read_back(GOOD, NAMES, seen=True)
    recovery.put_into(target)
    assert target.tolist() == BAD.tolist()


@pytest.mark.clause("E3")
def test_a_rollback_that_fails_three_times_has_failed_for_good():
    recovery = awaiting()
    for _ in range(3):
        assert recovery.failed_for_good == ""
        recovery.read_back(BAD, NAMES, seen=True)
    assert "a: 1 had to come back, in force is 9" in recovery.failed_for_good


def test_a_system_that_does_not_answer_is_waited_for():
    recovery = awaiting()
    for _ in range(10):
        recovery.read_back(BAD, NAMES, seen=False)
    assert recovery.failed_for_good == ""
    assert recovery.pending.tolist() == [True, False, False]


@pytest.fixture
def stuck(controller, plant, policy):
    """A harmful change whose rollback does not take force."""
    policy.wanted = {"serving_batch_size": 16}
    controller.step()
    plant.bend(serving_batch_size=16)
    plant.next_reading(serving_within_slo_ratio=0.1)
    return controller


@pytest.mark.clause("E3")
def test_a_rollback_that_cannot_be_carried_out_restores_everything_and_freezes(stuck, plant, allocator):
    allocator.wanted = {"training_cpu_cores": 0.3}
    for _ in range(4):
        stuck.step()
    assert stuck.paused
    assert "serving_batch_size: 8 had to come back" in stuck.frozen
    assert "frozen" in stuck.conditions.active
    plant.bend()
    decision = stuck.step()
    assert Reason.FROZEN in {refusal.reason for refusal in decision.reasons}
    assert plant.setting.tolist() == stuck.found.tolist()
    assert not any(stuck.step().changed for _ in range(20))


@pytest.mark.clause("E3")
def test_an_operator_ends_the_freeze(stuck, plant, policy, allocator, spec):
    policy.wanted = {}
    for _ in range(4):
        stuck.step()
    plant.bend()
    stuck.step()
    allocator.wanted = {"training_cpu_cores": 0.3}
    stuck.paused = False
    for _ in range(5):
        stuck.step()
    assert "frozen" not in stuck.conditions.active
    assert plant.setting[spec.knob_index("training_cpu_cores")] == pytest.approx(0.3, rel=0.01)


def test_a_rollback_that_takes_force_a_period_late_freezes_nothing(stuck, plant, spec):
    stuck.step()
    plant.bend()
    for _ in range(5):
        stuck.step()
    assert not stuck.paused
    assert plant.setting[spec.knob_index("serving_batch_size")] == 8
