import numpy as np
import pytest

from agents.heuristics.resource_units import ResourceUnits
from envs.spec import Role, SystemSpec
from envs.task import Task

SERVING, TRAINING, INGEST = (np.array([i]) for i in range(3))
CPU, MEMORY, STORAGE, NETWORK = (np.array([i]) for i in range(4))
UNIT, SLACK = np.array([0.1]), np.array([[0.1], [0.5], [0.3]])


@pytest.fixture(scope="module")
def host():
    """The spec whose workloads share every resource."""
    return SystemSpec.load("host")


@pytest.fixture
def units(host):
    return ResourceUnits(Task(host, Role.ALLOCATION), host.default_setting)


def named(host, units, grants):
    names = [knob for knob in host.knob_names if knob.endswith(("_cores", "_bytes", "_per_second"))]
    found = {}
    for name in names:
        action = units.knobs.ask(grants)
        task = Task(host, Role.ALLOCATION)
        scaled = np.zeros(len(host.knobs))
        scaled[task.knobs] = action[0]
        found[name] = float(task.knob_scaling.unscale(scaled)[host.knob_index(name)])
    return found


def test_turns_go_round_the_resources_that_a_workload_has_a_knob_for(units):
    assert units.next_resource(SERVING, CPU) == MEMORY
    assert units.next_resource(SERVING, MEMORY) == NETWORK  # serving stores nothing
    assert units.next_resource(SERVING, NETWORK) == CPU
    assert units.next_resource(TRAINING, STORAGE) == CPU  # training sends nothing


def test_a_workload_with_one_resource_keeps_its_turn(spec, allocation):
    assert ResourceUnits(allocation, spec.default_setting).next_resource(SERVING, CPU) == CPU


def test_memory_goes_up_from_what_is_free(host, units):
    grants = units.knobs.held[:, None]
    after = named(host, units, units.up(grants, SERVING, MEMORY, UNIT, SLACK))
    before = named(host, units, grants)
    changed = {name for name in after if after[name] != pytest.approx(before[name], rel=1e-5)}
    assert changed == {"serving_memory_limit_bytes"}
    assert after["serving_memory_limit_bytes"] == pytest.approx(2.0**30 * 16**0.05, rel=1e-3)  # 128 MiB to 2 GiB


def test_cpu_goes_up_from_the_workload_with_the_most_slack(host, units):
    grants = units.knobs.held[:, None]  # the cores are all given away
    after = named(host, units, units.up(grants, SERVING, CPU, UNIT, SLACK))
    assert after["serving_cpu_cores"] + after["training_cpu_cores"] == pytest.approx(1.0, rel=1e-5)
    assert after["ingest_cpu_cores"] == pytest.approx(0.5, rel=1e-5)


def test_nothing_goes_up_where_nobody_can_give(host, units):
    setting = host.default_setting
    for name, cores in (("serving_cpu_cores", 0.8), ("training_cpu_cores", 0.2), ("ingest_cpu_cores", 0.5)):
        setting[host.knob_index(name)] = cores
    units = ResourceUnits(Task(host, Role.ALLOCATION), setting)
    grants = units.knobs.held[:, None]
    large = np.array([2.0])  # training would have 0.8 cores more
    np.testing.assert_array_equal(units.up(grants, TRAINING, CPU, large, SLACK), grants)


def test_nothing_moves_beyond_the_ends_of_a_knob(host):
    setting = host.default_setting
    setting[host.knob_index("serving_cpu_cores")], setting[host.knob_index("training_cpu_cores")] = 1.3, 0.05
    units = ResourceUnits(Task(host, Role.ALLOCATION), setting)
    grants = units.knobs.held[:, None]
    np.testing.assert_array_equal(units.up(grants, SERVING, CPU, UNIT, SLACK), grants)
    np.testing.assert_array_equal(units.down(grants, TRAINING, CPU, UNIT), grants)


def test_a_unit_down_is_the_inverse_of_a_unit_up(units):
    grants = units.knobs.held[:, None]
    down = units.down(grants, TRAINING, MEMORY, UNIT)
    np.testing.assert_allclose(units.up(down, TRAINING, MEMORY, UNIT, SLACK), grants, rtol=1e-9)


def test_each_system_moves_its_own_knob(units):
    grants = np.repeat(units.knobs.held[:, None], 2, axis=1)
    workloads, resources = np.array([0, 2]), np.array([1, 0])
    after = units.down(grants, workloads, resources, np.array([0.1, 0.2]))
    assert ((after != grants).sum(axis=0) == 1).all()
    assert (after[:, 0] != grants[:, 0]).argmax() != (after[:, 1] != grants[:, 1]).argmax()
