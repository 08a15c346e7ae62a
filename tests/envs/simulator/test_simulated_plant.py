"""SimulatedPlant: conserves what arrives, never breaks, and one system of a batch is that system alone."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.plant import check_plant
from envs.scaling import KnobScaling
from envs.simulator.incidents import MOST_STRENGTH, Incident, IncidentKind
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SpecError, SystemSpec
from telemetry.workload import Demand

SPECS = {name: SystemSpec.load(name) for name in ("reference", "host", "pool")}
SPEC = SPECS["reference"]
DEMANDS = default_demands(1.0)[::4]
EVERYTHING = {
    "randomize": True, "random_start": True, "peak_share": (0.5, 1.2), "missing_ratio": 0.1,
    "incident_rate_per_hour": 200.0,
}  # fmt: skip
RATES = st.lists(st.floats(0.0, 1e4), min_size=2, max_size=20)
INCIDENTS = st.lists(
    st.builds(
        lambda kind, start, duration, share, workload: Incident(
            kind, start, duration, share * MOST_STRENGTH[kind], workload
        ),
        st.sampled_from(IncidentKind), st.floats(-5.0, 20.0), st.floats(0.1, 60.0), st.floats(0.0, 1.0),
        st.sampled_from(["serving", "training", "ingest"]),
    ),
    max_size=6,
)  # fmt: skip


def plant(n=None, spec="reference", **options) -> SimulatedPlant:
    return SimulatedPlant(SPECS[spec], DEMANDS, n=n, **options)


def random_settings(rng, n: int, spec: SystemSpec = SPEC) -> np.ndarray:
    return KnobScaling(spec.knobs).unscale(rng.uniform(-1.0, 1.0, (n, len(spec.knobs))))


def assert_conserved(simulated: SimulatedPlant) -> None:
    total = simulated.totals
    for whole, parts in [
        ("requests_arrived", ("requests_served", "requests_rejected", "requests_timed_out", "requests_waiting")),
        ("events_arrived", ("events_written", "events_dropped", "events_waiting")),
        ("uses_offered", ("uses_done", "uses_expired", "uses_waiting")),
    ]:
        np.testing.assert_allclose(sum(total[part] for part in parts), total[whole], rtol=1e-9, atol=1e-6)
    assert all((value >= 0).all() for value in total.values())


def assert_sound(values: np.ndarray, spec: SystemSpec) -> None:
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    ratios = [i for i, name in enumerate(spec.catalogue.names) if name.endswith("_ratio")]
    assert (values[..., ratios] <= 1).all()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("options", [{}, {"n": 4}, {"n": 4, "randomize": True}, {"n": 3, **EVERYTHING}])
def test_conforms(spec, options):
    check_plant(plant(spec=spec, **options))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(list(SPECS)), RATES, INCIDENTS, st.integers(0, 2**32 - 1), st.floats(0.2, 10.0))
def test_no_setting_no_demand_and_no_incident_breaks_it(name, rates, incidents, seed, seconds):
    rng, spec = np.random.default_rng(seed), SPECS[name]
    demand = Demand("any", 1.0, np.array(rates), np.array(rates[::-1]), "hypothesis")
    simulated = SimulatedPlant(spec, [demand], n=8, seed=seed, randomize=True, random_start=True, as_recorded=True)
    for i, incident in enumerate(incidents):
        simulated.inject(incident, systems=range(i, 8))
    for _ in range(12):
        simulated.apply(random_settings(rng, 8, spec))
        assert_sound(simulated.advance(seconds).values, spec)
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


@pytest.mark.parametrize("spec", SPECS)
def test_a_system_of_a_batch_is_bit_for_bit_the_system_alone(spec):
    asked = np.stack([random_settings(np.random.default_rng(t), 6, SPECS[spec]) for t in range(60)])
    batch = trajectory(plant(6, spec, seed=40, **EVERYTHING), asked)
    for i in range(6):
        alone = trajectory(plant(None, spec, seed=40 + i, **EVERYTHING), asked[:, i])
        np.testing.assert_array_equal(alone, batch[:, i])


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


COPIES = {
    "pickle": lambda simulated: pickle.loads(pickle.dumps(simulated)),
    "deepcopy": copy.deepcopy,
    "select": lambda simulated: simulated.select(np.arange(simulated.n)),
}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_goes_on_alike_and_apart(way, spec):
    asked = np.stack([random_settings(np.random.default_rng(t), 3, SPECS[spec]) for t in range(30)])
    simulated = plant(3, spec, **EVERYTHING)
    trajectory(simulated, asked)
    twin = COPIES[way](simulated)
    ahead = trajectory(twin, asked)
    np.testing.assert_array_equal(ahead, trajectory(simulated, asked))
    assert twin.time == simulated.time


@pytest.mark.parametrize("spec", SPECS)
def test_systems_can_be_put_in_the_place_of_others(spec):
    asked = np.stack([random_settings(np.random.default_rng(t), 3, SPECS[spec]) for t in range(20)])
    simulated, others = plant(3, spec, seed=1, **EVERYTHING), plant(3, spec, seed=50, **EVERYTHING)
    trajectory(simulated, asked), trajectory(others, asked)
    simulated.assign(np.array([0, 2]), others, np.array([1, 0]))
    mine = trajectory(simulated, asked[:, [1, 1, 0]])
    np.testing.assert_array_equal(mine[:, [0, 2]], trajectory(others, asked)[:, [1, 0]])


def test_a_copy_struck_by_an_incident_leaves_the_original_alone():
    simulated, calm = plant(2, seed=4), plant(2, seed=4)
    simulated.select(np.arange(2)).inject(Incident(IncidentKind.COMPONENT_CRASH, 0.0, 60.0))
    asked = np.stack([random_settings(np.random.default_rng(t), 2) for t in range(10)])
    np.testing.assert_array_equal(trajectory(simulated, asked), trajectory(calm, asked))


@pytest.mark.parametrize("spec", SPECS)
def test_held_demand_stays_at_the_last_expected_rate_without_any_noise(spec):
    simulated = plant(4, spec, seed=2, **EVERYTHING)
    for _ in range(5):
        simulated.advance(1.0)
    ahead = simulated.select(np.arange(4))
    ahead.hold_demand()
    index = SPECS[spec].catalogue.indices(["serving_arrivals_per_second", "ingest_arrivals_per_second"])
    arrived = np.stack([ahead.advance(1.0).values[:, index] for _ in range(10)])
    assert np.isfinite(arrived).all()
    assert (arrived == arrived[0]).all()
    exact = SimulatedPlant(SPECS[spec], DEMANDS, n=4, seed=2, **EVERYTHING | {"noise": False, "missing_ratio": 0.0})
    for _ in range(4):
        exact.advance(1.0)
    np.testing.assert_array_equal(exact.advance(1.0).values[:, index], arrived[0])


def test_demand_can_be_held_right_after_a_reset():
    simulated, held = plant(4, noise=False), plant(4)
    held.hold_demand()
    np.testing.assert_array_equal(simulated.advance(1.0).values, held.advance(1.0).values)


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
    asked = np.broadcast_to(KnobScaling(SPEC.knobs).high, (60, len(SPEC.knobs))).copy()
    simulated.apply(asked)
    acted = [(simulated.setting == asked).all(axis=1).mean()]
    for _ in range(2):
        simulated.advance(1.0)
        acted.append((simulated.setting == asked).all(axis=1).mean())
    assert 0 < acted[0] == acted[1] < acted[2] == 1


@pytest.mark.parametrize("asked_first", [(True, False), (False, True), (True, True)])
def test_late_settings_are_not_lost_when_systems_change_places_between_asking_and_acting(asked_first):
    plants = [plant(30, seed=seed, randomize=True) for seed in (0, 100)]
    asked = [random_settings(np.random.default_rng(t), 30) for t in range(2)]
    for simulated, setting, first in zip(plants, asked, asked_first, strict=True):
        simulated.apply(setting)
        if not first:
            simulated.advance(1.0)
    rows = np.arange(0, 30, 2)
    plants[0].assign(rows, plants[1], rows)
    plants[0].advance(1.0), plants[0].advance(1.0)
    asked[0][rows] = asked[1][rows]
    np.testing.assert_array_equal(plants[0].setting, asked[0])


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
