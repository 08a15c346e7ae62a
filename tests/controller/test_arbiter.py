import pytest

from controller.arbiter import Arbiter, Situation
from controller.shield import Reason
from envs.spec import Role, SystemSpec

SPEC = SystemSpec.load("reference")


def setting(**values):
    result = SPEC.default_setting
    for name, value in values.items():
        result[SPEC.knob_index(name)] = value
    return result


@pytest.fixture
def arbiter():
    return Arbiter(SPEC)


def admitted(arbiter, proposals, situation, current=None, pinned=()):
    current = setting() if current is None else current
    moves = arbiter.moves(proposals, current, situation.now, pinned)
    return arbiter.admit(moves, current, situation)


def test_proposals_are_split_by_workload(arbiter):
    tuning = setting(serving_batch_size=16, training_threads=1, training_batch_size=64)
    found = admitted(arbiter, {Role.TUNING: tuning}, Situation(0.0))
    assert [(move.workload, len(move.knobs)) for move in found.moves] == [("serving", 1), ("training", 2)]
    assert (found.setting == tuning).all()


def test_knobs_of_the_other_role_are_not_taken_from_a_proposal(arbiter):
    found = admitted(arbiter, {Role.TUNING: setting(serving_cpu_cores=0.2)}, Situation(0.0))
    assert found.moves == []


@pytest.mark.clause("D3")
def test_one_change_per_workload_and_period_capacity_first(arbiter):
    proposals = {
        Role.TUNING: setting(serving_batch_size=16),
        Role.ALLOCATION: setting(serving_cpu_cores=0.6),
    }
    found = admitted(arbiter, proposals, Situation(0.0))
    assert [move.role for move in found.moves] == [Role.ALLOCATION]
    assert [refusal.reason for refusal in found.refusals] == [Reason.BUSY]


@pytest.mark.clause("D3")
def test_running_trial_makes_the_workload_wait_with_its_id_as_reason(arbiter):
    found = admitted(arbiter, {Role.TUNING: setting(serving_batch_size=16)}, Situation(0.0, {"serving": "t-7"}))
    assert found.moves == []
    assert "t-7" in found.refusals[0].detail


def test_added_capacity_does_not_wait_for_a_trial(arbiter):
    found = admitted(arbiter, {Role.ALLOCATION: setting(serving_cpu_cores=0.6)}, Situation(0.0, {"serving": "t-7"}))
    assert [move.adds for move in found.moves] == [True]


def test_roles_take_turns_on_a_workload(arbiter):
    proposals = {
        Role.ALLOCATION: setting(serving_cpu_cores=0.3),
        Role.TUNING: setting(serving_batch_size=16),
    }
    turns = []
    for now in range(4):
        move = admitted(arbiter, proposals, Situation(float(now))).moves[0]
        arbiter.applied(move)
        turns.append(move.role)
    assert turns == [Role.ALLOCATION, Role.TUNING, Role.ALLOCATION, Role.TUNING]


def test_pinned_knob_is_left_out(arbiter):
    tuning = setting(serving_batch_size=16, serving_threads=1)
    found = admitted(arbiter, {Role.TUNING: tuning}, Situation(0.0), pinned=["serving_batch_size"])
    assert found.moves[0].knobs == (SPEC.knob_index("serving_threads"),)


def test_backoff_refuses_and_restarts_the_opportunity(arbiter):
    proposals = {Role.TUNING: setting(serving_batch_size=16)}
    found = admitted(arbiter, proposals, Situation(0.0, pause_left=lambda workload, role: 5.0))
    assert [refusal.reason for refusal in found.refusals] == [Reason.BACKOFF]
    assert admitted(arbiter, proposals, Situation(9.0)).moves[0].seen_at == 9.0


def test_opportunity_is_as_old_as_its_first_proposal(arbiter):
    proposals = {Role.TUNING: setting(serving_batch_size=16)}
    admitted(arbiter, proposals, Situation(1.0, {"serving": "t-7"}))
    assert admitted(arbiter, proposals, Situation(4.0)).moves[0].seen_at == 1.0


def test_opportunity_that_passed_is_forgotten(arbiter):
    proposals = {Role.TUNING: setting(serving_batch_size=16)}
    admitted(arbiter, proposals, Situation(1.0, {"serving": "t-7"}))
    admitted(arbiter, {Role.TUNING: setting()}, Situation(2.0))
    assert admitted(arbiter, proposals, Situation(4.0)).moves[0].seen_at == 4.0


def test_without_a_baseline_only_capacity_is_added(arbiter):
    proposals = {
        Role.ALLOCATION: setting(serving_cpu_cores=0.6),
        Role.TUNING: setting(training_batch_size=64),
    }
    found = admitted(arbiter, proposals, Situation(0.0, has_baseline=lambda workload: False))
    assert [move.workload for move in found.moves] == ["serving"]
    assert [refusal.reason for refusal in found.refusals] == [Reason.NO_BASELINE]


def test_in_a_breach_the_donor_does_not_wait_unless_it_is_broken_itself(arbiter):
    proposals = {Role.ALLOCATION: setting(serving_cpu_cores=0.8, training_cpu_cores=0.3)}
    busy = {"training": "t-7"}
    calm = admitted(arbiter, proposals, Situation(0.0, busy))
    broken = admitted(arbiter, proposals, Situation(0.0, busy, frozenset({"serving"})))
    both = admitted(arbiter, proposals, Situation(0.0, busy, frozenset({"serving", "training"})))
    assert [len(found.moves) for found in (calm, broken, both)] == [1, 2, 1]


def test_policy_that_always_adds_a_little_does_not_starve_the_other(arbiter):
    proposals = {
        Role.ALLOCATION: setting(serving_cpu_cores=0.6),
        Role.TUNING: setting(serving_batch_size=16),
    }
    turns = []
    for situation in (Situation(0.0), Situation(1.0), Situation(2.0), Situation(3.0, broken=frozenset({"serving"}))):
        move = admitted(arbiter, proposals, situation).moves[0]
        arbiter.applied(move)
        turns.append(move.role)
    assert turns == [Role.ALLOCATION, Role.TUNING, Role.ALLOCATION, Role.ALLOCATION]


def test_move_within_the_dead_band_is_not_worth_a_trial(arbiter):
    assert arbiter.moves({Role.ALLOCATION: setting(training_cpu_cores=0.47)}, setting(), 0.0) == []
