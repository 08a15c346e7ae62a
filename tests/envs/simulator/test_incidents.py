"""Incidents: each does its damage, ends, and leaves those alone that it does not concern."""

import numpy as np
import pytest

from envs.simulator.incidents import Incident, IncidentKind
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec

SPEC = SystemSpec.load("reference")
DEMANDS = default_demands(1.0)[::4]
EVERY = [
    Incident(kind, 3.0, 10.0, 0.5, workload)
    for kind in IncidentKind
    for workload in ("serving", "training", "ingest")
]  # fmt: skip


def struck(system, kind, strength=1.0, workload="serving", duration=40.0):
    """The system during an incident, once it has had time to bite."""
    system.run(20)
    system.plant.inject(Incident(kind, 0.0, duration, strength, workload))
    return system.run(int(duration))


def test_a_noisy_neighbour_slows_a_busy_host_down(steady):
    calm = steady(events=400.0).run(60)
    noisy = struck(steady(events=400.0), "noisy_neighbour", 1.0)
    assert noisy.training_samples_per_second[-1] < 0.8 * calm.training_samples_per_second[-1]
    assert noisy.host_cpu_used_ratio[-1] > calm.host_cpu_used_ratio[-1]


def test_a_traffic_burst_brings_more_requests(steady):
    assert struck(steady(), "traffic_burst", 1.5).serving_arrivals_per_second[-1] == pytest.approx(250.0)


def test_a_memory_leak_ends_in_a_kill_and_begins_again(steady):
    system = struck(steady("host"), "memory_leak", 1.0, "training")
    assert (np.diff(system.training_memory_bytes)[:2] > 1e8).all()
    assert system.training_oom_kills_per_second.sum() >= 2


def test_a_leak_that_fills_a_host_without_limits_slows_everybody_down_and_kills_the_leaking_process(steady):
    calm, leaking = steady(events=400.0).run(60), struck(steady(events=400.0), "memory_leak", 1.0, "ingest")
    assert (leaking.ingest_memory_bytes == 0).any()
    assert leaking.training_memory_bytes.min() > 0
    assert leaking.training_samples_per_second.min() < 0.8 * calm.training_samples_per_second[-1]


def test_a_full_disk_takes_neither_checkpoints_nor_shards(steady):
    system = struck(steady(), "disk_filling", 1.0)
    assert system.ingest_written_per_second[-1] == pytest.approx(0.0, abs=1e-3)
    assert (np.diff(system.serving_model_age_seconds[-10:]) == 1.0).all()
    assert np.diff(system.ingest_lag_seconds[-10:]) == pytest.approx(1.0)
    after = system.run(60)
    assert after.ingest_lag_seconds[-1] < 3.0
    assert after.serving_model_age_seconds[-1] < 15.0


def test_slow_storage_delays_checkpoints(steady):
    knobs = {"events": 400.0, "training_checkpoint_interval_seconds": 4.0}
    calm, slow = steady(**knobs).run(60), struck(steady(**knobs), "slow_storage", 0.99)
    assert slow.training_samples_per_second[-10:].mean() < 0.3 * calm.training_samples_per_second[-10:].mean()
    assert slow.serving_model_age_seconds[-10:].mean() > calm.serving_model_age_seconds[-10:].mean() + 2


def test_network_loss_makes_answers_late(steady):
    calm, lossy = steady().run(60), struck(steady(), "network_loss", 0.1)
    assert lossy.serving_latency_p99_seconds[-1] == pytest.approx(3.0 * calm.serving_latency_p99_seconds[-1])


def test_a_crashed_server_answers_nothing_for_the_duration(steady):
    system = struck(steady(), "component_crash", workload="serving", duration=10.0).run(20)
    assert system.serving_failed_per_second.max() > 90
    system = struck(steady(), "component_crash", workload="serving", duration=10.0)
    assert system.serving_goodput_per_second[1:].max() < 1e-3
    assert system.run(20).serving_within_slo_ratio[-1] > 0.9


def test_a_crashed_trainer_loses_what_it_has_learnt_since_its_last_checkpoint(steady):
    knobs = {"training_checkpoint_interval_seconds": 60.0}
    calm, crashed = steady(**knobs).run(100), steady(**knobs).run(40)
    crashed.plant.inject(Incident(IncidentKind.COMPONENT_CRASH, 0.0, 5.0, workload="training"))
    ages = crashed.run(60).serving_model_age_seconds
    assert calm.serving_model_age_seconds[40:].min() < 10.0 < 60.0 < ages.max()


def test_a_crashed_ingest_loses_what_waited_in_its_memory(steady):
    system = struck(steady(ingest_cpu_cores=0.03, events=400.0), "component_crash", workload="ingest", duration=5.0)
    assert system.plant.totals["events_dropped"] > 1000


@pytest.mark.parametrize("incident", EVERY, ids=lambda incident: f"{incident.kind}-{incident.workload}")
def test_an_incident_begins_when_it_should_and_is_over_afterwards(incident, steady):
    system = steady("host")
    system.plant.inject(incident)
    seen = []
    for _ in range(16):
        seen.append(bool(system.plant.incidents[0]))
        system.run(1)
    assert seen == [False] * 3 + [True] * 10 + [False] * 3


def test_an_incident_strikes_only_the_systems_that_it_is_injected_into():
    options = {"seed": 7, "randomize": True, "random_start": True}
    calm, struck_ones = (SimulatedPlant(SPEC, DEMANDS, n=6, **options) for _ in range(2))
    for incident in EVERY:
        struck_ones.inject(incident, systems=[1, 4])
    before, after = (np.stack([plant.advance(1.0).values for _ in range(60)]) for plant in (calm, struck_ones))
    alone = [0, 2, 3, 5]
    assert (before[:, alone] == after[:, alone]).all()
    assert (before[:, [1, 4]] != after[:, [1, 4]]).any()
    assert [len(each) for each in struck_ones.incidents] == [0] * 6


def test_random_incidents_come_at_their_rate_and_by_the_seed():
    one, other = (SimulatedPlant(SPEC, DEMANDS, n=200, seed=3, incident_rate_per_hour=60.0) for _ in range(2))
    begun = 0
    for _ in range(60):
        one.advance(1.0), other.advance(1.0)
        begun += sum(incident.start_seconds == -1.0 for active in one.incidents for incident in active)
    assert begun == pytest.approx(200, rel=0.25)  # one a minute for each
    assert one.incidents == other.incidents
    assert {incident.kind for active in one.incidents for incident in active} == set(IncidentKind)


def test_a_reset_ends_every_incident():
    plant = SimulatedPlant(SPEC, DEMANDS, n=2)
    plant.inject(Incident(IncidentKind.TRAFFIC_BURST, 0.0, 1000.0, 1.0))
    plant.reset(mask=np.array([True, False]))
    assert [len(active) for active in plant.incidents] == [0, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("earthquake", 0.0, 1.0), "earthquake"),
        (("slow_storage", np.nan, 1.0), "start_seconds is nan"),
        (("slow_storage", 0.0, 0.0), "duration_seconds is 0.0"),
        (("slow_storage", 0.0, 1.0, 1.0), "strength is 1.0; allowed is 0 to 0.999"),
        (("memory_leak", 0.0, 1.0, 0.5, "storage"), "allowed: serving, training, ingest"),
    ],
)
def test_an_incident_that_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Incident(*values)
