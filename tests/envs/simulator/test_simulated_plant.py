"""SimulatedPlant: conserves what arrives, never breaks, and one system of a batch is that system alone."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.plant import check_plant
from envs.scaling import KnobScaling
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SpecError, SystemSpec
from telemetry.workload import Demand

SPEC = SystemSpec.load("reference")
DEMANDS = default_demands(1.0)[::4]
SCALING = KnobScaling(SPEC.knobs)
RATES = st.lists(st.floats(0.0, 1e4), min_size=2, max_size=20)


def plant(n=None, **options) -> SimulatedPlant:
    return SimulatedPlant(SPEC, DEMANDS, n=n, **options)


def random_settings(rng, n: int) -> np.ndarray:
    return SCALING.unscale(rng.uniform(-1.0, 1.0, (n, len(SPEC.knobs))))


def assert_conserved(simulated: SimulatedPlant) -> None:
    total = simulated.totals
    for whole, parts in [
        ("requests_arrived", ("requests_served", "requests_rejected", "requests_timed_out", "requests_waiting")),
        ("events_arrived", ("events_written", "events_dropped", "events_waiting")),
        ("uses_offered", ("uses_done", "uses_expired", "uses_waiting")),
    ]:
        np.testing.assert_allclose(sum(total[part] for part in parts), total[whole], rtol=1e-9, atol=1e-6)
    assert all((value >= 0).all() for value in total.values())


def assert_sound(values: np.ndarray) -> None:
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    ratios = [i for i, name in enumerate(SPEC.catalogue.names) if name.endswith("_ratio")]
    assert (values[..., ratios] <= 1).all()


@pytest.mark.parametrize("options", [{}, {"n": 4}, {"n": 4, "randomize": True}, {"n": 3, "missing_ratio": 0.3}])
def test_conforms(options):
    check_plant(plant(**options))


@settings(max_examples=40, deadline=None)
@given(RATES, st.integers(0, 2**32 - 1), st.floats(0.2, 10.0))
def test_no_setting_and_no_demand_breaks_it(rates, seed, seconds):
    rng = np.random.default_rng(seed)
    demand = Demand("any", 1.0, np.array(rates), np.array(rates[::-1]), "hypothesis")
    simulated = SimulatedPlant(SPEC, [demand], n=8, seed=seed, randomize=True, random_start=True, as_recorded=True)
    for _ in range(12):
        simulated.apply(random_settings(rng, 8))
        values = simulated.advance(seconds).values
        assert_sound(values)
        assert_conserved(simulated)


def test_cpu_used_never_exceeds_what_is_granted():
    simulated, rng = plant(64, randomize=True, seed=5), np.random.default_rng(0)
    cores = [SPEC.knob_index(f"{workload}_cpu_cores") for workload in SPEC.workloads]
    used = SPEC.catalogue.indices([workload.cpu_used for workload in SPEC.workloads.values()])
    for _ in range(20):
        simulated.apply(random_settings(rng, 64))
        values = simulated.advance(1.0).values
        assert (values[:, used] <= simulated.setting[:, cores] + 1e-12).all()


def trajectory(simulated: SimulatedPlant, asked: np.ndarray) -> np.ndarray:
    rows = []
    for setting in asked:
        simulated.apply(setting)
        rows.append(np.concatenate([simulated.advance(1.0).values, simulated.setting], axis=-1))
    return np.stack(rows)


def test_a_system_of_a_batch_is_bit_for_bit_the_system_alone():
    asked = np.stack([random_settings(np.random.default_rng(t), 6) for t in range(30)])
    options = {"randomize": True, "random_start": True, "peak_share": (0.5, 1.2)}
    batch = trajectory(plant(6, seed=40, **options), asked)
    for i in range(6):
        assert (trajectory(plant(seed=40 + i, **options), asked[:, i]) == batch[:, i]).all()


def test_the_same_seed_gives_the_same_trajectory_and_another_does_not():
    asked = np.stack([random_settings(np.random.default_rng(t), 3) for t in range(10)])
    simulated = plant(3, seed=1, randomize=True)
    first = trajectory(simulated, asked)
    simulated.reset(seed=1)
    again = trajectory(simulated, asked)
    simulated.reset(seed=100)
    other = trajectory(simulated, asked)
    assert (first == again).all()
    assert not (first == other).all(axis=(0, 2)).any()


@pytest.mark.parametrize("duplicate", [lambda p: pickle.loads(pickle.dumps(p)), copy.deepcopy])
def test_a_copy_goes_on_alike_and_apart(duplicate):
    asked = np.stack([random_settings(np.random.default_rng(t), 2) for t in range(6)])
    simulated = plant(2, randomize=True)
    trajectory(simulated, asked)
    twin = duplicate(simulated)
    ahead = trajectory(twin, asked)
    assert (ahead == trajectory(simulated, asked)).all()


def test_a_masked_reset_leaves_the_others_alone():
    asked = np.stack([random_settings(np.random.default_rng(t), 3) for t in range(5)])
    simulated, untouched = plant(3, seed=9), plant(3, seed=9)
    trajectory(simulated, asked), trajectory(untouched, asked)
    simulated.reset(mask=np.array([False, True, False]))
    assert simulated.totals["requests_arrived"][1] == 0
    assert (trajectory(simulated, asked)[:, [0, 2]] == trajectory(untouched, asked)[:, [0, 2]]).all()


def test_demands_can_be_assigned_and_begin_at_their_beginning():
    simulated = plant(len(DEMANDS), noise=False, random_start=True)
    simulated.reset(seed=3, demand_indices=np.arange(len(DEMANDS)))
    index = SPEC.catalogue.index("serving_arrivals_per_second")
    arrived = np.stack([simulated.advance(1.0).values[:, index] for _ in range(20)])
    for i, demand in enumerate(DEMANDS):
        shape = demand.normalized().requests_per_second[:20]
        np.testing.assert_allclose(arrived[:, i] * shape.max(), arrived[:, i].max() * shape, rtol=1e-9)
    assert (simulated.demand_index == np.arange(len(DEMANDS))).all()


def test_a_demand_begins_again_at_its_end():
    demand = Demand("three", 1.0, np.array([1.0, 2.0, 3.0]), np.ones(3), "test")
    simulated = SimulatedPlant(SPEC, [demand], noise=False, as_recorded=True)
    index = SPEC.catalogue.index("serving_arrivals_per_second")
    assert [simulated.advance(1.0).values[index] for _ in range(5)] == [1.0, 2.0, 3.0, 1.0, 2.0]


def test_an_actuator_may_act_a_period_late():
    simulated = plant(60, randomize=True)
    asked = np.broadcast_to(SCALING.high, (60, len(SPEC.knobs))).copy()
    simulated.apply(asked)
    acted = [(simulated.setting == asked).all(axis=1).mean()]
    for _ in range(2):
        simulated.advance(1.0)
        acted.append((simulated.setting == asked).all(axis=1).mean())
    assert 0 < acted[0] == acted[1] < acted[2] == 1


def test_missing_readings_are_nan():
    values = plant(200, missing_ratio=0.2).advance(1.0).values
    assert np.isnan(values).mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("seconds", [0.0, -1.0, np.nan, np.inf])
def test_time_only_moves_forward(seconds):
    with pytest.raises(ValueError, match="positive"):
        plant().advance(seconds)


def test_a_spec_that_it_cannot_play_is_refused():
    metric = SPEC.metrics[0].model_copy(update={"name": "serving_colour"})
    with pytest.raises(SpecError, match="serving_colour"):
        SimulatedPlant(SPEC.model_copy(update={"metrics": [*SPEC.metrics, metric]}), DEMANDS)
    knobs = [knob for knob in SPEC.knobs if knob.name != "serving_threads"]
    with pytest.raises(SpecError, match="serving_threads"):
        SimulatedPlant(SPEC.model_copy(update={"knobs": knobs}), DEMANDS)
    with pytest.raises(ValueError, match="at least one demand"):
        SimulatedPlant(SPEC, [])
