"""Observations unlike those of training, in the loop: who acts then, and when a new training is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from agents.novelty import NoveltyGuard, guarded_entries
from controlled import ScriptedPolicy
from controller.loop import Controller
from controller.novelty import OF_PERIODS, DriftWatch, NoveltyWatch
from controller.proposals import Proposer
from controller.shield import Reason
from envs.recent import Recent
from envs.spec import Role, SystemSpec
from envs.task import Task
from plants import HEALTHY, ToyPlant, recent
from telemetry.drift import Guard

FAR = {"serving_latency_p50_seconds": 5.0, "serving_latency_p99_seconds": 5.5, "serving_queue_requests": 200.0}


def healthy(spec: SystemSpec, **changes: float) -> np.ndarray:
    """(n_metrics,) of a good period."""
    return np.array([(HEALTHY | changes).get(name, 0.0) for name in spec.catalogue.names])


def seen(spec: SystemSpec, **changes: float) -> Recent:
    return recent(spec, np.tile(healthy(spec, **changes), (spec.window_periods, 1)))


@pytest.fixture
def guard(spec: SystemSpec) -> NoveltyGuard:
    """Knows the toy plant's healthy periods, give or take 0.2 in the scaled range, and a reward of 0."""
    task = Task(spec, Role.ALLOCATION)
    entries = guarded_entries(task.labels)
    mean = task.observe(seen(spec), spec.default_setting)[entries].astype(float)
    known = Guard(mean, np.eye(len(entries)) / 0.2, 1.0)
    return NoveltyGuard(entries, known, np.zeros(len(entries) + 1), np.array([0.1, 0.1]))


@pytest.fixture
def guarded(allocator: ScriptedPolicy, guard: NoveltyGuard, make_controller: Callable[..., Controller]) -> Controller:
    """In mode act, with enough history; the allocation policy knows what it was made with."""
    allocator.guard = guard
    controller = make_controller()
    controller.proposer.fallback[Role.ALLOCATION] = ScriptedPolicy(allocator.task, "rule")
    for _ in range(7):
        controller.step()
    return controller


def strange_periods(controller: Controller, plant: ToyPlant, periods: int) -> list[set[Reason]]:
    """Reasons of so many periods with readings that training never had."""
    reasons = []
    for _ in range(periods):
        plant.next_reading(**FAR)
        reasons.append({refusal.reason for refusal in controller.step().reasons})
    return reasons


@pytest.mark.clause("O5")
def test_after_three_strange_observations_the_fallback_acts_and_the_policy_is_not_asked(guarded, plant, allocator):
    calls = allocator.calls
    reasons = strange_periods(guarded, plant, 4)
    assert [Reason.OUT_OF_DISTRIBUTION in each for each in reasons] == [False, False, True, True]
    assert allocator.calls == calls + 2
    assert guarded.last_decision.policies[Role.ALLOCATION] == "rule"


@pytest.mark.clause("O5")
def test_one_strange_observation_is_noise(guarded, plant):
    assert Reason.OUT_OF_DISTRIBUTION not in strange_periods(guarded, plant, 1)[0]
    assert all(r.reason is not Reason.OUT_OF_DISTRIBUTION for _ in range(6) for r in guarded.step().reasons)


@pytest.mark.clause("O5")
def test_the_policy_is_asked_again_when_the_world_is_as_in_training(guarded, plant, allocator):
    strange_periods(guarded, plant, 6)
    for _ in range(OF_PERIODS + 5):  # the window of readings, then the last of the strange observations
        guarded.step()
    calls = allocator.calls
    assert guarded.step().policies[Role.ALLOCATION] == "allocator"
    assert allocator.calls == calls + 1


@pytest.mark.clause("O5")
def test_the_other_role_goes_on_with_its_policy(guarded, plant, policy):
    calls = policy.calls
    strange_periods(guarded, plant, 5)
    assert policy.calls == calls + 5


@pytest.mark.clause("D4")
def test_the_fallback_adds_capacity_while_observations_are_strange(guarded, plant, spec):
    guarded.proposer.fallback[Role.ALLOCATION].wanted = {"serving_cpu_cores": 0.7}
    before = plant.setting[spec.knob_index("serving_cpu_cores")]
    for _ in range(8):
        plant.next_reading(**FAR, serving_within_slo_ratio=0.5)
        guarded.step()
    assert plant.setting[spec.knob_index("serving_cpu_cores")] > before


def test_the_distance_and_the_strange_ones_are_metrics(guarded, plant):
    strange_periods(guarded, plant, 2)
    metrics = guarded.metrics()
    assert metrics['trimtab_controller_strange_observations_total{role="allocation"}'] == 2.0
    assert metrics['trimtab_controller_observation_distance_ratio{role="allocation"}'] > 1.0
    assert metrics["trimtab_controller_retraining_asked"] == 0.0


def test_a_watch_that_was_reset_begins_anew(spec, guard):
    watch, far = NoveltyWatch(guard), np.full(len(Task(spec, Role.TUNING).labels), 9.0)
    assert [watch.look(far) is None for _ in range(3)] == [True, True, False]
    watch.reset()
    assert watch.look(far) is None


class TestDrift:
    """Scores in usual deviations, in blocks of five minutes; 288 blocks are a day."""

    @staticmethod
    def observations(spec: SystemSpec, **changes: float) -> tuple[np.ndarray, np.ndarray]:
        observation = Task(spec, Role.TUNING).observe(seen(spec, **changes), spec.default_setting)
        return observation, healthy(spec, **changes)

    @staticmethod
    def fast(spec: SystemSpec, guard: NoveltyGuard) -> DriftWatch:
        """One block a period: the detector is what is tested, not the averaging."""
        return DriftWatch(guard, spec.model_copy(update={"control_period_seconds": 300.0}))

    def feed(self, watch: DriftWatch, spec: SystemSpec, periods: int, **changes: float) -> None:
        observation, values = self.observations(spec, **changes)
        for _ in range(periods):
            watch.see(observation, values, spec.default_setting)

    def test_a_world_that_stays_as_it_is_needs_no_new_training(self, spec, guard):
        watch = self.fast(spec, guard)
        self.feed(watch, spec, 900)
        assert watch.asked == ""

    def test_a_lasting_move_of_the_observations_asks_for_one(self, spec, guard):
        watch = self.fast(spec, guard)
        self.feed(watch, spec, 400)
        self.feed(watch, spec, 300, serving_memory_bytes=1.9e9, training_memory_bytes=1.9e9)
        assert "observations move away" in watch.asked

    def test_rewards_that_fall_for_good_ask_for_one(self, spec, guard):
        watch = self.fast(spec, guard)
        self.feed(watch, spec, 400)
        self.feed(watch, spec, 300, serving_goodput_per_second=40.0)
        assert "rewards fall short" in watch.asked

    def test_a_host_that_was_different_from_the_beginning_is_no_drift(self, spec, guard):
        watch = self.fast(spec, guard)
        self.feed(watch, spec, 900, serving_memory_bytes=1.9e9)
        assert watch.asked == ""

    def test_missing_readings_are_left_out(self, spec, guard):
        watch = self.fast(spec, guard)
        self.feed(watch, spec, 400, serving_goodput_per_second=np.nan)
        self.feed(watch, spec, 400)
        assert watch.asked == ""

    def test_the_loop_tells_it_as_a_condition_and_a_metric(self, guarded):
        guarded.proposer.drift[Role.ALLOCATION].asked = "rewards fall short for good; train anew"
        guarded.step()
        assert guarded.conditions.active["retraining asked for"][1].startswith("allocation: rewards fall short")
        assert guarded.metrics()["trimtab_controller_retraining_asked"] == 1.0


def test_a_policy_without_a_guard_is_always_asked(spec):
    policy = ScriptedPolicy(Task(spec, Role.TUNING))
    proposer = Proposer({Role.TUNING: policy.task}, {Role.TUNING: policy}, {})
    for _ in range(5):
        proposer.propose(seen(spec, **FAR), spec.default_setting)
    assert policy.calls == 5
