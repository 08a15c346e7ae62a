"""The real testbed under the real controller, with a component killed in the middle."""

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from agents.artifact import load_shipped
from agents.heuristics.fallback import fallback_policy
from controller.decision import Decision
from controller.journal import Journal, optimizations
from controller.live_plant import LivePlant
from controller.loop import Controller
from controller.shield import Reason
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.workload import Demand
from testbed.launcher import Testbed
from training.live import replay

SPEC = SystemSpec.load("reference")
STEADY = Demand("steady", 1.0, np.full(90, 40.0), np.full(90, 40.0), "test")
SERVING_TUNING = [i for i, knob in enumerate(SPEC.knobs) if knob.workload == "serving" and knob.role is Role.TUNING]
CPU = [SPEC.knob_index(objective.cpu_knob) for objective in SPEC.workloads.values()]

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    with Testbed(log_dir=tmp_path_factory.mktemp("logs")) as running:
        running.wait_ready()
        yield running


def test_controller_survives_serving_being_killed(testbed: Testbed, tmp_path):
    """It holds or adds while it is blind, restores the knobs of the new process, and journals every period."""
    journal = Journal(tmp_path / "journal.jsonl")
    plant = LivePlant(SPEC, testbed.state_dir / "testbed.json")
    found = plant.setting
    try:
        policies = {role: load_shipped(role, SPEC) for role in Role}
        fallback = {Role.ALLOCATION: fallback_policy(Task(SPEC, Role.ALLOCATION))}
        controller = Controller(plant, policies, fallback, journal, mode="act")
        replay(testbed.url("load"), STEADY, seed=0)
        healthy = [controller.step() for _ in range(10)]
        assert healthy[-1].complete
        os.kill(testbed.components["serving"].pid, signal.SIGKILL)
        decisions: list[Decision] = []
        restored = []
        while len(decisions) < 40 and not (len(decisions) > 3 and decisions[-1].complete):
            settled = controller.settled.copy()  # in force and not on trial
            decisions.append(controller.step())
            if any(reason.reason is Reason.RESTORED for reason in decisions[-1].reasons):
                restored.append((plant.setting[SERVING_TUNING], settled[SERVING_TUNING]))
            testbed.poll()
        blind = [decision for decision in decisions if not decision.complete]

        assert blind, "killing serving must be seen"
        for decision in blind:
            assert (decision.wanted[CPU] >= decision.before[CPU] - 1e-9).all(), "took CPU away while blind"
        assert decisions[-1].complete, "it must see again after the restart"
        assert len(restored) == 1, "one restart, one restoration"
        assert restored[0][0] == pytest.approx(restored[0][1]), "the new process got its knobs back"
        records = Journal.read(tmp_path / "journal.jsonl")
        assert sum(record["kind"] == "decision" for record in records) == len(healthy) + len(decisions)
        assert optimizations(records).count == sum(len(d.opened) for d in (*healthy, *decisions))
    finally:
        plant.close()
        journal.close()
    again = LivePlant(SPEC, testbed.state_dir / "testbed.json")
    again.close()
    assert (again.setting[SERVING_TUNING] == found[SERVING_TUNING]).all(), "the setting found at start is back"
