import numpy as np
import pytest

from agents.heuristics.hpa import HpaParameters
from agents.heuristics.knobs import Asked, Knobs, cpu_knobs, of_each_workload

BATCH = "serving_batch_size"


@pytest.fixture
def batch_size(tuning, spec):
    return Knobs(tuning, [BATCH], spec.default_setting)


def test_a_knob_is_read_and_asked_for_in_natural_units(tuning, observe, spec, batch_size):
    setting = spec.default_setting
    setting[spec.knob_index(BATCH)] = 16
    assert batch_size.in_force(observe(setting)) == pytest.approx([16])
    decoded = tuning.decode(batch_size.ask(np.array([16.0])), spec.default_setting)
    assert decoded[spec.knob_index(BATCH)] == 16


def test_the_other_knobs_of_the_task_are_held(tuning, spec):
    held = spec.default_setting
    held[spec.knob_index("training_batch_size")] = 64
    decoded = tuning.decode(Knobs(tuning, [BATCH], held).ask(np.array([8.0])), spec.default_setting)
    np.testing.assert_allclose(decoded, held)


def test_nan_keeps_a_knob(tuning, spec, batch_size):
    decoded = tuning.decode(batch_size.ask(np.array([np.nan])), spec.default_setting)
    assert decoded[spec.knob_index(BATCH)] == 8


def test_a_knob_of_another_task_is_refused(allocation, spec):
    with pytest.raises(ValueError, match="serving_batch_size, which the task allocation does not"):
        Knobs(allocation, [BATCH], spec.default_setting)


def test_cpu_grants_come_in_the_order_of_the_workloads(allocation, spec, observe):
    setting = spec.default_setting
    setting[: len(spec.workloads)] = [0.6, 0.4, 0.2]
    knobs = cpu_knobs(allocation, setting)
    assert knobs.held == pytest.approx([0.6, 0.4, 0.2])
    assert knobs.in_force(observe(setting)) == pytest.approx([0.6, 0.4, 0.2])


def test_steps_within_the_dead_band_add_up(batch_size):
    asked = Asked(batch_size)
    for _ in range(20):
        asked.ask(asked.now(np.array([8.0])) + 0.02)
    assert asked.now(np.array([8.0])) == pytest.approx([8.4])


def test_what_somebody_else_set_is_where_a_rule_goes_on_from(batch_size):
    asked = Asked(batch_size)
    asked.ask(np.array([8.0]))
    seen = [float(asked.now(np.array([32.0]))[0]) for _ in range(batch_size.settling_periods + 1)]
    assert seen == pytest.approx([8.0] * batch_size.settling_periods + [32.0])


def test_what_was_asked_for_is_within_the_range(batch_size):
    asked = Asked(batch_size)
    asked.ask(np.array([500.0]))
    assert asked.now(np.array([64.0])) == pytest.approx([64.0])


def test_a_parameter_of_each_workload_fits_beside_its_knobs(allocation):
    own = HpaParameters(serving=0.5, training=0.6, ingest=0.7)
    like = np.zeros((3, 4))
    assert of_each_workload(own, allocation, like).tolist() == [[0.5], [0.6], [0.7]]
    each_system = HpaParameters(serving=np.array([0.1, 0.2]), training=0.6, ingest=0.7)
    expected = [[0.1, 0.2], [0.6, 0.6], [0.7, 0.7]]
    assert of_each_workload(each_system, allocation, np.zeros((3, 2))).tolist() == expected
