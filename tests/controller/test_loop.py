import sys
from threading import Event as StopEvent

import numpy as np
import pytest

from controller.decision import Mode
from controller.journal import Journal, optimizations
from controller.plant_events import Event, EventKind
from controller.shield import Reason
from controller.trial import Outcome
from envs.plant import PlantError


def reasons(decision):
    return {refusal.reason for refusal in decision.reasons}


def knob(spec, setting, name):
    return setting[spec.knob_index(name)]


def test_change_is_applied_and_kept_when_nothing_gets_worse(controller, plant, policy, spec):
    policy.wanted = {"serving_batch_size": 16}
    opened = controller.step().opened
    assert [trial.workload for trial in opened] == ["serving"]
    assert knob(spec, plant.setting, "serving_batch_size") == 16
    verdicts = [verdict for _ in range(3) for verdict in controller.step().verdicts]
    assert [(v.trial.id, v.outcome) for v in verdicts] == [(opened[0].id, Outcome.KEEP)]
    assert knob(spec, controller.last_known_good, "serving_batch_size") == 16


@pytest.mark.clause("E2")
def test_harmful_change_is_rolled_back_and_not_tried_again_for_a_while(controller, plant, policy, spec):
    policy.wanted = {"serving_batch_size": 16}
    controller.step()
    plant.next_reading(serving_within_slo_ratio=0.1)
    decision = controller.step()
    assert [verdict.outcome for verdict in decision.verdicts] == [Outcome.ROLLED_BACK]
    assert knob(spec, plant.setting, "serving_batch_size") == 8
    following = [controller.step() for _ in range(10)]
    assert Reason.BACKOFF in reasons(following[-1])
    assert knob(spec, plant.setting, "serving_batch_size") == 8


def test_pause_after_rollbacks_grows(controller, plant, policy):
    policy.wanted = {"serving_batch_size": 16}
    applied = []
    for _ in range(120):
        decision = controller.step()
        if decision.opened:
            applied.append(decision.time)
            plant.next_reading(serving_within_slo_ratio=0.1)
    pauses = np.diff(applied)
    assert len(pauses) >= 2
    assert (np.diff(pauses) > 5).all()


@pytest.mark.clause("O2")
def test_nan_reading_never_reaches_an_actuator(controller, plant, policy, allocator, fallback):
    policy.wanted = {"serving_batch_size": 16}
    allocator.wanted = {"training_cpu_cores": 0.3}
    fallback.wanted = {"serving_batch_size": 32}
    before, count = plant.setting, len(plant.applied)
    plant.next_reading(serving_within_slo_ratio=float("nan"))
    decision = controller.step()
    assert (decision.setting == before).all()
    assert len(plant.applied) == count
    assert any("serving_within_slo_ratio" in refusal.detail for refusal in decision.reasons)


@pytest.mark.clause("O1")
def test_stale_snapshot_keeps_the_last_good_setting(controller, plant, policy):
    policy.wanted = {"serving_batch_size": 16}
    before, old = plant.setting, plant.clock()
    plant.advance = lambda seconds, advance=plant.advance: type(snapshot := advance(seconds))(old, snapshot.values)
    decision = controller.step()
    assert (decision.setting == before).all()
    assert "no reading" in controller.conditions.active


def test_plant_that_cannot_be_read_is_survived(controller, plant, policy):
    policy.wanted = {"serving_batch_size": 16}
    healthy = plant.advance

    def broken(seconds):
        plant.clock.advance(seconds)
        raise PlantError("the plant is away")

    plant.advance = broken
    assert not controller.step().changed
    plant.advance = healthy
    decisions = [controller.step() for _ in range(8)]
    assert any(decision.changed for decision in decisions)
    assert "no reading" not in controller.conditions.active


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (RuntimeError("out of memory"), None),
        (None, np.zeros(3)),
        (None, np.full(9, np.nan)),
        (None, np.zeros((2, 9))),
        (None, "garbage"),
    ],
    ids=["raises", "wrong length", "nan", "wrong rank", "text"],
)
def test_policy_that_fails_is_replaced_by_the_fallback_in_the_same_period(
    controller, plant, policy, fallback, spec, error, answer
):
    policy.error, policy.answer = error, answer
    fallback.wanted = {"serving_batch_size": 16}
    decision = controller.step()
    assert Reason.FALLBACK in reasons(decision)
    assert knob(spec, plant.setting, "serving_batch_size") == 16


def test_without_a_fallback_a_failing_policy_means_hold(controller, plant, allocator):
    allocator.error = ValueError("no")
    before = plant.setting
    decision = controller.step()
    assert Reason.NO_PROPOSAL in reasons(decision)
    assert (plant.setting == before).all()


@pytest.mark.clause("L12")
def test_shadow_decides_and_changes_nothing(make_controller, plant, policy, allocator, spec, journal):
    controller = make_controller("shadow")
    policy.wanted, allocator.wanted = {"serving_batch_size": 16}, {"training_cpu_cores": 0.3}
    decisions = [controller.step() for _ in range(10)]
    assert plant.applied == []
    assert knob(spec, decisions[-1].wanted, "serving_batch_size") == 16
    assert optimizations(Journal.read(journal.path)).count == 0


def test_off_asks_no_policy(make_controller, plant, policy):
    controller = make_controller("off")
    controller.step()
    assert (policy.calls, plant.applied) == (0, [])


def test_start_makes_no_jump(make_controller, plant, spec):
    found = plant.setting
    found[spec.knob_index("serving_batch_size")] = 13
    plant.apply(found)
    controller = make_controller()
    for _ in range(8):
        controller.step()
    assert (plant.setting == found).all()
    assert (controller.last_known_good == found).all()


def test_mode_can_be_switched_while_running(controller, plant, policy, spec):
    policy.wanted = {"serving_batch_size": 16}
    controller.mode = "shadow"
    controller.step()
    assert knob(spec, plant.setting, "serving_batch_size") == 8
    controller.mode = Mode.ACT
    controller.step()
    assert knob(spec, plant.setting, "serving_batch_size") == 16


def test_leaving_act_ends_the_trials_and_keeps_the_setting(controller, plant, policy, spec):
    policy.wanted = {"serving_batch_size": 16}
    controller.step()
    controller.mode = "shadow"
    assert [verdict.outcome for verdict in controller.step().verdicts] == [Outcome.INCONCLUSIVE]
    assert knob(spec, plant.setting, "serving_batch_size") == 16


@pytest.mark.clause("L8")
def test_pause_stops_new_changes_but_a_harmful_one_is_still_taken_back(controller, plant, policy, spec):
    policy.wanted = {"serving_batch_size": 16}
    controller.step()
    controller.paused = True
    policy.wanted = {"training_batch_size": 64}
    plant.next_reading(serving_within_slo_ratio=0.1)
    decision = controller.step()
    assert Reason.PAUSED in reasons(decision)
    assert knob(spec, plant.setting, "serving_batch_size") == 8
    assert knob(spec, plant.setting, "training_batch_size") == 32


@pytest.mark.clause("L8")
def test_pins_win_over_policies(controller, plant, policy, spec):
    policy.wanted = {"serving_batch_size": 16}
    controller.pins = {"serving_batch_size": 4}
    for _ in range(5):
        controller.step()
    assert knob(spec, plant.setting, "serving_batch_size") == 4


def test_operator_rolls_back_to_the_last_known_good_setting(controller, plant, policy, spec):
    start = plant.setting
    policy.wanted = {"serving_batch_size": 16}
    controller.step()
    controller.rollback()
    decision = controller.step()
    assert (plant.setting == start).all()
    assert [verdict.reason for verdict in decision.verdicts] == ["by the operator"]
    assert not controller.step().changed


def test_restarted_component_gets_back_what_was_in_force_and_not_on_trial(controller, plant, policy, spec):
    policy.wanted = {"serving_batch_size": 16}
    for _ in range(5):
        controller.step()
    policy.wanted = {}
    reset = plant.setting
    reset[spec.knob_index("serving_batch_size")] = 8
    plant.apply(reset)
    event = Event(EventKind.RESTARTED, "serving", "serving was restarted: process 1 -> 2")
    plant.take_events = lambda: [event]
    decision = controller.step()
    assert Reason.RESTORED in reasons(decision)
    assert knob(spec, plant.setting, "serving_batch_size") == 16


@pytest.mark.clause("A4")
def test_knob_changed_by_somebody_else_is_left_alone(controller, plant, policy, spec):
    policy.wanted = {"serving_batch_size": 16}
    plant.take_events = lambda: [Event(EventKind.CHANGED_ELSEWHERE, "serving", "changed", "serving_batch_size")]
    controller.step()
    plant.take_events = list
    for _ in range(5):
        controller.step()
    assert knob(spec, plant.setting, "serving_batch_size") == 8


@pytest.mark.clause("D4")
def test_capacity_is_added_without_waiting_for_a_trial(controller, plant, policy, allocator, spec):
    lower = plant.setting
    lower[:3] = [0.4, 0.3, 0.3]
    plant.apply(lower)
    policy.wanted = {"serving_batch_size": 16}
    controller.step()
    allocator.wanted = {"serving_cpu_cores": 0.6}
    decision = controller.step()
    assert [verdict.outcome for verdict in decision.verdicts] == [Outcome.SUPERSEDED]
    assert knob(spec, plant.setting, "serving_cpu_cores") == pytest.approx(0.6, rel=1e-3)


@pytest.mark.clause("A2")
def test_value_bent_by_an_actuator_is_told(controller, plant, policy):
    policy.wanted = {"serving_batch_size": 16}
    plant.bend(serving_batch_size=12)
    decision = controller.step()
    assert any("asked 16, in force 12" in refusal.detail for refusal in decision.reasons)
    assert decision.opened[0].after.tolist() == [12]


@pytest.mark.clause("A2")
def test_actuator_that_fails_opens_no_trial(controller, plant, policy):
    policy.wanted = {"serving_batch_size": 16}
    plant.fail("serving_batch_size")
    decision = controller.step()
    assert Reason.ACTUATOR in reasons(decision)
    assert decision.opened == []


class FullJournal:
    """A journal on a disk that is full."""

    def append(self, record, *, durable=False, urgent=False):
        from controller.journal import JournalError

        raise JournalError("No space left on device")


def test_nothing_is_changed_that_cannot_be_written_down(controller, plant, policy):
    controller.journal = FullJournal()
    policy.wanted = {"serving_batch_size": 16}
    count = len(plant.applied)
    decision = controller.step()
    assert Reason.JOURNAL in reasons(decision)
    assert len(plant.applied) == count
    assert "journal" in controller.conditions.active


def test_harmful_change_is_taken_back_even_when_the_disk_is_full(controller, plant, policy, spec):
    policy.wanted = {"serving_batch_size": 16}
    controller.step()
    controller.journal = FullJournal()
    plant.next_reading(serving_within_slo_ratio=0.1)
    controller.step()
    assert knob(spec, plant.setting, "serving_batch_size") == 8


def test_opportunity_time_is_from_first_proposal_to_application(controller, policy, plant, spec, journal):
    policy.wanted = {"serving_batch_size": 16}
    controller.step()
    policy.wanted = {"serving_batch_size": 32}  # has to wait for the trial
    for _ in range(5):
        controller.step()
    summary = optimizations(Journal.read(journal.path))
    assert summary.count == 2
    assert summary.opportunity_to_applied_p99_seconds == 2.0  # seconds on the clock of the toy


def test_condition_is_logged_once_at_its_begin_and_once_at_its_end(controller, policy, caplog):
    caplog.set_level("INFO")
    policy.error = RuntimeError("boom")
    for _ in range(3):
        controller.step()
    policy.error = None
    controller.step()
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("fallback")]
    assert len(told) == 2


def test_broken_period_does_not_end_the_loop(controller, plant):
    stop, calls = StopEvent(), []

    def after_step(decision):
        calls.append(decision)
        if len(calls) == 1:
            raise OSError("status cannot be written")
        stop.set()

    controller.run(stop, after_step)
    assert len(calls) == 2
    assert controller.metrics()["trimtab_controller_failed_periods_total"] == 1


def test_metrics_count_periods_and_outcomes(controller, policy):
    policy.wanted = {"serving_batch_size": 16}
    for _ in range(4):
        controller.step()
    metrics = controller.metrics()
    assert metrics['trimtab_controller_trials_total{outcome="keep"}'] == 1
    assert metrics['trimtab_controller_periods_total{mode="act"}'] == 11
    assert metrics["trimtab_controller_availability_ratio"] == 1.0
    assert set(controller.last_decision.stage_seconds) == {
        "read", "observe", "decide", "shield", "apply", "verify", "record",
    }  # fmt: skip


def test_reallocation_in_a_breach_takes_from_a_workload_under_trial(controller, plant, policy, allocator, spec):
    policy.wanted = {"training_batch_size": 64}
    controller.step()
    controller.step()  # the cooldown is over then, the trial is not
    allocator.wanted = {"serving_cpu_cores": 0.7, "training_cpu_cores": 0.3}
    plant.next_reading(serving_within_slo_ratio=0.8)
    decision = controller.step()
    assert {trial.workload for trial in decision.opened} == {"serving", "training"}
    assert plant.setting[:3].sum() <= spec.cores + sys.float_info.epsilon * 10
