from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agents.artifact import save
from agents.network import MlpPolicy
from controlled import ScriptedPolicy
from controller import policy_store as store
from controller.config_file import ConfigFile
from controller.decision import Mode
from controller.loop import Controller
from controller.operation import Operation, Overseer
from controller.policy_source import PolicySource
from controller.shield import Reason
from envs.spec import Role, SystemSpec
from envs.task import Task

RELOADED = "trimtab_controller_config_last_reload_successful"


@pytest.fixture
def overseen(controller: Controller) -> Callable[[Operation], Overseer]:
    def make(operation: Operation) -> Overseer:
        overseer = Overseer(operation, controller)
        controller.heed = overseer.take_over
        return overseer

    return make


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Policies that are new here, and take every observation for a usual one."""
    for role in Role:
        task = Task(SystemSpec.load("reference"), role)
        layer = np.zeros((task.n_action, task.n_observation), np.float32), np.zeros(task.n_action, np.float32)
        save(tmp_path / "other" / role, MlpPolicy([layer], "other"), task, {})
    return tmp_path / "other"


@pytest.mark.clause("L5")
def test_a_configuration_is_taken_over_between_periods_and_a_broken_one_is_told(
    controller: Controller, overseen: Callable[[Operation], Overseer], tmp_path: Path
) -> None:
    path = tmp_path / "c.toml"
    path.write_text("rollbacks_per_hour = 3")
    overseen(Operation(ConfigFile(path, controller.spec)))
    path.write_text("rollbacks_per_hour = 33\n")
    decision = controller.step()
    assert Reason.CONFIG in [refusal.reason for refusal in decision.reasons]
    assert controller.kernel.config.rollbacks_per_hour == 33
    assert controller.metrics()[RELOADED] == 1.0
    path.write_text("rollbacks_per_hour = ")
    for _ in range(2):
        controller.step()
    assert controller.kernel.config.rollbacks_per_hour == 33
    assert controller.metrics()[RELOADED] == 0.0
    assert "the last good configuration stays in force" in controller.conditions.active["configuration"][1]
    path.write_text("rollbacks_per_hour = 34\n")
    controller.step()
    assert controller.metrics()[RELOADED] == 1.0


@pytest.mark.clause("L5")
def test_a_configuration_that_looks_unchanged_is_read_again_when_asked_for(
    controller: Controller, overseen: Callable[[Operation], Overseer], tmp_path: Path
) -> None:
    path = tmp_path / "c.toml"
    path.write_text("rollbacks_per_hour = 3")
    before = path.stat()
    overseer = overseen(Operation(ConfigFile(path, controller.spec)))
    path.write_text("rollbacks_per_hour = 4")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    overseer.reload()
    controller.step()
    assert controller.kernel.config.rollbacks_per_hour == 4


@pytest.mark.clause("L6")
def test_policies_that_are_new_here_act_only_after_their_shadow_period(
    controller: Controller, overseen: Callable[[Operation], Overseer], spec: SystemSpec, other: Path, tmp_path: Path
) -> None:
    store.use(tmp_path, "shipped", spec)
    source = PolicySource(tmp_path, spec, hosted=False)
    overseer = overseen(Operation(source=source, probation_seconds=4.0))
    controller.step()
    assert controller.mode is Mode.ACT  # what came with Trimtab is known
    version = store.use(tmp_path, other, spec)
    controller.step()
    source.wait()
    modes = [controller.step().mode for _ in range(6)]
    assert modes == [Mode.SHADOW] * 4 + [Mode.ACT] * 2
    assert controller.proposer.policies[Role.TUNING].name == "other"
    assert controller.proposer.novelty == {}  # what those before knew is forgotten
    assert overseer.status()["policy_version"] == version
    assert store.is_proven(tmp_path, version)  # and so not again after a restart
    source.close()


@pytest.mark.clause("L6")
def test_a_policy_that_fails_stays_in_shadow_mode_and_says_why(
    controller: Controller, overseen: Callable[[Operation], Overseer], spec: SystemSpec, other: Path, tmp_path: Path,
    policy: ScriptedPolicy,
) -> None:  # fmt: skip
    store.use(tmp_path, other, spec)
    source = PolicySource(tmp_path, spec, hosted=False)
    overseer = overseen(Operation(source=source, probation_seconds=3.0))
    policy.error = RuntimeError("boom")
    for _ in range(8):
        controller.step()
    assert controller.mode is Mode.SHADOW
    assert "probation" in controller.conditions.active
    assert "scripted failed: RuntimeError: boom" in overseer.status()["probation_failed"]
    source.close()
