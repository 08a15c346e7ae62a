"""One value for all replicas, whatever becomes of one of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.actuators.actuator import ActuatorError, SetElsewhere
from controller.actuators.replica_knobs import ReplicaKnobs
from controller.components import Component
from refusing import make_refusing

__all__ = ["make_refusing"]

KNOB = "serving_batch_size"
FAULTS = ["refuses", "conflict", "error", "garbage", "slow", "dies", "gone"]


@pytest.fixture
def replicas(make_component):
    return [make_component("serving", serving_batch_size=8) for _ in range(3)]


def component(replicas, ready_share=0.5):
    each = tuple(Component(f"serving-{i}", replica.url) for i, replica in enumerate(replicas))
    return Component("serving", each[0].url, replicas=each, ready_share=ready_share)


@pytest.fixture
def actuator(replicas):
    actuator = ReplicaKnobs("serving", (KNOB,), component(replicas), deadline=0.1)
    actuator.read()
    return actuator


def sizes(replicas):
    return [replica.knobs[KNOB] for replica in replicas]


def test_a_value_is_set_on_all(actuator, replicas):
    assert actuator.apply({KNOB: 16.0}) == {KNOB: 16.0}
    assert sizes(replicas) == [16, 16, 16]
    assert actuator.read() == {KNOB: 16.0}


@pytest.mark.clause("A2")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_where_one_replica_does_not_take_a_value_those_that_did_are_brought_back(actuator, replicas, fault, which):
    replicas[which].behaviour = fault
    with pytest.raises(ActuatorError, match="have the former values") as caught:
        actuator.apply({KNOB: 16.0})
    assert "\n" not in str(caught.value)
    rest = [replica for replica in replicas if replica is not replicas[which]]
    assert sizes(rest) == [8, 8]
    assert actuator.read() == {KNOB: 8.0}


@pytest.mark.clause("A2")
def test_a_replica_that_sets_another_value_fails_the_change_of_all(actuator, replicas):
    replicas[1].least_step = 10
    with pytest.raises(ActuatorError, match=r"serving-1 has serving_batch_size = 20 in force, asked for .* = 16"):
        actuator.apply({KNOB: 16.0})
    assert sizes(replicas)[::2] == [8, 8]


def test_what_all_round_alike_is_in_force(actuator, replicas):
    for replica in replicas:
        replica.least_step = 10
    assert actuator.apply({KNOB: 16.0}) == {KNOB: 20.0}


def test_a_replica_that_refuses_is_still_ready_and_one_that_does_not_answer_is_not(actuator, replicas):
    replicas[0].behaviour = "refuses"
    with pytest.raises(ActuatorError):
        actuator.apply({KNOB: 16.0})
    assert actuator.members.out == {}
    replicas[0].behaviour, replicas[1].behaviour = "good", "gone"
    with pytest.raises(ActuatorError):
        actuator.apply({KNOB: 16.0})
    assert actuator.members.out == {"serving-1": "it did not answer to a change"}


def test_a_replica_that_is_not_ready_does_not_hold_up_the_next_change(actuator, replicas):
    replicas[2].behaviour = "gone"
    with pytest.raises(ActuatorError):
        actuator.apply({KNOB: 16.0})
    assert actuator.apply({KNOB: 4.0}) == {KNOB: 4.0}
    assert sizes(replicas[:2]) == [4, 4]


def test_a_replica_that_comes_back_gets_the_value_in_force_before_it_counts(actuator, replicas):
    actuator.members.leave("serving-2", "for a while")
    actuator.apply({KNOB: 16.0})
    assert actuator.behind("serving-2") == {KNOB: 16.0}
    assert actuator.members.ready == ["serving-0", "serving-1"]
    actuator.catch_up("serving-2")
    assert sizes(replicas) == [16, 16, 16]
    assert actuator.members.ready == ["serving-0", "serving-1", "serving-2"]


def test_a_replica_that_does_not_take_the_value_in_force_does_not_count(actuator, replicas):
    actuator.members.leave("serving-2", "for a while")
    actuator.apply({KNOB: 16.0})
    replicas[2].least_step = 10
    with pytest.raises(ActuatorError, match="serving-2 did not take serving_batch_size = 16"):
        actuator.catch_up("serving-2")
    assert "serving-2" in actuator.members.out


def test_a_hand_on_one_replica_is_told_and_a_hand_on_all_is_in_force(actuator, replicas):
    replicas[1].knobs[KNOB] = 32
    assert actuator.read() == {KNOB: 32.0}
    assert actuator.read() == {KNOB: 32.0}
    for replica in replicas:
        replica.knobs[KNOB] = 32
    actuator.read()
    replicas[1].knobs[KNOB] = 33
    assert actuator.read() == {KNOB: 33.0}


def test_replicas_that_differ_at_first_cannot_be_controlled(replicas):
    replicas[1].knobs[KNOB] = 16
    capability = ReplicaKnobs("serving", (KNOB,), component(replicas)).probe()
    assert not capability.available
    assert capability.reason == (
        "serving_batch_size is 8 on serving-0 and 16 on serving-1; make the replicas equal first"
    )


def test_a_replica_that_is_down_at_first_joins_later(replicas):
    replicas[0].behaviour = "gone"
    actuator = ReplicaKnobs("serving", (KNOB,), component(replicas))
    assert actuator.probe().reason == "PATCH /knobs of 2 of 3 replicas, all or none"
    actuator.apply({KNOB: 16.0})
    replicas[0].behaviour = "good"
    assert actuator.behind("serving-0") == {KNOB: 16.0}
    actuator.catch_up("serving-0")
    actuator.undo()
    assert sizes(replicas) == [8, 8, 8]


def test_without_any_replica_nothing_is_set(actuator, replicas):
    for name in actuator.members.names:
        actuator.members.leave(name, "gone")
    with pytest.raises(ActuatorError, match="no replica of serving is ready: serving-0: gone"):
        actuator.apply({KNOB: 16.0})


def test_undo_and_steps_restore_each_replica_whatever_it_was_last_heard_to_have(actuator, replicas):
    actuator.apply({KNOB: 16.0})
    replicas[1].knobs[KNOB] = 99
    assert [step["url"] for step in actuator.revert_steps()] == [f"{replica.url}/knobs" for replica in replicas]
    assert [step["values"] for step in actuator.revert_steps()] == [{KNOB: 8}] * 3
    actuator.undo()
    actuator.undo()
    assert sizes(replicas) == [8, 8, 8]


def test_a_change_that_takes_too_long_in_all_is_taken_back(replicas):
    times = itertools.count()  # a request looks at the clock three times: each is in time, and all six are not
    late = ReplicaKnobs("serving", (KNOB,), component(replicas), clock=lambda: 0.1 * next(times))
    late.read()
    with pytest.raises(ActuatorError, match=r"was not reached within 1 s; \d of \d replicas .* have the former values"):
        late.apply({KNOB: 16.0})
    assert sizes(replicas) == [8, 8, 8]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(st.sampled_from(["good", "good", "refuses", "error", "dies", "gone"]), min_size=3, max_size=3),
    values=st.lists(st.integers(1, 64), min_size=1, max_size=3),
)
def test_ready_replicas_are_always_equal_and_as_told(replicas, faults, values):
    for replica in replicas:
        replica.behaviour, replica.knobs = "good", {KNOB: 8}
    actuator = ReplicaKnobs("serving", (KNOB,), component(replicas), deadline=0.2)
    actuator.read()
    for replica, fault in zip(replicas, faults, strict=True):
        replica.behaviour = fault
    in_force = 8.0
    for value in values:
        try:
            in_force = actuator.apply({KNOB: float(value)})[KNOB]
            assert in_force == value
        except ActuatorError:
            pass
        ready = [replicas[actuator.members.names.index(name)] for name in actuator.members.ready]
        assert {replica.knobs[KNOB] for replica in ready if replica.behaviour in ("good", "refuses")} <= {in_force}


@pytest.fixture
def refusing(make_refusing):
    """Replicas that count their changes and remember fencing tokens."""
    return [make_refusing("serving", **{KNOB: 8}) for _ in range(3)]


@pytest.fixture
def fenced(refusing):
    each = tuple(Component(f"serving-{i}", one.component.url) for i, one in enumerate(refusing))
    actuator = ReplicaKnobs("serving", (KNOB,), Component("serving", each[0].url, replicas=each, ready_share=0.5))
    actuator.read()
    return actuator


@pytest.mark.clause("A4")
@pytest.mark.parametrize("value", [32, 8], ids=["another value", "the value in force"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_somebody_has_set_on_one_replica_stays_and_the_others_are_brought_back(fenced, refusing, which, value):
    refusing[which].ask("PATCH", {KNOB: value})
    with pytest.raises(SetElsewhere, match=f"412.*; {which} of {which} replicas"):
        fenced.apply({KNOB: 16.0})
    assert sizes(refusing) == [value if i == which else 8 for i in range(3)]
    assert fenced.set_elsewhere() == {KNOB}


@pytest.mark.clause("A5")
def test_every_replica_hears_the_token_and_tells_the_highest_that_it_has_seen(fenced, refusing):
    refusing[1].ask("PATCH", {}, Trimtab_Fence="5")
    fenced.read()
    assert fenced.newest_token == 5
    fenced.token = lambda: 6
    fenced.apply({KNOB: 16.0})
    assert [one.knobs.fence for one in refusing] == [6, 6, 6]
    assert fenced.set_elsewhere() == set()
