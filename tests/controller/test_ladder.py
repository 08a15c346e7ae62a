"""The rungs between watching and acting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from controlled import ScriptedPolicy
from controller.config import ControllerConfig
from controller.decision import Decision, Mode
from controller.journal import Journal
from controller.kernel import Kernel
from controller.loop import Controller
from controller.period import Effect, Inputs
from controller.plant_events import Event, EventKind
from controller.shield import Reason
from envs.scaling import KnobScaling
from envs.spec import SystemSpec
from plants import ToyPlant
from telemetry.metrics import Snapshot

BATCH, TRAINED, CORES = "serving_batch_size", "training_batch_size", "serving_cpu_cores"


def value(controller: Controller, knob: str) -> float:
    return float(controller.plant.setting[controller.spec.knob_index(knob)])


def reasons(decision: Decision, reason: Reason) -> list[str]:
    return [refusal.detail for refusal in decision.reasons if refusal.reason is reason]


def waiting(controller: Controller) -> list[str]:
    return [advice.move.id for advice in controller.kernel.adviser.waiting.values()]


@pytest.fixture
def on(make_controller: Callable[..., Controller]) -> Callable[..., Controller]:
    """A controller in a mode, with enough history that a change can be judged."""

    def make(mode: str, **config: float) -> Controller:
        controller = make_controller(mode, ControllerConfig(**config))  # type: ignore[arg-type]
        for _ in range(7):
            controller.step()
        return controller

    return make


@pytest.mark.clause("L12")
def test_the_ladder_has_its_rungs_in_order_and_ends_at_the_lowest() -> None:
    assert [str(mode) for mode in Mode] == ["off", "shadow", "advise", "canary", "act"]
    assert [mode.below for mode in Mode] == [Mode.OFF, Mode.OFF, Mode.SHADOW, Mode.ADVISE, Mode.CANARY]
    assert [mode for mode in Mode if mode.changes] == [Mode.ADVISE, Mode.CANARY, Mode.ACT]


@pytest.mark.clause("L12")
def test_an_advised_change_waits_until_it_is_approved_and_is_then_on_trial(
    on: Callable[..., Controller], policy: ScriptedPolicy, journal: Journal
) -> None:
    controller, policy.wanted = on("advise"), {BATCH: 16}
    advised = controller.step().advised
    policy.wanted = {BATCH: 24}  # what was advised is what is made
    for _ in range(5):
        assert not controller.step().changed
    assert waiting(controller) == [advised[0].move.id]
    controller.approve(advised[0].move.id)
    decision = controller.step()
    assert value(controller, BATCH) == 16
    assert [trial.id for trial in decision.opened] == [advised[0].move.id]
    assert waiting(controller) == []
    record = next(record for record in Journal.read(journal.path) if record.get("advised"))
    assert record["advised"][0]["knobs"] == {BATCH: [8.0, 16.0]}


@pytest.mark.clause("L12")
def test_an_approved_change_that_is_harmful_is_rolled_back_by_itself(
    on: Callable[..., Controller], policy: ScriptedPolicy, plant: ToyPlant
) -> None:
    controller, policy.wanted = on("advise"), {BATCH: 16}
    controller.step()
    controller.approve(waiting(controller)[0])
    controller.step()
    for _ in range(4):
        plant.next_reading(serving_within_slo_ratio=0.1)
        controller.step()
    assert value(controller, BATCH) == 8
    assert controller.outcomes["rolled_back"] == 1


@pytest.mark.clause("L12")
def test_an_advice_expires_and_an_approval_that_comes_too_late_changes_nothing(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on("advise", advice_seconds=3.0), {BATCH: 16}
    controller.step()
    id = waiting(controller)[0]
    policy.wanted = {}
    expired = [detail for _ in range(4) for detail in reasons(controller.step(), Reason.ADVICE)]
    assert expired == [f"{id} has expired: not approved in time"]
    controller.approve(id)
    decision = controller.step()
    assert reasons(decision, Reason.ADVICE) == [f"no advice {id} waits any more"]
    assert not decision.changed


@pytest.mark.clause("L12")
def test_an_advice_whose_knobs_were_changed_meanwhile_is_dropped(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on("advise"), {BATCH: 16}
    controller.step()
    id = waiting(controller)[0]
    setting = controller.plant.setting
    setting[controller.spec.knob_index(BATCH)] = 12.0
    controller.plant.apply(setting)
    controller.approve(id)
    decision = controller.step()
    assert f"{id} is overtaken: its knobs were changed meanwhile" in reasons(decision, Reason.ADVICE)
    assert value(controller, BATCH) == 12


@pytest.mark.clause("L12")
def test_an_advice_is_withdrawn_when_the_opposite_is_wanted_even_if_it_was_approved(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on("advise"), {BATCH: 16}
    controller.step()
    id = waiting(controller)[0]
    controller.approve(id)
    policy.wanted = {BATCH: 4}
    decision = controller.step()
    assert reasons(decision, Reason.ADVICE) == [f"{id} is withdrawn: the opposite is wanted now"]
    assert not decision.changed
    assert [advice.move.values for advice in decision.advised] == [(4.0,)]


@pytest.mark.clause("L8")
def test_an_approved_change_does_not_move_a_knob_that_is_pinned_where_it_is(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on("advise"), {BATCH: 16}
    controller.step()
    id = waiting(controller)[0]
    controller.pins = {BATCH: 8.0}
    controller.approve(id)
    decision = controller.step()
    assert value(controller, BATCH) == 8
    assert reasons(decision, Reason.ADVICE) == [f"{id} is withdrawn: a knob of it is pinned"]


@pytest.mark.clause("L12")
def test_an_approval_during_a_pause_is_kept_until_it_is_over(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on("advise"), {BATCH: 16}
    controller.step()
    controller.paused = True
    controller.approve(waiting(controller)[0])
    assert not controller.step().changed
    controller.paused = False
    assert controller.step().changed


def test_what_waits_is_forgotten_with_the_mode(on: Callable[..., Controller], policy: ScriptedPolicy) -> None:
    controller, policy.wanted = on("advise"), {BATCH: 16}
    controller.step()
    controller.mode = "shadow"
    controller.step()
    assert waiting(controller) == []


@pytest.mark.clause("L12")
def test_a_canary_goes_half_the_largest_step(
    on: Callable[..., Controller], policy: ScriptedPolicy, spec: SystemSpec
) -> None:
    controller, policy.wanted = on("canary"), {BATCH: 64}
    controller.step()
    scaling, knob = KnobScaling(spec.knobs), spec.knob_index(BATCH)
    way = scaling.scale(controller.plant.setting)[knob] - scaling.scale(spec.default_setting)[knob]
    assert way == pytest.approx(0.5 * spec.knobs[knob].max_step, abs=0.02)


@pytest.mark.clause("L12")
def test_a_canary_changes_one_workload_at_a_time_and_each_gets_its_turn(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on("canary"), {BATCH: 16, TRAINED: 48}
    changed = []
    for _ in range(12):
        decision = controller.step()
        changed += [trial.workload for trial in decision.opened]
        assert len(controller.trials.running) <= 1
    assert changed[:2] == ["serving", "training"] or changed[:2] == ["training", "serving"]
    assert (value(controller, BATCH), value(controller, TRAINED)) == (16, 48)


@pytest.mark.clause("D4")
def test_adding_capacity_waits_for_no_canary(
    on: Callable[..., Controller], policy: ScriptedPolicy, allocator: ScriptedPolicy
) -> None:
    controller, policy.wanted = on("canary"), {TRAINED: 48}
    controller.pins = {"ingest_cpu_cores": 0.3}  # which leaves cores free
    controller.step()
    assert list(controller.trials.running) == ["training"]
    allocator.wanted = {CORES: value(controller, CORES) + 0.1}
    before = value(controller, CORES)
    controller.step()
    assert value(controller, CORES) > before


@pytest.mark.clause("L12")
def test_whole_numbers_move_by_one_at_least(on: Callable[..., Controller], policy: ScriptedPolicy) -> None:
    controller, policy.wanted = on("canary", canary_step=0.001), {BATCH: 16}
    controller.step()
    assert value(controller, BATCH) == 9


@pytest.mark.clause("E4")
@pytest.mark.parametrize(("mode", "below"), [("act", "canary"), ("canary", "advise"), ("advise", "shadow")])
def test_the_mode_falls_one_rung_at_a_time_and_rises_by_nobody_but_an_operator(
    on: Callable[..., Controller], policy: ScriptedPolicy, plant: ToyPlant, mode: str, below: str
) -> None:
    controller, policy.wanted = on(mode, rollbacks_per_hour=0), {BATCH: 16}
    for _ in range(30):
        for id in waiting(controller):
            controller.approve(id)
        plant.next_reading(serving_within_slo_ratio=0.1 if controller.trials.running else 1.0)
        controller.step()
        if controller.demoted:
            break
    policy.wanted = {}
    for _ in range(20):
        controller.step()
    assert controller.modes_in_force["serving"] == below


@pytest.mark.clause("L5")
def test_another_configuration_is_in_force_from_the_next_period_on(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on("act"), {TRAINED: 64}
    controller.reconfigure(ControllerConfig(bounds={TRAINED: (8.0, 8.0)}))
    found = [controller.step() and value(controller, TRAINED) for _ in range(20)]
    assert found[0] == 10  # the largest step, from 32
    assert found[-1] == 8
    assert (np.diff(found) <= 0).all()  # not up again, whatever the policy wants


@pytest.mark.clause("L5")
def test_a_trial_ends_where_bounds_are_narrowed_and_nothing_of_it_comes_back(
    on: Callable[..., Controller], policy: ScriptedPolicy, plant: ToyPlant
) -> None:
    controller, policy.wanted = on("act"), {TRAINED: 64}
    controller.step()
    assert controller.trials.running
    controller.reconfigure(ControllerConfig(bounds={TRAINED: (8.0, 8.0)}))
    plant.next_reading(serving_within_slo_ratio=0.1)
    decision = controller.step()
    assert not controller.trials.running
    assert reasons(decision, Reason.CONFIG) == ["another configuration is in force"]
    assert value(controller, TRAINED) < 64


@pytest.mark.clause("L8")
def test_a_knob_that_somebody_else_moved_out_of_narrowed_bounds_is_left_alone_for_a_while() -> None:
    spec, setting, reached = SystemSpec.load("reference"), SystemSpec.load("reference").default_setting, []
    config = ControllerConfig(bounds={TRAINED: (8.0, 40.0)}, yield_seconds=5.0)
    kernel, knob = Kernel(spec, config, setting, "run"), spec.knob_index(TRAINED)
    setting[knob] = 64.0
    elsewhere = Event(EventKind.CHANGED_ELSEWHERE, "training", "told", TRAINED)
    for period in range(8):
        reading = ToyPlant(spec).advance(1.0)
        events = [elsewhere] if period == 0 else []
        inputs = Inputs(float(period), Snapshot(float(period), reading.values), setting, Mode.ACT, events=events)
        plan = kernel.decide(inputs)
        kernel.applied(plan, Effect(float(period), plan.setting))
        setting = plan.setting
        reached.append(float(setting[knob]))
    assert reached == [64.0] * 5 + [40.0] * 3
