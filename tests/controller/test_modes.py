"""Each workload has a mode of its own, below that of the system."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlled import ScriptedPolicy
from controller.config import ControllerConfig
from controller.decision import Decision, Mode
from controller.loop import Controller
from controller.modes import highest, modes_in_force, told
from controller.shield import Reason
from envs.scaling import KnobScaling
from envs.spec import SystemSpec
from plants import ToyPlant

BATCH, TRAINED, CORES, TRAINING_CORES = (
    "serving_batch_size", "training_batch_size", "serving_cpu_cores", "training_cpu_cores",
)  # fmt: skip
MODES = st.sampled_from(Mode)


def value(controller: Controller, knob: str) -> float:
    return float(controller.plant.setting[controller.spec.knob_index(knob)])


def reasons(decision: Decision, reason: Reason) -> list[str]:
    return [refusal.detail for refusal in decision.reasons if refusal.reason is reason]


@pytest.fixture
def on(make_controller: Callable[..., Controller]) -> Callable[..., Controller]:
    """A controller in mode act with workloads in other ones, and enough history that a change can be judged."""

    def make(config: ControllerConfig | None = None, **modes: str) -> Controller:
        controller = make_controller("act", config)
        controller.modes = {workload: Mode(mode) for workload, mode in modes.items()}
        for _ in range(7):
            controller.step()
        return controller

    return make


@pytest.mark.clause("L12")
@given(MODES, st.dictionaries(st.sampled_from("abc"), MODES), st.dictionaries(st.sampled_from("abc"), MODES))
def test_no_workload_goes_further_than_the_system_the_operator_and_the_configuration_let_it(system, wanted, allowed):
    found = modes_in_force("abc", system, wanted, allowed)
    assert list(found) == ["a", "b", "c"]
    for workload, mode in found.items():
        limits = [system, *(limit[workload] for limit in (wanted, allowed) if workload in limit)]
        assert mode in limits
        assert all(mode.rung <= limit.rung for limit in limits)
    assert highest(found).rung == max(mode.rung for mode in found.values())


def test_the_modes_are_told_in_one_line() -> None:
    assert told("act", {"serving": "act", "training": "shadow"}) == "act, training shadow"
    assert told("off", {}) == "off"


@pytest.mark.clause("L12")
@pytest.mark.parametrize("mode", ["off", "shadow"])
def test_a_workload_that_is_held_gets_nothing_new_while_others_do(
    on: Callable[..., Controller], policy: ScriptedPolicy, mode: str
) -> None:
    controller, policy.wanted = on(serving=mode), {BATCH: 16, TRAINED: 48}
    decision = controller.step()
    assert [trial.workload for trial in decision.opened] == ["training"]
    assert (value(controller, BATCH), value(controller, TRAINED)) == (8, 48)
    told_so = ["tuning of serving is in mode shadow and would be: serving_batch_size -> 16"]
    assert reasons(decision, Reason.MODE) == (told_so if mode == "shadow" else [])
    assert decision.modes == {"serving": mode}


@pytest.mark.clause("L12")
def test_a_change_on_trial_is_taken_back_though_its_workload_is_in_shadow_by_now(
    on: Callable[..., Controller], policy: ScriptedPolicy, plant: ToyPlant
) -> None:
    controller, policy.wanted = on(), {BATCH: 16}
    controller.step()
    controller.modes["serving"] = Mode.SHADOW
    for _ in range(4):
        plant.next_reading(serving_within_slo_ratio=0.1)
        controller.step()
    assert value(controller, BATCH) == 8
    assert controller.outcomes["rolled_back"] == 1


@pytest.mark.clause("L12")
def test_a_workload_that_is_off_is_left_as_it_is_but_for_the_kill_switch(
    on: Callable[..., Controller], policy: ScriptedPolicy, plant: ToyPlant
) -> None:
    controller, policy.wanted = on(), {BATCH: 16}
    controller.step()
    controller.modes["serving"] = Mode.OFF
    controller.rollback()
    controller.pins = {BATCH: 4.0}
    plant.next_reading(serving_within_slo_ratio=0.1)
    controller.step()
    assert (value(controller, BATCH), list(controller.trials.running)) == (16, [])
    controller.killed = True
    controller.step()
    assert value(controller, BATCH) == 8


@pytest.mark.clause("L12")
def test_changes_of_a_workload_in_advise_wait_while_others_are_made(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on(serving="advise"), {BATCH: 16, TRAINED: 48}
    decision = controller.step()
    assert [advice.move.workload for advice in decision.advised] == ["serving"]
    assert [trial.workload for trial in decision.opened] == ["training"]
    assert value(controller, BATCH) == 8
    controller.approve(decision.advised[0].move.id)
    controller.step()
    assert value(controller, BATCH) == 16


@pytest.mark.clause("L12")
def test_a_workload_in_canary_goes_in_small_steps_and_waits_for_none_that_acts(
    on: Callable[..., Controller], policy: ScriptedPolicy, spec: SystemSpec
) -> None:
    controller, policy.wanted = on(serving="canary"), {BATCH: 64, TRAINED: 48}
    decision = controller.step()
    assert sorted(trial.workload for trial in decision.opened) == ["serving", "training"]
    scaling, knob = KnobScaling(spec.knobs), spec.knob_index(BATCH)
    way = scaling.scale(controller.plant.setting)[knob] - scaling.scale(spec.default_setting)[knob]
    assert way == pytest.approx(0.5 * spec.knobs[knob].max_step, abs=0.02)
    assert value(controller, TRAINED) == 48


@pytest.mark.clause("L12")
def test_a_workload_that_is_held_keeps_its_grant_whatever_the_others_want(
    on: Callable[..., Controller], allocator: ScriptedPolicy, plant: ToyPlant, spec: SystemSpec
) -> None:
    controller = on(training="shadow")
    allocator.wanted = {TRAINING_CORES: 0.1, CORES: spec.cores - 0.2, "ingest_cpu_cores": 0.1}
    grants, held = [spec.knob_index(o.cpu_knob) for o in spec.workloads.values()], value(controller, TRAINING_CORES)
    before = value(controller, CORES)
    for _ in range(20):
        plant.next_reading(serving_within_slo_ratio=0.5)  # a breach, for which others would pay
        controller.step()
        assert value(controller, TRAINING_CORES) == held
        assert controller.plant.setting[grants].sum() <= spec.cores + 1e-6
    assert value(controller, CORES) > before, "what ingest gave"


@pytest.mark.clause("L12")
def test_narrower_bounds_wait_while_a_workload_is_held(on: Callable[..., Controller]) -> None:
    controller = on(ControllerConfig(bounds={TRAINED: (8.0, 16.0)}), training="shadow")
    assert value(controller, TRAINED) == 32
    controller.modes.clear()
    for _ in range(10):
        controller.step()
    assert value(controller, TRAINED) == 16


@pytest.mark.clause("L12")
def test_the_configuration_says_how_far_a_workload_may_go_at_most(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on(serving="act"), {BATCH: 16}
    controller.reconfigure(ControllerConfig(modes={"serving": Mode.SHADOW}))
    assert not controller.step().changed
    assert controller.modes_in_force == {"serving": "shadow", "training": "act", "ingest": "act"}
    controller.reconfigure(ControllerConfig())
    assert controller.step().changed


@pytest.mark.clause("E4")
@pytest.mark.parametrize(("mode", "below"), [("act", "canary"), ("canary", "advise"), ("advise", "shadow")])
def test_the_mode_of_the_workload_that_caused_it_falls_one_rung_and_no_other(
    on: Callable[..., Controller], policy: ScriptedPolicy, plant: ToyPlant, mode: str, below: str
) -> None:
    controller = on(ControllerConfig(rollbacks_per_hour=0), serving=mode)
    policy.wanted = {BATCH: 16}
    for _ in range(30):
        for advice in controller.kernel.adviser.waiting.values():
            controller.approve(advice.move.id)
        plant.next_reading(serving_within_slo_ratio=0.1 if controller.trials.running else 1.0)
        decision = controller.step()
        if controller.demoted:
            break
    assert f"mode of serving {below} from now on, {mode} again only by an operator" in str(decision.reasons)
    policy.wanted = {}
    for _ in range(20):
        controller.step()
    assert controller.modes_in_force == {"serving": below, "training": "act", "ingest": "act"}
    assert controller.mode == "act"


@pytest.mark.clause("E4")
def test_where_no_workload_alone_has_caused_it_the_whole_system_falls_below_its_highest_workload(
    on: Callable[..., Controller], policy: ScriptedPolicy, plant: ToyPlant
) -> None:
    controller = on(ControllerConfig(rollbacks_per_hour=1), serving="canary", training="canary", ingest="shadow")
    policy.wanted = {BATCH: 16, TRAINED: 48}
    for _ in range(60):
        plant.next_reading(serving_within_slo_ratio=0.1 if controller.trials.running else 1.0)
        controller.step()
        if controller.demoted:
            break
    assert controller.mode == "advise"
    assert controller.modes == {"serving": "canary", "training": "canary", "ingest": "shadow"}


@pytest.mark.clause("L12")
def test_a_held_workload_is_no_reason_for_the_others_to_fall(
    on: Callable[..., Controller], policy: ScriptedPolicy, plant: ToyPlant
) -> None:
    controller, policy.wanted = on(ControllerConfig(rollbacks_per_hour=1)), {BATCH: 16}
    controller.step()
    controller.modes["serving"] = Mode.SHADOW
    plant.next_reading(serving_within_slo_ratio=0.1)
    controller.step()
    assert controller.outcomes["rolled_back"] == 1
    policy.wanted = {TRAINED: 48}
    for _ in range(60):
        plant.next_reading(serving_within_slo_ratio=0.1 if controller.trials.running else 1.0)
        controller.step()
        if controller.outcomes["rolled_back"] == 2:
            break
    assert controller.outcomes["rolled_back"] == 2
    assert controller.demoted == ""


def test_when_a_workload_is_let_go_its_opportunities_count_from_then_on(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on(serving="shadow"), {BATCH: 16}
    for _ in range(30):
        controller.step()
    controller.modes.clear()
    trial = controller.step().opened[0]
    assert trial.applied_at - trial.seen_at <= 1.0


def test_what_is_in_force_is_told_by_the_metrics(on: Callable[..., Controller]) -> None:
    from controller.own_cost import OwnCost
    from controller.own_metrics import OwnMetrics

    text = OwnMetrics().text(on(serving="canary"), 0, OwnCost(dict))
    assert 'trimtab_controller_workload_mode{workload="serving",mode="canary"} 1' in text
    assert 'trimtab_controller_workload_mode{workload="serving",mode="act"} 0' in text
    assert 'trimtab_controller_workload_mode{workload="training",mode="act"} 1' in text


def test_the_setting_of_a_system_in_shadow_is_told_as_it_would_be_for_every_workload_that_is_not_off(
    on: Callable[..., Controller], policy: ScriptedPolicy
) -> None:
    controller, policy.wanted = on(serving="canary", training="off"), {BATCH: 16, TRAINED: 48}
    controller.mode = "shadow"
    decision = controller.step()
    assert not decision.changed
    changed = np.flatnonzero(decision.wanted != decision.before)
    assert [controller.spec.knobs[knob].name for knob in changed] == [BATCH]
