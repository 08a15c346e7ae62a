import json
import os
import time

import numpy as np
import pytest

from controller.actuators.callback import CallbackKnobs
from controller.actuators.http import HttpKnobs
from controller.live_plant import LivePlant
from controller.plant_events import EventKind
from envs.plant import PlantError, check_plant
from envs.spec import SystemSpec
from plants import FakeClock
from refusing import make_refusing

__all__ = ["make_refusing"]


@pytest.fixture
def clock():
    return FakeClock(100.0)


@pytest.fixture
def directory(system, tmp_path):
    path = tmp_path / "testbed.json"
    announce(path, system)
    return path


def announce(path, system):
    path.write_text(json.dumps({name: component.entry for name, component in system.items()}))
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


@pytest.fixture
def plant(spec, directory, clock):
    plant = LivePlant(spec, directory, clock=clock, sleep=clock.advance, wall_clock=lambda: 1000.0, extra_sources=[])
    yield plant
    plant.close()


def reading(plant, snapshot, name):
    return snapshot.values[plant.spec.catalogue.index(name)]


def histogram(fast, slow):
    return {
        'serving_latency_seconds_bucket{le="0.05"}': fast,
        'serving_latency_seconds_bucket{le="0.15"}': fast,
        'serving_latency_seconds_bucket{le="+Inf"}': fast + slow,
    }


def test_live_plant_conforms(plant):
    check_plant(plant)


def test_close_restores_what_was_found(plant, system):
    wanted = plant.setting
    wanted[plant.spec.knob_index("serving_batch_size")] = 32
    plant.apply(wanted)
    assert system["serving"].knobs["serving_batch_size"] == 32
    plant.close()
    plant.close()
    assert system["serving"].knobs["serving_batch_size"] == 8


def test_rates_come_from_counters_over_the_time_that_really_passed(plant, system, clock):
    system["serving"].metrics |= {"serving_requests_total": 50.0, **histogram(90.0, 10.0)}
    plant.advance(1.0)
    system["serving"].metrics |= {"serving_requests_total": 150.0, **histogram(170.0, 30.0)}
    clock.advance(1.5)  # the caller is late
    snapshot = plant.advance(1.0)
    assert reading(plant, snapshot, "serving_arrivals_per_second") == pytest.approx(100.0 / 1.5)
    assert reading(plant, snapshot, "serving_within_slo_ratio") == pytest.approx(0.8)
    assert reading(plant, snapshot, "serving_goodput_per_second") == pytest.approx(80.0 / 1.5)


def test_ticks_do_not_drift(plant, clock):
    times = []
    for work in (0.3, 0.0, 0.7, 2.3, 0.1):
        times.append(plant.advance(1.0).time)
        clock.advance(work)
    assert np.diff(times).tolist() == pytest.approx([1.0, 1.0, 1.0, 2.3])
    assert plant.advance(1.0).time == pytest.approx(times[0] + 6.0)
    assert plant.missed_periods == 1


@pytest.mark.parametrize("behaviour", ["error", "garbage", "slow"])
def test_component_that_does_not_answer_gives_nan_for_its_metrics_alone(plant, system, behaviour):
    for component in system.values():
        component.metrics["process_resident_memory_bytes"] = 1e8
    plant.advance(1.0)
    system["training"].behaviour = behaviour
    snapshot = plant.advance(1.0)
    assert np.isnan(reading(plant, snapshot, "training_memory_bytes"))
    assert reading(plant, snapshot, "ingest_memory_bytes") == 1e8


@pytest.mark.clause("O2")
def test_counter_reset_is_nan_for_that_period(plant, system):
    for value in (100.0, 5.0, 25.0):
        system["ingest"].metrics["ingest_events_received_total"] = value
        snapshot = plant.advance(1.0)
        if value == 5.0:
            assert np.isnan(reading(plant, snapshot, "ingest_arrivals_per_second"))
    assert reading(plant, snapshot, "ingest_arrivals_per_second") == pytest.approx(20.0)


def test_idle_serving_is_within_its_slo_and_a_stuck_one_is_not(plant, system):
    system["serving"].metrics |= {**histogram(1.0, 0.0), "serving_queue_requests": 0.0}
    plant.advance(1.0)
    assert reading(plant, plant.advance(1.0), "serving_within_slo_ratio") == 1.0
    system["serving"].metrics["serving_queue_requests"] = 3.0
    snapshot = plant.advance(1.0)
    assert reading(plant, snapshot, "serving_within_slo_ratio") == 0.0
    assert reading(plant, snapshot, "serving_latency_p99_seconds") == pytest.approx(1.0)


def test_accuracy_is_averaged_over_seconds(plant, system):
    correct = answered = 0.0
    for share in [1.0] * 60 + [0.0]:
        correct, answered = correct + 50 * share, answered + 50
        system["load"].metrics |= {"load_correct_total": correct, "load_answered_total": answered}
        snapshot = plant.advance(1.0)
    assert reading(plant, snapshot, "serving_accuracy_ratio") == pytest.approx(np.exp(-1 / 15), abs=0.01)


def test_restart_is_told_and_the_new_counters_are_not_compared_with_the_old(plant, system, directory):
    system["serving"].metrics["serving_requests_total"] = 100.0
    plant.advance(1.0)
    wanted = plant.setting
    wanted[plant.spec.knob_index("serving_batch_size")] = 32
    plant.apply(wanted)
    system["serving"].restart(
        {name: 8 if "batch_size" in name else value for name, value in system["serving"].knobs.items()}
    )
    announce(directory, system)
    system["serving"].metrics["serving_requests_total"] = 5000.0
    snapshot = plant.advance(1.0)
    assert np.isnan(reading(plant, snapshot, "serving_arrivals_per_second"))
    assert [event.kind for event in plant.take_events()] == [EventKind.RESTARTED]
    assert plant.setting[plant.spec.knob_index("serving_batch_size")] == 8
    plant.apply(wanted)
    assert system["serving"].knobs["serving_batch_size"] == 32


def test_restart_is_told_when_the_new_process_answers_and_not_before(plant, system, directory):
    plant.advance(1.0)
    system["serving"].restart(system["serving"].knobs)
    system["serving"].behaviour = "error"
    announce(directory, system)
    plant.advance(1.0)
    assert plant.take_events() == []
    system["serving"].behaviour = "good"
    plant.advance(1.0)
    assert [event.workload for event in plant.take_events()] == ["serving"]


def test_knob_changed_by_somebody_else_is_noticed(plant, system):
    system["training"].knobs["training_batch_size"] = 128
    for _ in range(10):
        plant.advance(1.0)
    assert [event.knob for event in plant.take_events()] == ["training_batch_size"]


def test_refused_change_keeps_the_former_value_and_is_told(plant, system):
    before = plant.setting
    wanted = before.copy()
    wanted[plant.spec.knob_index("serving_batch_size")] = 32
    system["serving"].behaviour = "refuses"
    plant.apply(wanted)
    assert (plant.setting == before).all()
    assert [event.kind for event in plant.take_events()] == [EventKind.ACTUATOR_FAILED]


class Raced(HttpKnobs):
    """Somebody sets a knob whenever we have just looked."""

    hand = staticmethod(lambda: None)

    def read(self):
        values = super().read()
        self.hand()
        return values


@pytest.fixture
def refusing(spec, system, make_refusing):
    """Serving of the testbed's own making, beside components that take any writer."""
    own = {k.name: k.default for k in spec.knobs if k.workload == "serving" and k.actuator == "component"}
    system["serving"] = make_refusing("serving", **own)
    return system["serving"]


@pytest.fixture
def make_raced_plant(spec, system, refusing, clock):
    """A plant and its serving actuator."""
    plants = []

    def make():
        raced = Raced("serving", tuple(refusing.knobs.describe()), refusing.component)
        entries = {name: component.entry for name, component in system.items()}
        named = {"clock": clock, "sleep": clock.advance, "extra_sources": [], "own_actuators": [raced]}
        plants.append(LivePlant(spec, entries, **named))
        return plants[-1], raced

    yield make
    for plant in plants:
        plant.close()


@pytest.mark.clause("A4")
@pytest.mark.parametrize("value", [32.0, 8.0], ids=["another value", "the value in force"])
@pytest.mark.parametrize("when", ["before we look", "after we looked"])
def test_a_knob_that_somebody_has_set_is_left_alone_and_told(make_raced_plant, refusing, value, when):
    plant, raced = make_raced_plant()
    size = plant.spec.knob_index("serving_batch_size")
    refusing.ask("PATCH", {"serving_batch_size": 8.0})
    plant.reread()
    assert plant.setting[size] == 8
    set_by_hand = lambda: refusing.ask("PATCH", {"serving_batch_size": value})  # noqa: E731
    if when == "before we look":
        set_by_hand()
    else:
        raced.hand = set_by_hand
    wanted = plant.setting
    wanted[size] = 16
    plant.apply(wanted)
    assert refusing.knobs["serving_batch_size"] == value
    assert plant.setting[size] == value
    told = [(event.kind, event.knob) for event in plant.take_events()]
    assert told == [(EventKind.CHANGED_ELSEWHERE, "serving_batch_size")]


@pytest.mark.clause("A4")
def test_somebody_who_sets_the_value_in_force_is_noticed_by_looking_too(make_raced_plant, refusing):
    plant, _ = make_raced_plant()
    now = refusing.knobs["serving_batch_size"]
    refusing.ask("PATCH", {"serving_batch_size": now})
    for _ in range(10):
        plant.advance(1.0)
    details = [event.detail for event in plant.take_events()]
    assert details == [f"serving_batch_size was set by somebody else, to {now:g} as before"]


@pytest.mark.clause("A5")
def test_changes_carry_the_token_and_the_plant_tells_the_highest_that_was_there(make_raced_plant, refusing):
    refusing.ask("PATCH", {}, Trimtab_Fence="7")
    plant, _ = make_raced_plant()
    assert plant.fence_with(lambda: 8) == 7
    size = plant.spec.knob_index("serving_batch_size")
    wanted = plant.setting
    wanted[size] += 1
    plant.apply(wanted)
    assert refusing.knobs.fence == 8
    refusing.ask("PATCH", {}, Trimtab_Fence="9")
    plant.restore()
    assert plant.setting[size] == wanted[size], "another has the right to restore, and we have it no more"


def test_component_that_is_missing_at_start_is_an_error(spec, system):
    with pytest.raises(PlantError, match="no training among the components"):
        LivePlant(spec, {"serving": system["serving"].entry})


def test_metric_that_nothing_tells_is_an_error(spec, system):
    changed = spec.model_dump(mode="json")
    changed["metrics"].append({"name": "room_temperature_celsius", "low": 0, "high": 50, "help": "x"})
    with pytest.raises(PlantError, match="no component tells 'room_temperature_celsius'"):
        LivePlant(SystemSpec.model_validate(changed), {name: c.entry for name, c in system.items()})


def test_report_says_what_is_used_for_what(plant):
    report = plant.actuators.report()
    assert "serving: PATCH /knobs of the component" in report
    assert "serving_cpu_cores" in report


def test_a_plant_with_limits_and_files_and_functions_conforms_and_is_left_as_found(system, tmp_path, clock):
    file, settings = tmp_path / "loader.toml", {"training_depth": 4.0}
    file.write_text("workers = 2  # by hand\n")
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'extends = "reference"\n'
        + knob("training_processes", "processes", high=4096.0, default=4096.0)
        + knob("training_workers", "file", target=f"{file}#workers")
        + knob("training_depth", "callback", default=4.0)
    )
    entries = {name: component.entry for name, component in system.items()}
    own = [CallbackKnobs("training", settings.copy, settings.update)]
    plant = LivePlant(
        SystemSpec.load(spec), entries, clock=clock, sleep=clock.advance, extra_sources=[], own_actuators=own
    )
    try:
        check_plant(plant)
        wanted = plant.setting
        wanted[plant.spec.knob_index("training_workers")] = 8
        wanted[plant.spec.knob_index("training_depth")] = 7
        plant.apply(wanted)
        assert (file.read_text(), settings) == ("workers = 8  # by hand\n", {"training_depth": 7.0})
    finally:
        plant.close()
    assert (file.read_text(), settings) == ("workers = 2  # by hand\n", {"training_depth": 4.0})


def knob(name, actuator, *, high=64.0, default=2.0, target=""):
    return (
        f'[[knobs]]\nname = "{name}"\nworkload = "training"\nrole = "tuning"\nlow = 1\nhigh = {high}\n'
        f'default = {default}\nunit = "x"\ninteger = true\nactuator = "{actuator}"\ntarget = "{target}"\n'
    )
