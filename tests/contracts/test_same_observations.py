"""The environment (a batch of systems) and the controller (one system, period by period) must see the same world."""

import numpy as np
import pytest

from agents.heuristics.static import StaticPolicy
from controller.journal import Journal
from controller.loop import Controller
from envs.recent import Recent
from envs.scaling import MetricScaling
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
PERIODS = 40


class Recorder(StaticPolicy):
    """Holds the default and keeps what it was shown."""

    def __init__(self, task):
        super().__init__(task, task.spec.default_setting, name="recorder")
        self.seen = []

    def act(self, observation):
        self.seen.append(observation.copy())
        return super().act(observation)


class Replay:
    """A plant that plays a recorded trace."""

    def __init__(self, values):
        self.spec, self._values, self._period = SPEC, values, 0

    @property
    def setting(self):
        return SPEC.default_setting

    def apply(self, setting):
        raise AssertionError("the recorder asks for what is in force")

    def advance(self, seconds):
        self._period += 1
        return Snapshot(float(self._period), self._values[self._period - 1].copy())

    def close(self):
        pass


@pytest.fixture
def recorded():
    """(PERIODS, n_metrics) anywhere within the bounds and somewhat beyond."""
    random = np.random.default_rng(7)
    scaled = random.uniform(-1.0, 1.1, (PERIODS, len(SPEC.metrics)))
    return MetricScaling(SPEC.catalogue.metrics).unscale(scaled)


@pytest.mark.parametrize("role", list(Role))
def test_recorded_trace_gives_bit_equal_observations_in_environment_and_controller(recorded, role, tmp_path):
    task, recorder, plant = Task(SPEC, role), Recorder(Task(SPEC, role)), Replay(recorded)
    journal = Journal(tmp_path / "j.jsonl")
    controller = Controller(plant, {role: recorder}, {}, journal, clock=lambda: float(plant._period))
    for _ in range(PERIODS):
        controller.step()
    journal.close()
    remembered = Recent(SPEC, 3, hold_missing=True)  # as the environment does: all systems at once
    settings = np.tile(SPEC.default_setting, (3, 1))
    for period, values in enumerate(recorded):
        remembered.append(Snapshot(float(period), np.tile(values, (3, 1))))
        if remembered.full:
            seen = task.observe(remembered, settings)
            assert np.array_equal(seen, np.tile(recorder.seen[period - SPEC.window_periods + 1], (3, 1)))
