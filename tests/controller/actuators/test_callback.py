import pytest

from controller.actuators.actuator import ActuatorError
from controller.actuators.callback import CallbackKnobs


@pytest.fixture
def settings():
    return {"serving_batch_size": 8.0, "serving_threads": 1.0}


def test_values_are_set_read_back_and_restored(settings):
    knobs = CallbackKnobs("serving", settings.copy, settings.update)
    assert knobs.knobs == ("serving_batch_size", "serving_threads")
    assert knobs.apply({"serving_batch_size": 16.0}) == {"serving_batch_size": 16.0, "serving_threads": 1.0}
    knobs.undo()
    knobs.undo()
    assert settings == {"serving_batch_size": 8.0, "serving_threads": 1.0}


@pytest.mark.clause("A2")
def test_what_is_in_force_is_told_and_not_what_was_asked_for(settings):
    knobs = CallbackKnobs("serving", settings.copy, lambda values: settings.update(serving_batch_size=12.0))
    assert knobs.apply({"serving_batch_size": 16.0})["serving_batch_size"] == 12.0


def test_whatever_a_function_raises_is_a_refusal_in_one_line(settings):
    def refuse(values):
        raise KeyError("no\nsuch knob")

    knobs = CallbackKnobs("serving", settings.copy, refuse)
    with pytest.raises(ActuatorError, match="KeyError") as caught:
        knobs.apply({"serving_batch_size": 16.0})
    assert "\n" not in str(caught.value)
    knobs.undo()


@pytest.mark.parametrize("told", [{"a": float("nan")}, {"a": "8"}, {"a": True}, None])
def test_what_is_no_number_is_an_error(told):
    with pytest.raises(ActuatorError, match=r"no number|not values"):
        CallbackKnobs("serving", lambda: told, print)
