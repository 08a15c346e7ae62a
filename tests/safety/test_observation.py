"""A reading that is not believed is a missing one: nothing is taken by it, capacity may be added."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from controlled import ScriptedPolicy
from controller.checkpoint import checkpoint_record, kernel_of
from controller.decision import Decision
from controller.loop import Controller
from controller.period import Inputs
from controller.shield import Reason
from envs.spec import Role, SystemSpec
from plants import ToyPlant

LIES = {
    "not finite": {"serving_within_slo_ratio": np.inf},
    "out of range": {"serving_within_slo_ratio": 3.0},
    "contradiction": {"serving_goodput_per_second": 900.0},
}


def reasons(decision: Decision) -> dict[Reason, str]:
    return {refusal.reason: refusal.detail for refusal in decision.reasons}


@pytest.fixture
def settled(make_controller: Callable[..., Controller], plant: ToyPlant, spec: SystemSpec) -> Controller:
    """In mode act, for long enough that readings can be held against each other; the host has cores to spare."""
    setting = spec.default_setting
    setting[spec.knob_index("training_cpu_cores")] = 0.2
    plant.apply(setting)
    controller = make_controller()
    for _ in range(45):
        controller.step()
    return controller


@pytest.mark.clause("O2")
@pytest.mark.clause("O4")
@pytest.mark.parametrize("lie", LIES)
def test_by_a_reading_that_is_not_believed_no_capacity_is_taken(settled, plant, allocator, spec, lie):
    allocator.wanted = {"serving_cpu_cores": 0.2}
    before = plant.setting
    for _ in range(3):
        plant.next_reading(**LIES[lie])
        decision = settled.step()
        assert (decision.setting == before).all()
    assert "serving" in reasons(decision)[Reason.INVALID]


@pytest.mark.clause("D4")
@pytest.mark.parametrize("lie", LIES)
def test_by_a_reading_that_is_not_believed_capacity_may_still_be_added(settled, plant, spec, lie):
    rule = ScriptedPolicy(settled.proposer.tasks[Role.ALLOCATION], "rule", serving_cpu_cores=0.7)
    settled.proposer.fallback[Role.ALLOCATION] = rule
    before = plant.setting[spec.knob_index("serving_cpu_cores")]
    for _ in range(3):
        plant.next_reading(**LIES[lie])
        settled.step()
    assert plant.setting[spec.knob_index("serving_cpu_cores")] > before


@pytest.mark.clause("O2")
def test_with_a_tenth_of_the_observation_gone_it_is_invalid_and_the_fallback_acts(settled, plant, policy):
    calls = policy.calls
    plant.drop("ingest_backlog_events", "ingest_lag_seconds", "ingest_memory_bytes", "ingest_arrivals_per_second",
               "ingest_written_per_second")  # fmt: skip
    decision = settled.step()
    assert "entries are missing" in reasons(decision)[Reason.INVALID]
    assert policy.calls == calls
    assert decision.policies[Role.TUNING] == "fallback"


@pytest.mark.clause("O1")
def test_what_is_missing_is_never_replaced_by_a_number(settled, plant, spec):
    plant.drop("serving_arrivals_per_second")
    decision = settled.step()
    missing = spec.catalogue.index("serving_arrivals_per_second")
    assert np.isnan(decision.snapshot.values[missing])
    assert np.isnan(settled.recent.values[missing])


@pytest.mark.clause("D7")
def test_the_kernel_is_told_what_is_believed_so_that_a_replay_decides_the_same(settled, plant, allocator):
    allocator.wanted = {"serving_cpu_cores": 0.2}
    kernel = kernel_of(checkpoint_record(settled.kernel, ""))
    plant.next_reading(serving_within_slo_ratio=3.0)
    decision = settled.step()
    again = kernel.decide(Inputs.of(decision.inputs))
    np.testing.assert_array_equal(again.setting, decision.wanted)
    assert [str(reason) for reason in again.reasons] == [str(reason) for reason in decision.reasons]


def test_a_doubt_is_a_condition_that_begins_and_ends(settled: Controller, plant: ToyPlant, spec: SystemSpec):
    plant.next_reading(serving_within_slo_ratio=3.0)
    settled.step()
    assert "serving_within_slo_ratio is 3, its most is 1" in settled.conditions.active["invalid readings"][1]
    settled.step()
    assert "invalid readings" not in settled.conditions.active
