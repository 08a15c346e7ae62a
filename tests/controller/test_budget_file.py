"""A controller that is started again goes on with what is left of its budgets."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from controlled import ScriptedPolicy
from controller import checkpoint
from controller.budget_file import BUDGETS, BudgetFile
from controller.decision import Decision
from controller.journal import Journal
from controller.kernel import Kernel
from controller.loop import Controller, ControllerConfig
from controller.replay import replay
from controller.shield import Reason, ShieldConfig
from controller.trial import TrialConfig
from envs.spec import SystemSpec
from plants import ToyPlant

BATCH = "serving_batch_size"
BOOT = "this start of the host"
BURST = 3
FEW = ControllerConfig(
    shield=ShieldConfig(reversals_per_hour=0.0, reversal_burst=BURST),
    trial=TrialConfig(backoff_seconds=0.0, longest_backoff_seconds=0.0),
    rollbacks_per_hour=2,
)
"""Budgets that are soon spent, and of which nothing comes back."""
Start = Callable[..., Controller]


@pytest.fixture
def start(make_controller: Callable[..., Controller], plant: ToyPlant, tmp_path: Path) -> Start:
    """Starts a controller as `run_controller` does, on what an earlier one left; `end` stops it as it does."""

    def make(config: ControllerConfig = FEW, boot: str = BOOT) -> Controller:
        controller = make_controller(config=config)
        file = BudgetFile(tmp_path, controller.kernel, plant.clock, lambda: boot)
        controller.announce = file.announce
        step = controller.step

        def step_and_save() -> Decision:
            decision = step()
            file.save(plant.setting)
            return decision

        controller.step = step_and_save  # type: ignore[method-assign]
        return controller

    return make


def end(controller: Controller, plant: ToyPlant) -> None:
    plant.apply(controller.found)


def changes(controller: Controller, policy: ScriptedPolicy, size: float) -> Decision:
    """The first decision that changes the batch size, or the last of twenty."""
    policy.wanted = {BATCH: size}
    for _ in range(20):
        decision = controller.step()
        if decision.changed:
            break
    return decision


def reasons(decision: Decision) -> list[Reason]:
    return [refusal.reason for refusal in decision.reasons]


@pytest.mark.clause("D2")
def test_controllers_that_are_started_again_and_again_make_no_more_reversals_than_one(
    start: Start, plant: ToyPlant, policy: ScriptedPolicy, spec: SystemSpec
) -> None:
    raised = 0
    for _ in range(4):
        controller = start()
        raised += changes(controller, policy, 16).changed
        end(controller, plant)
    sizes = [setting[spec.knob_index(BATCH)] for setting in plant.applied]
    assert raised == 2, "up, down at the end, up, and down at the end: three reversals"
    assert np.count_nonzero(np.diff(np.sign(np.diff(sizes)))) <= BURST
    controller = start()
    assert Reason.FLAPPING in reasons(changes(controller, policy, 16))


@pytest.mark.clause("D2")
def test_a_change_that_killed_its_controller_is_charged_to_the_next_one(
    start: Start, plant: ToyPlant, policy: ScriptedPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    apply = plant.apply

    def deadly(setting: np.ndarray) -> None:
        apply(setting)
        raise Killed

    for attempt in range(4):
        controller = start()
        with monkeypatch.context() as patched:
            patched.setattr(plant, "apply", deadly)
            if attempt < 2:
                with pytest.raises(Killed):
                    changes(controller, policy, 16)
            else:
                assert Reason.FLAPPING in reasons(changes(controller, policy, 16))
        end(controller, plant)  # by the warden


@pytest.mark.clause("D2")
def test_a_change_that_failed_is_not_charged(start: Start, plant: ToyPlant, policy: ScriptedPolicy) -> None:
    plant.fail(BATCH)
    for _ in range(BURST + 1):
        changes(start(), policy, 16)
    plant.fail()
    assert changes(start(), policy, 16).changed


@pytest.mark.clause("E4")
def test_rollbacks_of_the_last_hour_are_counted_over_restarts(
    start: Start, plant: ToyPlant, policy: ScriptedPolicy
) -> None:
    roomy = ControllerConfig(shield=ShieldConfig(reversal_burst=100.0), trial=FEW.trial, rollbacks_per_hour=2)
    for number in range(3):
        controller = start(roomy)
        changes(controller, policy, 16)
        plant.next_reading(serving_within_slo_ratio=0.1)
        demoted = Reason.DEMOTED in reasons(controller.step())
        assert controller.outcomes["rolled_back"] == 1
        assert demoted == (number == 2)


@pytest.mark.clause("E4")
def test_a_pause_after_a_rollback_outlives_a_restart_and_goes_on_growing(
    start: Start, plant: ToyPlant, policy: ScriptedPolicy
) -> None:
    config = ControllerConfig(trial=TrialConfig(backoff_seconds=60.0))
    policy.wanted = {BATCH: 16}
    for pause in (60.0, 120.0):
        controller = start(config)
        while not controller.trials.running:
            controller.step()
        plant.next_reading(serving_within_slo_ratio=0.1)
        controller.step()
        plant.clock.advance(pause - 20.0)
        controller = start(config)
        decisions = [controller.step() for _ in range(10)]
        assert not any(decision.changed for decision in decisions)
        assert Reason.BACKOFF in reasons(decisions[-1])
        plant.clock.advance(20.0)


@pytest.mark.clause("D2")
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b"\xff" + path.read_bytes()),
        lambda path: path.write_text(path.read_text().replace('"tokens": ', '"tokens": 1')),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text("[]"),
    ],
    ids=["empty", "torn", "no text", "edited", "nested", "no object"],
)
def test_a_damaged_file_means_budgets_that_are_spent(
    start: Start, plant: ToyPlant, policy: ScriptedPolicy, tmp_path: Path, damage: Callable[[Path], object],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    controller = start()
    changes(controller, policy, 16)
    end(controller, plant)
    damage(tmp_path / BUDGETS)
    controller = start()
    assert [record.levelno for record in caplog.records if "budgets begin spent" in record.message] == [logging.WARNING]
    assert changes(controller, policy, 16).changed, "which way it moved last is unknown too"
    assert Reason.FLAPPING in reasons(changes(controller, policy, 8))


@pytest.mark.clause("D2")
def test_another_start_of_the_host_means_budgets_that_are_spent_and_come_back(
    start: Start, plant: ToyPlant, policy: ScriptedPolicy
) -> None:
    config = ControllerConfig(shield=ShieldConfig(reversals_per_hour=60.0, reversal_burst=BURST))
    start(config).step()
    controller = start(config, "another start")
    assert changes(controller, policy, 16).changed, "which way it moved last is unknown"
    assert Reason.FLAPPING in reasons(changes(controller, policy, 8))
    plant.clock.advance(60.0)
    assert changes(controller, policy, 8).changed


def test_the_first_start_has_full_budgets(start: Start, plant: ToyPlant, policy: ScriptedPolicy) -> None:
    controller = start()
    assert [changes(controller, policy, size).changed for size in (16, 8, 16, 8, 16)] == [True] * 4 + [False]


def test_budgets_of_another_spec_are_none_of_ours(start: Start, plant: ToyPlant, tmp_path: Path) -> None:
    start().step()
    other = SystemSpec.model_validate({**plant.spec.model_dump(mode="json"), "control_period_seconds": 2.0})
    kernel = Kernel(other, FEW, plant.setting, "run")
    before = checkpoint.budgets(kernel)
    BudgetFile(tmp_path, kernel, plant.clock, lambda: BOOT)
    assert checkpoint.budgets(kernel) != before, "spent"


@pytest.mark.clause("D7")
def test_a_journal_replays_over_a_restart_with_budgets(
    start: Start, plant: ToyPlant, policy: ScriptedPolicy, journal: Journal
) -> None:
    for _ in range(4):
        controller = start()
        changes(controller, policy, 16)
        end(controller, plant)
    found = replay(Journal.records(journal.path))
    assert (found.problem, found.segments) == ("", 4)


def test_a_full_disk_costs_the_file_and_no_period(start: Start, policy: ScriptedPolicy, tmp_path: Path) -> None:
    (tmp_path / BUDGETS).mkdir()  # cannot be replaced by a file
    assert changes(start(), policy, 16).changed


def test_the_file_is_written_only_when_something_has_changed(start: Start, tmp_path: Path) -> None:
    controller = start()
    controller.step()
    first = (tmp_path / BUDGETS).stat().st_ino
    controller.step()
    assert (tmp_path / BUDGETS).stat().st_ino == first
    json.loads((tmp_path / BUDGETS).read_text())


def test_what_a_restart_must_not_refill_stands_in_checkpoints_too(spec: SystemSpec) -> None:
    kernel = Kernel(spec, FEW, spec.default_setting, "run")
    remembered, kept = checkpoint.memory(kernel), checkpoint.budgets(kernel)
    assert {"shield", "trials"} < set(kept)
    for part, values in kept.items():
        assert set(values) <= set(remembered[part])
