"""The operator has the last word: kill switch, revert, override; and the ways down that need no operator."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from controlled import FakeComponent, ScriptedPolicy
from controller import commands
from controller.guard import Guard, GuardConfig
from controller.live_plant import LivePlant
from controller.loop import Controller, ControllerConfig
from controller.plant_events import EventKind
from controller.runner import run_controller
from controller.shield import Reason
from envs.spec import SystemSpec
from plants import FakeClock, ToyPlant

BATCH = "serving_batch_size"


def value(spec: SystemSpec, setting: np.ndarray) -> float:
    return float(setting[spec.knob_index(BATCH)])


def reasons(decision: object) -> list[Reason]:
    return [refusal.reason for refusal in decision.reasons]  # type: ignore[attr-defined]


@pytest.mark.clause("L7")
def test_the_kill_switch_restores_what_was_found_within_a_period_and_holds_it(
    controller: Controller, plant: ToyPlant, policy: ScriptedPolicy, spec: SystemSpec
) -> None:
    policy.wanted = {BATCH: 16}
    controller.step()
    controller.pins = {"training_batch_size": 32.0}
    controller.killed = True
    for _ in range(3):
        decision = controller.step()
        assert Reason.KILLED in reasons(decision)
        assert (plant.setting == controller.found).all()
    assert controller.trials.running == {}


@pytest.mark.clause("L7")
def test_the_kill_switch_works_in_every_mode(
    controller: Controller, plant: ToyPlant, policy: ScriptedPolicy, spec: SystemSpec
) -> None:
    policy.wanted = {BATCH: 16}
    controller.step()
    controller.mode = "off"
    controller.step()
    assert value(spec, plant.setting) == 16
    controller.killed = True
    controller.step()
    assert value(spec, plant.setting) == 8


@pytest.mark.clause("L7")
def test_the_kill_switch_changes_nothing_where_we_did_not(
    make_controller: Callable[..., Controller], plant: ToyPlant
) -> None:
    controller = make_controller("shadow")
    plant.apply(plant.setting + 1)  # by the operator
    found = plant.setting
    controller.killed = True
    controller.step()
    assert (plant.setting == found).all()


@pytest.mark.clause("L7")
@pytest.mark.parametrize("way", ["file", "command", "signal"])
def test_each_of_three_ways_turns_the_kill_switch_on_and_it_outlives_a_restart(
    system: dict[str, FakeComponent], spec: SystemSpec, tmp_path: Path, way: str
) -> None:
    plain = spec.model_dump(mode="json")
    fast = SystemSpec.model_validate({**plain, "control_period_seconds": 0.02})
    entries = {name: component.entry for name, component in system.items()}
    stop, found = threading.Event(), []
    commands_by_way: dict[str, Callable[[], object]] = {
        "file": lambda: (tmp_path / "kill").write_text(""),
        "command": lambda: commands.kill(tmp_path),
        "signal": lambda: os.kill(os.getpid(), signal.SIGUSR1),
    }
    (tmp_path / "pins.json").write_text(f'{{"{BATCH}": 16}}')

    def after_step(controller: Controller, decision: object) -> None:
        found.append(system["serving"].knobs[BATCH])
        if len(found) == 2:
            commands_by_way[way]()
        if len(found) == 3:
            stop.set()

    run_controller(fast, entries, {}, tmp_path, mode="act", stop=stop, after_step=after_step)
    assert found == [16, 16, 8]
    stop.clear()
    run_controller(fast, entries, {}, tmp_path, mode="act", stop=stop, after_step=lambda *_: stop.set())
    assert system["serving"].knobs[BATCH] == 8
    assert commands.status(tmp_path)["killed"] is True
    commands.arm(tmp_path)
    assert not (tmp_path / "kill").exists()


@pytest.mark.clause("L8")
def test_revert_goes_back_to_the_start_and_tries_nothing_for_a_while(
    controller: Controller, plant: ToyPlant, policy: ScriptedPolicy, spec: SystemSpec
) -> None:
    policy.wanted = {BATCH: 16}
    while not any(verdict.outcome == "keep" for verdict in controller.step().verdicts):
        pass
    controller.revert()
    decision = controller.step()
    assert value(spec, plant.setting) == 8
    assert Reason.OVERRIDE in reasons(decision)
    assert Reason.BACKOFF in reasons(controller.step())


@pytest.mark.clause("O1")
def test_after_a_long_blindness_the_setting_found_at_start_is_restored(
    controller: Controller, plant: ToyPlant, policy: ScriptedPolicy, spec: SystemSpec
) -> None:
    policy.wanted = {BATCH: 16}
    while not any(verdict.outcome == "keep" for verdict in controller.step().verdicts):
        pass
    plant.drop(periods=1000)
    for _ in range(119):
        controller.step()
    assert value(spec, plant.setting) == 16
    controller.step()
    decision = controller.step()
    assert value(spec, plant.setting) == 8
    assert Reason.BLIND in reasons(decision)


@pytest.mark.clause("E4")
def test_too_many_rollbacks_lower_the_mode_by_one_rung(
    make_controller: Callable[..., Controller], plant: ToyPlant, policy: ScriptedPolicy
) -> None:
    controller = make_controller(config=ControllerConfig(rollbacks_per_hour=2))
    policy.wanted = {BATCH: 16}
    for _ in range(400):
        plant.next_reading(serving_within_slo_ratio=0.1 if controller.trials.running else 1.0)
        decision = controller.step()
        if Reason.DEMOTED in reasons(decision):
            break
    assert controller.outcomes["rolled_back"] == 3
    assert controller.modes_in_force == {"serving": "canary", "training": "act", "ingest": "act"}
    assert controller.demoted == "3 rollbacks within an hour, 3 of them of serving, 2 are allowed"


@pytest.mark.clause("E4")
def test_slos_that_hold_too_seldom_take_the_mode_down(
    make_controller: Callable[..., Controller], plant: ToyPlant, spec: SystemSpec
) -> None:
    controller = make_controller(config=ControllerConfig(least_attainment_seconds=60.0))
    for number in range(100):
        plant.next_reading(serving_within_slo_ratio=1.0 if number % 3 == 0 else 0.9)
        if Reason.DEMOTED in reasons(controller.step()):
            break
    assert 55 < number < 70
    assert controller.mode != "act"
    assert "all SLOs held in 3" in controller.demoted


@pytest.mark.clause("E3")
def test_a_freeze_pauses_the_controller_until_an_operator_resumes_after_a_restart_too(
    system: dict[str, FakeComponent], spec: SystemSpec, tmp_path: Path
) -> None:
    fast = SystemSpec.model_validate({**spec.model_dump(mode="json"), "control_period_seconds": 0.02})
    entries = {name: component.entry for name, component in system.items()}
    stop, seen = threading.Event(), []

    def after_step(controller: Controller, decision: object) -> None:
        if not seen:
            controller.frozen, controller.paused = "a rollback failed", True
        seen.append(controller.paused)
        if len(seen) == 3:
            stop.set()

    run_controller(fast, entries, {}, tmp_path, mode="act", stop=stop, after_step=after_step)
    stop.clear()
    run_controller(fast, entries, {}, tmp_path, mode="act", stop=stop, after_step=lambda *_: stop.set())
    assert seen == [True] * 3
    assert commands.status(tmp_path)["paused"] is True
    commands.resume(tmp_path)
    stop.clear()
    run_controller(fast, entries, {}, tmp_path, mode="act", stop=stop, after_step=lambda *_: stop.set())
    assert commands.status(tmp_path)["paused"] is False


@pytest.mark.clause("A4")
def test_a_value_that_somebody_else_set_is_not_overwritten(system: dict[str, FakeComponent], spec: SystemSpec) -> None:
    clock = FakeClock(100.0)
    entries = {name: component.entry for name, component in system.items()}
    plant = LivePlant(spec, entries, clock=clock, sleep=clock.advance, wall_clock=lambda: 1000.0, extra_sources=[])
    try:
        system["serving"].knobs[BATCH] = 5
        wanted = plant.setting
        wanted[spec.knob_index(BATCH)] = 32
        plant.apply(wanted)
        assert system["serving"].knobs[BATCH] == 5
        event = plant.take_events()[0]
        assert (event.kind, event.knob) == (EventKind.CHANGED_ELSEWHERE, BATCH)
        assert "8 -> 5" in event.detail
    finally:
        plant.close()


@pytest.mark.clause("A4")
def test_nothing_is_set_in_a_process_that_is_not_the_one_we_know(
    system: dict[str, FakeComponent], spec: SystemSpec
) -> None:
    clock = FakeClock(100.0)
    entries = {name: component.entry for name, component in system.items()}
    plant = LivePlant(spec, entries, clock=clock, sleep=clock.advance, wall_clock=lambda: 1000.0, extra_sources=[])
    try:
        system["serving"].restart({**system["serving"].knobs, BATCH: 6})
        wanted = plant.setting
        wanted[spec.knob_index(BATCH)] = 32
        plant.apply(wanted)
        assert system["serving"].knobs[BATCH] == 6
        assert [event.kind for event in plant.take_events()] == [EventKind.ACTUATOR_FAILED]
    finally:
        plant.close()


@pytest.mark.clause("A3")
def test_a_loop_without_a_warden_still_takes_harmful_changes_back(
    controller: Controller, plant: ToyPlant, policy: ScriptedPolicy, spec: SystemSpec, tmp_path: Path
) -> None:
    policy.wanted = {BATCH: 16}
    controller.step()
    clock = FakeClock(1e6)
    controller.guard = Guard(tmp_path / "state", GuardConfig(restart_seconds=1e9), clock=clock)
    try:
        clock.advance(60.0)
        policy.wanted = {BATCH: 16, "training_batch_size": 128}
        plant.next_reading(serving_within_slo_ratio=0.1)
        decision = controller.step()
        assert Reason.LEASE in reasons(decision)
        assert value(spec, plant.setting) == 8
        assert decision.opened == []
    finally:
        controller.guard.close()


@pytest.mark.clause("L8")
def test_a_pin_holds_for_its_time(system: dict[str, FakeComponent], tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"setting": {"serving_batch_size": 8}}')
    commands.pin(tmp_path, BATCH, 4.0)
    commands.pin(tmp_path, BATCH, 5.0, seconds=3600.0)
    pins = commands.read_pins(tmp_path)
    assert pins is not None
    assert pins[BATCH].value == 5.0
    assert pins[BATCH].until == pytest.approx(time.time() + 3600.0, abs=5.0)
    commands.unpin(tmp_path, BATCH)
    assert commands.read_pins(tmp_path) == {}
    with pytest.raises(commands.CommandError, match="not pinned; pinned are: none"):
        commands.unpin(tmp_path, BATCH)
    with pytest.raises(commands.CommandError, match="no knob 'x'; known are: serving_batch_size"):
        commands.pin(tmp_path, "x", 1.0)


@pytest.mark.clause("L8")
@pytest.mark.parametrize(("minutes", "expected"), [(-1.0, 8), (60.0, 5)])
def test_a_pin_that_has_ended_is_no_longer_obeyed(
    system: dict[str, FakeComponent], spec: SystemSpec, tmp_path: Path, minutes: float, expected: int
) -> None:
    plain = spec.model_dump(mode="json")
    fast = SystemSpec.model_validate({**plain, "control_period_seconds": 0.02})
    entries = {name: component.entry for name, component in system.items()}
    commands.set_pins(tmp_path, {BATCH: commands.Pin(5.0, time.time() + 60.0 * minutes)})
    stop, found = threading.Event(), []

    def after_step(controller: Controller, decision: object) -> None:
        found.append(system["serving"].knobs[BATCH])
        stop.set()

    run_controller(fast, entries, {}, tmp_path, mode="act", stop=stop, after_step=after_step)
    assert found == [expected]


@pytest.mark.clause("L7")
def test_the_kill_switch_lifts_all_limits_of_an_overbooked_host(
    system: dict[str, FakeComponent], spec: SystemSpec, tmp_path: Path
) -> None:
    """What is found together is more than the cores there are, which no setting of ours may be."""
    plain = spec.model_dump(mode="json")
    fast = SystemSpec.model_validate({**plain, "control_period_seconds": 0.02})
    entries = {name: component.entry for name, component in system.items()}
    cores = {"serving_cpu_cores": 0.5, "training_cpu_cores": 0.4, "ingest_cpu_cores": 0.2}
    commands.set_pins(tmp_path, cores)
    stop, found = threading.Event(), []

    def after_step(controller: Controller, decision: object) -> None:
        own = [controller.spec.knob_index(name) for name in cores]
        found.append((controller.plant.setting[own].tolist(), controller.found[own].tolist()))
        commands.kill(tmp_path)
        if len(found) == 2:
            stop.set()

    run_controller(fast, entries, {}, tmp_path, mode="act", stop=stop, after_step=after_step)
    (pinned, start), (killed, _) = found
    assert sum(start) > spec.cores
    assert killed == start
    assert killed != pinned
