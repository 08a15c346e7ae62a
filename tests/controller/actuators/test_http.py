import pytest

from controller.actuators.actuator import ActuatorError
from controller.actuators.http import HttpKnobs
from controller.components import Component

KNOBS = ("serving_batch_size", "serving_batch_timeout_seconds")


@pytest.fixture
def serving(make_component):
    return make_component("serving", serving_batch_size=8, serving_batch_timeout_seconds=0.005)


@pytest.fixture
def actuator(serving):
    return HttpKnobs("serving", KNOBS, Component("serving", serving.url), deadline=0.3)


def changes(component):
    return [body for method, _, body in component.requests if method == "PATCH"]


def test_only_what_differs_is_sent_in_one_request(actuator, serving):
    in_force = actuator.apply({"serving_batch_size": 16.0, "serving_batch_timeout_seconds": 0.005})
    assert in_force == {"serving_batch_size": 16, "serving_batch_timeout_seconds": 0.005}
    assert changes(serving) == [{"serving_batch_size": 16}]
    actuator.apply({"serving_batch_size": 16.0})
    assert len(changes(serving)) == 1


def test_whole_numbers_are_sent_as_such(actuator, serving):
    actuator.apply({"serving_batch_size": 16.0, "serving_batch_timeout_seconds": 0.01})
    assert [type(value) for value in changes(serving)[0].values()] == [int, float]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("error", "codec|Expecting|refused with 500"),
        ("garbage", "codec|Expecting|decode"),
        ("slow", "no complete answer within 0.3 s"),
        ("refuses", "refused with 422: allowed is an integer from 1 to 64"),
    ],
)
def test_bad_answer_is_an_error_in_one_line_and_the_former_value_stays(actuator, serving, behaviour, message):
    actuator.read()
    serving.behaviour = behaviour
    with pytest.raises(ActuatorError, match=message) as caught:
        actuator.apply({"serving_batch_size": 16.0})
    assert "\n" not in str(caught.value)
    serving.behaviour = "good"
    serving.released.set()
    assert actuator.apply({})["serving_batch_size"] == 8


def test_component_that_is_gone_is_an_error(make_component):
    actuator = HttpKnobs("serving", KNOBS, Component("serving", "http://127.0.0.1:9"))
    assert not actuator.probe().available
    with pytest.raises(ActuatorError, match="refused"):
        actuator.read()


def test_component_without_the_knob_is_not_available(make_component):
    other = make_component("other", something=1)
    capability = HttpKnobs("serving", KNOBS, Component("other", other.url)).probe()
    assert "no number for serving_batch_size" in capability.reason


def test_undo_restores_what_was_found_even_after_a_restart(actuator, serving):
    actuator.apply({"serving_batch_size": 16.0})
    actuator.attach(Component("serving", serving.url))
    actuator.undo()
    actuator.undo()
    assert serving.knobs["serving_batch_size"] == 8
