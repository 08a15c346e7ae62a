import numpy as np
import pytest

from agents.heuristics.static import StaticPolicy
from envs.spec import Role
from envs.task import Task
from plants import recent
from telemetry.metrics import Snapshot
from training.rollout import rollout


class Counting:
    """A plant of N systems whose every reading is the number of the period."""

    def __init__(self, spec, n=None):
        self.spec, self.time, self._n = spec, 0.0, n
        shape = (len(spec.knobs),) if n is None else (n, len(spec.knobs))
        self._setting = np.broadcast_to(spec.default_setting, shape).copy()

    @property
    def setting(self):
        return self._setting.copy()

    def apply(self, setting):
        self._setting = setting.copy()

    def advance(self, seconds):
        self.time += seconds
        return Snapshot(self.time, np.full((*self._setting.shape[:-1], len(self.spec.metrics)), self.time))

    def close(self):
        pass


class Recording(StaticPolicy):
    """Remembers what it was shown."""

    def __init__(self, task, setting):
        super().__init__(task, setting)
        self.seen = []

    def act(self, observation):
        self.seen.append(observation)
        return super().act(observation)

    def reset(self):
        self.seen = []


@pytest.fixture
def policies(spec):
    target = spec.default_setting
    target[spec.knob_index("serving_cpu_cores")] = 0.4
    target[spec.knob_index("serving_batch_size")] = 10
    return {role: Recording(Task(spec, role), target) for role in Role}


def test_both_roles_move_their_knobs_in_the_same_period(spec, policies):
    played = rollout(Counting(spec), policies, 2)
    cores, batch = spec.knob_index("serving_cpu_cores"), spec.knob_index("serving_batch_size")
    assert played.values.shape == (2, 1, len(spec.metrics))
    assert played.previous[:, 0, cores] == pytest.approx([0.5, 0.4])
    assert played.settings[:, 0, cores] == pytest.approx([0.4, 0.4])
    assert played.settings[:, 0, batch].tolist() == [10, 10]


def test_the_warm_up_is_not_recorded(spec, policies):
    played = rollout(Counting(spec), policies, 3)
    first = spec.window_periods + 1
    assert played.values[:, 0, 0].tolist() == [first, first + 1, first + 2]


def test_policies_see_the_window_and_setting_before_their_decision(spec, policies):
    rollout(Counting(spec, 2), policies, 2)
    task = Task(spec, Role.TUNING)
    window = np.arange(1.0, spec.window_periods + 1)[:, None] * np.ones(len(spec.metrics))
    expected = task.observe(recent(spec, window), spec.default_setting)
    for role in Role:
        np.testing.assert_array_equal(policies[role].seen[0], np.tile(expected, (2, 1)))


def test_a_role_without_policy_keeps_its_knobs(spec, policies):
    played = rollout(Counting(spec), {Role.ALLOCATION: policies[Role.ALLOCATION]}, 2)
    assert (played.settings[:, 0, spec.knob_index("serving_batch_size")] == 8).all()


def test_a_start_setting_is_in_force_from_the_first_decision_on(spec, policies):
    start = spec.default_setting
    start[spec.knob_index("training_batch_size")] = 64
    played = rollout(Counting(spec), {Role.ALLOCATION: policies[Role.ALLOCATION]}, 1, start_setting=start)
    assert played.previous[0, 0, spec.knob_index("training_batch_size")] == 64
