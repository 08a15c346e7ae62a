"""Who may set the knobs of a component that counts its changes: whoever has seen the newest, by the newest right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlled import FakeComponent
from controller.actuators.actuator import ActuatorError, SetElsewhere
from controller.actuators.http import HttpKnobs
from controller.actuators.versions import Versions
from controller.components import Component
from refusing import RefusingComponent, make_refusing

__all__ = ["make_refusing"]

KNOBS = ("serving_batch_size", "serving_batch_timeout_seconds")


@pytest.fixture
def serving(make_refusing: Callable[..., RefusingComponent]) -> RefusingComponent:
    return make_refusing("serving", serving_batch_size=8, serving_batch_timeout_seconds=0.005, serving_other=1)


@pytest.fixture
def actuator(serving: RefusingComponent) -> HttpKnobs:
    actuator = HttpKnobs("serving", KNOBS, serving.component)
    actuator.read()
    return actuator


def test_the_report_says_whether_the_component_refuses_stale_writers(
    actuator: HttpKnobs, make_component: Callable[..., FakeComponent]
) -> None:
    assert actuator.probe().reason == "PATCH /knobs of the component, which refuses stale writers"
    other = HttpKnobs("serving", ("size",), Component("serving", make_component("x", size=1).url))
    assert other.probe().reason == "PATCH /knobs of the component, which does not refuse stale writers"


@pytest.mark.clause("A4")
@pytest.mark.parametrize("value", [32, 8], ids=["another value", "the value in force"])
def test_a_knob_that_was_set_after_we_looked_is_not_overwritten(
    actuator: HttpKnobs, serving: RefusingComponent, value: float
) -> None:
    serving.ask("PATCH", {"serving_batch_size": value})
    with pytest.raises(SetElsewhere, match=r"refused with 412: the knobs are at version .*-1, not .*-0"):
        actuator.apply({"serving_batch_size": 16.0})
    assert serving.knobs["serving_batch_size"] == value
    assert actuator.set_elsewhere() == {"serving_batch_size"}
    assert actuator.set_elsewhere() == set(), "it is told once"


@pytest.mark.clause("A4")
def test_who_sets_the_value_in_force_again_is_seen(actuator: HttpKnobs, serving: RefusingComponent) -> None:
    serving.ask("PATCH", {"serving_batch_size": 8})
    actuator.read()
    assert actuator.set_elsewhere() == {"serving_batch_size"}


def test_a_change_of_a_knob_that_is_none_of_ours_holds_nothing_up(
    actuator: HttpKnobs, serving: RefusingComponent
) -> None:
    serving.ask("PATCH", {"serving_other": 2})
    assert actuator.apply({"serving_batch_size": 16.0})["serving_batch_size"] == 16
    assert actuator.set_elsewhere() == set()


def test_our_own_changes_are_nobody_elses(actuator: HttpKnobs) -> None:
    for size in (16.0, 32.0):
        actuator.apply({"serving_batch_size": size})
        actuator.read()
    actuator.undo()
    actuator.read()
    assert actuator.set_elsewhere() == set()


def test_a_restarted_component_was_set_by_nobody(actuator: HttpKnobs, serving: RefusingComponent) -> None:
    actuator.apply({"serving_batch_size": 16.0})
    serving.restart()
    assert actuator.read()["serving_batch_size"] == 8
    assert actuator.set_elsewhere() == set()


@pytest.mark.clause("A5")
def test_a_writer_with_an_old_token_is_refused_by_the_component(
    actuator: HttpKnobs, serving: RefusingComponent
) -> None:
    new = HttpKnobs("serving", KNOBS, serving.component)
    actuator.token, new.token = lambda: 4, lambda: 5
    actuator.apply({"serving_batch_size": 16.0})
    new.apply({"serving_batch_size": 32.0})
    actuator.read()  # it has seen what the newer one did, and still may not
    with pytest.raises(ActuatorError, match="refused with 409: fencing token 4 is old, 5 was here"):
        actuator.apply({"serving_batch_size": 8.0})
    actuator.undo()
    assert serving.knobs["serving_batch_size"] == 32
    assert actuator.newest_token == 5


def test_undo_restores_what_was_found_whoever_has_set_something_since(
    actuator: HttpKnobs, serving: RefusingComponent
) -> None:
    actuator.apply({"serving_batch_size": 16.0})
    serving.ask("PATCH", {"serving_batch_timeout_seconds": 0.01})
    actuator.undo()
    assert serving.knobs["serving_batch_size"] == 8


def test_an_answer_that_was_lost_leaves_the_change_ours() -> None:
    versions = Versions()
    versions.saw("a-0", {"x": "a-0", "y": "a-0"})
    versions.may_have_written(["x"])
    versions.saw("a-2", {"x": "a-1", "y": "a-2"})
    assert versions.elsewhere() == {"y"}


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.booleans())))
def test_exactly_the_knobs_that_others_set_are_told(writes: list[tuple[str, bool]]) -> None:
    """However our changes and theirs take turns, where we look right before each of ours."""
    versions, of, count = Versions(), dict.fromkeys("xyz", "a-0"), 0
    versions.saw("a-0", of)
    for knob, ours in writes:
        count += 1
        if ours:
            versions.saw(f"a-{count - 1}", of)
        of = {**of, knob: f"a-{count}"}
        if ours:
            versions.wrote(f"a-{count}", [knob])
    versions.saw(f"a-{count}", of)
    assert versions.elsewhere() == {knob for knob, ours in writes if not ours}
