"""A controller of a system in which serving has two replicas, real ones over HTTP."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from controlled import FakeComponent
from controller.component_source import PAGES
from controller.config import ControllerConfig
from controller.journal import Journal
from controller.live_plant import READ_BACK_PERIODS, LivePlant
from controller.loop import Controller
from controller.replay import replay
from controller.replica_watch import ASK_AGAIN_SWEEPS, SILENT_SWEEPS
from envs.plant import PlantError, check_plant
from envs.spec import SystemSpec
from plants import FakeClock

KNOB = "serving_batch_size"


@pytest.fixture
def replicas(system: dict[str, FakeComponent], make_component: Callable[..., FakeComponent]) -> list[FakeComponent]:
    first = system["serving"]
    return [first, make_component("serving", **first.knobs)]


@pytest.fixture
def directory(system: dict[str, FakeComponent], replicas: list[FakeComponent], tmp_path: Path) -> Path:
    path = tmp_path / "components.json"
    announce(path, system, replicas)
    return path


def announce(path: Path, system: dict[str, FakeComponent], replicas: list[FakeComponent]) -> None:
    entries = {name: component.entry for name, component in system.items()}
    path.write_text(json.dumps(entries | {"serving": {"replicas": [replica.entry for replica in replicas]}}))
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


@pytest.fixture
def plant(spec: SystemSpec, directory: Path) -> Iterator[LivePlant]:
    clock = FakeClock(100.0)
    plant = LivePlant(spec, directory, clock=clock, sleep=clock.advance, wall_clock=lambda: 1e3, extra_sources=[])
    yield plant
    plant.close()


@pytest.fixture
def controller(plant: LivePlant, journal: Journal) -> Controller:
    """In mode act, whose operator wants a batch of 16."""
    controller = Controller(plant, {}, {}, journal, mode="act", clock=plant._clock, config=ControllerConfig())
    controller.pins = {KNOB: 16.0}
    controller.step()
    return controller


def sizes(replicas: list[FakeComponent]) -> list[float]:
    return [replica.knobs[KNOB] for replica in replicas]


def come_back(path: Path, system: dict[str, FakeComponent], replicas: list[FakeComponent], which: int) -> None:
    """The replica's process is started again, with the knobs of its own configuration."""
    replicas[which].restart(replicas[which].knobs | {KNOB: 8})
    replicas[which].behaviour = "good"
    announce(path, system, replicas)


def told(controller: Controller) -> str:
    assert controller.last_decision is not None
    return "; ".join(str(reason) for reason in controller.last_decision.reasons)


def test_a_plant_with_replicas_conforms(plant: LivePlant) -> None:
    check_plant(plant)


def test_what_operators_want_is_set_on_all_and_taken_back_from_all(
    controller: Controller, plant: LivePlant, replicas: list[FakeComponent]
) -> None:
    assert sizes(replicas) == [16, 16]
    plant.close()
    assert sizes(replicas) == [8, 8]


def test_limits_from_outside_are_off_and_say_why(plant: LivePlant) -> None:
    assert "serving has replicas, on which only PATCH /knobs is set" in plant.actuators.report()
    assert not plant.limits_hold


@pytest.mark.clause("A2")
def test_a_replica_that_refuses_fails_the_change_and_the_setting_is_what_both_have(
    controller: Controller, plant: LivePlant, replicas: list[FakeComponent]
) -> None:
    replicas[1].behaviour = "refuses"
    controller.pins = {KNOB: 32.0}
    decision = controller.step()
    assert sizes(replicas) == [16, 16]
    assert decision.setting[plant.spec.knob_index(KNOB)] == 16
    assert "asked 32, in force 16" in told(controller)


@pytest.mark.clause("A2")
def test_a_replica_that_dies_with_a_change_gets_the_value_in_force_when_it_returns(
    controller: Controller, system: dict[str, FakeComponent], replicas: list[FakeComponent], directory: Path
) -> None:
    replicas[1].behaviour = "dies"
    controller.pins = {KNOB: 32.0}
    controller.step()
    assert sizes(replicas)[0] == 16, "it is brought back"
    controller.step()
    assert sizes(replicas)[0] == 32, "the rest goes on"
    assert "serving-1 is not ready" in told(controller)
    assert "serving-1" in controller.conditions.active["replicas"][1]
    assert controller.metrics()['trimtab_controller_replicas_ready{component="serving"}'] == 1.0

    come_back(directory, system, replicas, 1)
    for _ in range(ASK_AGAIN_SWEEPS + 2):
        controller.step()
    assert sizes(replicas) == [32, 32]
    assert "replicas" not in controller.conditions.active
    assert controller.metrics()['trimtab_controller_replicas_ready{component="serving"}'] == 2.0


def test_what_a_replica_catches_up_with_stands_in_the_journal_before(
    controller: Controller, system: dict[str, FakeComponent], replicas: list[FakeComponent], directory: Path
) -> None:
    come_back(directory, system, replicas, 0)
    controller.step()
    controller.step()
    assert sizes(replicas) == [16, 16]
    records = Journal.read(controller.journal.path)
    intents = [record["replicas"] for record in records if record["kind"] == "intent" and "replicas" in record]
    assert intents == [{"serving-0": {KNOB: 16.0}}]


@pytest.mark.parametrize("state", ["shadow", "off", "killed"])
def test_where_nothing_may_be_changed_a_replica_with_old_knobs_waits(
    controller: Controller, system: dict[str, FakeComponent], replicas: list[FakeComponent], directory: Path, state: str
) -> None:
    if state == "killed":
        controller.killed = True
        controller.step()
        assert sizes(replicas) == [8, 8]
    else:
        controller.pins, controller.mode = {}, state
    come_back(directory, system, replicas, 1)
    replicas[1].knobs[KNOB] = 4
    for _ in range(3):
        controller.step()
    assert sizes(replicas)[1] == 4
    assert "it has not got serving_batch_size" in controller.conditions.active["replicas"][1]


def test_a_replica_that_is_silent_is_gone_and_its_return_is_told(
    controller: Controller, plant: LivePlant, replicas: list[FakeComponent]
) -> None:
    replicas[1].behaviour = "gone"
    for number in range(SILENT_SWEEPS):
        assert ("serving-1" in plant.members["serving"].out) == (number >= SILENT_SWEEPS)
        controller.step()
    assert "serving-1 is not ready: it does not show its metrics" in told(controller)
    replicas[1].behaviour = "good"
    controller.step()
    assert "serving-1 is ready again" in told(controller)


@pytest.mark.clause("O1")
def test_readings_go_on_with_one_replica_and_stop_with_none(plant: LivePlant, replicas: list[FakeComponent]) -> None:
    index = plant.spec.catalogue.index("serving_memory_bytes")
    for replica, size in zip(replicas, (1e8, 3e8), strict=True):
        replica.metrics["process_resident_memory_bytes"] = size
    plant.advance(1.0)
    assert plant.advance(1.0).values[index] == 2e8
    replicas[0].behaviour = "gone"
    assert plant.advance(1.0).values[index] == 3e8
    replicas[1].behaviour = "gone"
    assert np.isnan(plant.advance(1.0).values[index])


@pytest.mark.clause("D7")
def test_a_journal_with_replicas_coming_and_going_replays_bit_for_bit(
    controller: Controller, system: dict[str, FakeComponent], replicas: list[FakeComponent], directory: Path
) -> None:
    for number in range(12):
        controller.pins = {KNOB: [16.0, 32.0][number % 2]}
        if number == 3:
            replicas[1].die()
        if number == 7:
            come_back(directory, system, replicas, 1)
        controller.step()
    found = replay(Journal.records(controller.journal.path))
    assert found.periods == 13
    assert found.problem == ""


def test_a_hand_on_one_replica_is_not_overwritten(
    controller: Controller, plant: LivePlant, replicas: list[FakeComponent]
) -> None:
    replicas[1].knobs[KNOB] = 50
    controller.pins = {KNOB: 32.0}
    controller.step()
    assert sizes(replicas) == [16, 50]


def test_replicas_that_differ_cannot_be_taken_over(
    spec: SystemSpec, directory: Path, replicas: list[FakeComponent]
) -> None:
    replicas[1].knobs[KNOB] = 9
    with pytest.raises(PlantError, match="is 8 on serving-0 and 9 on serving-1; make the replicas equal first"):
        LivePlant(spec, directory, extra_sources=[])


def test_a_replica_that_is_not_listed_any_more_does_not_count(
    plant: LivePlant, system: dict[str, FakeComponent], replicas: list[FakeComponent], directory: Path
) -> None:
    announce(directory, system, replicas[:1])
    plant.advance(1.0)
    assert plant.members["serving"].out == {"serving-1": "it is not listed any more"}


def test_a_restart_that_nobody_announced_shows_in_the_number_of_the_page(
    controller: Controller, plant: LivePlant, replicas: list[FakeComponent]
) -> None:
    for number in (7.0, 8.0):
        replicas[1].metrics[PAGES] = number
        controller.step()
    replicas[1].metrics[PAGES] = 1.0
    replicas[1].knobs[KNOB] = 8
    controller.step()
    assert "serving-1 is not ready: its pages are numbered anew: it was restarted" in told(controller)
    replicas[1].metrics[PAGES] = 2.0
    controller.step()
    assert sizes(replicas) == [16, 16]


def shown(replica: FakeComponent, requests: float, memory: float) -> None:
    replica.metrics |= {"serving_requests_total": requests, "process_resident_memory_bytes": memory}


@pytest.mark.clause("D3")
def test_canaries_have_their_own_knobs_and_readings_while_a_change_is_tried(
    plant: LivePlant, replicas: list[FakeComponent]
) -> None:
    index = plant.spec.catalogue.index
    for requests in (0.0, 10.0):
        shown(replicas[0], 3 * requests, 1e8)
        shown(replicas[1], requests, 3e8)
        plant.advance(1.0)
    plant.try_on("serving", {KNOB: 16.0})
    assert sizes(replicas) == [16, 8]
    pair = plant.paired["serving"]
    assert (pair.knobs, plant.tried) == ({}, {"serving": {KNOB: 16.0}}), "the period before is not of the canaries"
    assert pair.canary[index("serving_arrivals_per_second")] == pytest.approx(30.0)
    assert pair.rest[index("serving_arrivals_per_second")] == pytest.approx(10.0)
    assert (pair.canary[index("serving_memory_bytes")], pair.rest[index("serving_memory_bytes")]) == (1e8, 3e8)
    plant.advance(1.0)
    assert plant.paired["serving"].knobs == {KNOB: 16.0}
    for _ in range(READ_BACK_PERIODS):
        plant.advance(1.0)
    assert plant.take_events() == [], "nobody else has done that"
    assert plant.setting[plant.spec.knob_index(KNOB)] == 8


@pytest.mark.clause("D3")
def test_what_was_tried_is_made_on_all_or_taken_back(plant: LivePlant, replicas: list[FakeComponent]) -> None:
    plant.try_on("serving", {KNOB: 16.0})
    plant.try_on("serving", {})
    assert (sizes(replicas), plant.tried) == ([8, 8], {})
    plant.try_on("serving", {KNOB: 16.0})
    wanted = plant.setting
    wanted[plant.spec.knob_index(KNOB)] = 16.0
    plant.apply(wanted)
    plant.try_on("serving", {})
    assert (sizes(replicas), plant.tried) == ([16, 16], {})


@pytest.mark.clause("A2")
def test_a_change_that_the_rest_refuses_after_the_canaries_had_it_is_taken_back_from_all(
    plant: LivePlant, replicas: list[FakeComponent]
) -> None:
    plant.try_on("serving", {KNOB: 16.0})
    replicas[1].behaviour = "refuses"
    wanted = plant.setting
    wanted[plant.spec.knob_index(KNOB)] = 16.0
    plant.apply(wanted)
    plant.try_on("serving", {})
    assert sizes(replicas) == [8, 8]


def test_a_canary_that_does_not_take_a_change_is_told(plant: LivePlant, replicas: list[FakeComponent]) -> None:
    replicas[0].behaviour = "refuses"
    with pytest.raises(PlantError, match="refused with 422"):
        plant.try_on("serving", {KNOB: 16.0})
    assert plant.tried == {}


def test_canaries_have_no_knobs_that_are_set_from_outside(plant: LivePlant) -> None:
    with pytest.raises(PlantError, match="serving has no knob 'serving_cpu_cores'; it has serving_batch_size"):
        plant.try_on("serving", {"serving_cpu_cores": 0.3})


@pytest.mark.parametrize("end", ["restore", "close"])
def test_canaries_get_back_what_was_found(plant: LivePlant, replicas: list[FakeComponent], end: str) -> None:
    plant.try_on("serving", {KNOB: 16.0})
    assert sum(step.get("url") == f"{replicas[0].url}/knobs" for step in plant.revert_steps()) == 1
    getattr(plant, end)()
    assert (sizes(replicas), plant.tried) == ([8, 8], {})


def test_without_all_canaries_and_another_one_nothing_can_be_compared(
    plant: LivePlant, replicas: list[FakeComponent]
) -> None:
    plant.advance(1.0)
    plant.advance(1.0)
    assert list(plant.paired) == ["serving"]
    replicas[1].die()
    plant.advance(1.0)
    assert plant.paired == {}
