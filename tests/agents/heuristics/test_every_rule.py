"""What holds for every rule, whatever it does."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.heuristics.aimd import AimdParameters, AimdPolicy, BatchAimdPolicy
from agents.heuristics.autopilot import AutopilotParameters, AutopilotPolicy
from agents.heuristics.captain import CaptainParameters, CaptainPolicy
from agents.heuristics.gradient2 import Gradient2Parameters, Gradient2Policy
from agents.heuristics.heracles import HeraclesParameters, HeraclesPolicy
from agents.heuristics.hpa import HpaParameters, HpaPolicy
from agents.heuristics.parties import PartiesParameters, PartiesPolicy
from agents.heuristics.pollux import PolluxParameters, PolluxPolicy
from agents.heuristics.threshold import ThresholdParameters, ThresholdPolicy
from agents.heuristics.vpa import VpaParameters, VpaPolicy
from agents.policy import Policy
from envs.recent import Recent
from envs.spec import SystemSpec
from envs.task import Task
from telemetry.metrics import Snapshot

SPEC = SystemSpec.load("reference")
TASKS = {role: Task(SPEC, role) for role in ("allocation", "tuning", "joint")}
N, PERIODS = 4, 25
SIDES = np.array([0.8, 1.0, 1.3, 2.0])
"""Of a parameter of each system."""


def hold(policy):
    """A policy with the signature (task, setting, parameters)."""
    return lambda task, setting, parameters: policy(task, parameters)


RULES = {
    "threshold": ("allocation", hold(ThresholdPolicy), lambda x: ThresholdParameters(0.5 * x, window_periods=4 * x)),
    "aimd": ("allocation", hold(AimdPolicy), lambda x: AimdParameters(0.1 * x)),
    "aimd-batch": ("tuning", BatchAimdPolicy, lambda x: AimdParameters(increase_batch=3.0 * x)),
    "hpa": ("allocation", HpaPolicy, lambda x: HpaParameters(0.4 * x, sync_seconds=3.0, window_seconds=9.0)),
    "vpa": ("allocation", VpaPolicy, lambda x: VpaParameters(x, half_life_seconds=9 * x, day_seconds=8 * x)),
    "autopilot": ("allocation", AutopilotPolicy, lambda x: AutopilotParameters(x, window_seconds=4 * x)),
    "captain": ("allocation", CaptainPolicy, lambda x: CaptainParameters(0.1 * x, decide_periods=3 * x)),
    "parties": ("allocation", PartiesPolicy, lambda x: PartiesParameters(unit=0.1 * x, observe_periods=3 * x)),
    "heracles": ("allocation", HeraclesPolicy, lambda x: HeraclesParameters(0.4 * x, poll_seconds=2 * x)),
    "gradient2": ("tuning", Gradient2Policy, lambda x: Gradient2Parameters(x, queue=20.0 * x, smoothing=0.4 * x)),
    "pollux": ("tuning", PolluxPolicy, lambda x: PolluxParameters(noise_scale=100.0 * x)),
}
each_rule = pytest.mark.parametrize("rule", list(RULES))
NEW = [name for name in RULES if name not in ("threshold", "aimd", "aimd-batch")]


def make(rule, parameter=1.0, task=None, setting=None):
    role, policy, parameters = RULES[rule]
    setting = SPEC.default_setting if setting is None else setting
    return policy(task or TASKS[role], setting, parameters(parameter))


def episode(seed, missing=0.1):
    """Observations (T, N, n_observation) of random readings and settings, some readings missing."""
    rng = np.random.default_rng(seed)
    task, recent = TASKS["allocation"], Recent(SPEC, N)
    low, high = (np.array([getattr(metric, side) for metric in SPEC.metrics]) for side in ("low", "high"))
    seen = []
    for period in range(PERIODS + SPEC.window_periods):
        values = low + (high - low) * rng.random((N, len(low))) ** 3
        values[rng.random(values.shape) < missing] = np.nan
        recent.append(Snapshot(float(period), values))
        if recent.full:
            setting = task.knob_scaling.unscale(rng.uniform(-1.0, 1.0, (N, len(SPEC.knobs))))
            seen.append(task.observe(recent, setting))
    return np.stack(seen)


@each_rule
def test_it_is_a_policy_with_its_own_name(rule):
    assert isinstance(make(rule), Policy)
    assert make(rule).name == rule


@each_rule
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_batch_with_its_own_parameters_does_what_single_policies_do(rule, seed):
    batch, singles = make(rule, SIDES), [make(rule, float(side)) for side in SIDES]
    for observations in episode(seed):
        expected = np.stack([single.act(one) for single, one in zip(singles, observations, strict=True)])
        np.testing.assert_allclose(batch.act(observations), expected, atol=1e-5)


@each_rule
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), missing=st.sampled_from([0.0, 0.3, 1.0]))
def test_every_action_is_within_its_range_whatever_is_missing(rule, seed, missing):
    policy = make(rule)
    for observations in episode(seed, missing):
        action = policy.act(observations)
        assert action.shape == (N, policy.task.n_action)
        assert action.dtype == np.float32
        assert (np.abs(action) <= 1.0).all()


@each_rule
def test_reset_forgets_everything(rule):
    policy, fresh = make(rule), make(rule)
    for observations in episode(1):
        policy.act(observations)
    policy.reset()
    for observations in episode(2):
        np.testing.assert_array_equal(policy.act(observations), fresh.act(observations))


@each_rule
def test_after_a_reset_the_number_of_systems_may_be_another(rule):
    policy = make(rule)
    observations = episode(1)[0]
    policy.act(observations)
    policy.reset()
    assert policy.act(observations[0]).shape == (policy.task.n_action,)


@each_rule
def test_an_observation_is_not_changed(rule):
    observations = episode(1)
    before = observations.copy()
    policy = make(rule)
    for part in observations:
        policy.act(part)
    np.testing.assert_array_equal(observations, before)


@pytest.mark.parametrize("rule", NEW)
def test_it_refuses_a_task_without_its_knobs(rule):
    role = RULES[rule][0]
    other = "tuning" if role == "allocation" else "allocation"
    with pytest.raises(ValueError, match=f"the task {other} does not"):
        make(rule, task=TASKS[other])


@pytest.mark.parametrize("rule", NEW)
def test_on_the_joint_task_it_holds_the_knobs_that_it_leaves_alone(rule):
    own, joint = make(rule), make(rule, task=TASKS["joint"], setting=(setting := SPEC.default_setting))
    held = np.setdiff1d(TASKS["joint"].knobs, own.task.knobs)
    for observations in episode(3):
        action = joint.act(observations)
        np.testing.assert_array_equal(action[:, own.task.knobs], own.act(observations))
        np.testing.assert_array_equal(action[:, held], np.tile(TASKS["joint"].encode(setting)[held], (N, 1)))


@pytest.mark.parametrize("rule", NEW)
def test_each_system_may_have_its_own_held_setting(rule):
    own = TASKS["joint"].knob_scaling.unscale(np.random.default_rng(5).uniform(-1, 1, (N, len(SPEC.knobs))))
    batch = make(rule, task=TASKS["joint"], setting=own)
    singles = [make(rule, task=TASKS["joint"], setting=setting) for setting in own]
    for observations in episode(4):
        expected = np.stack([single.act(one) for single, one in zip(singles, observations, strict=True)])
        np.testing.assert_allclose(batch.act(observations), expected, atol=1e-5)


def still(rule, **readings):
    """What a rule asks for of its knobs over some periods in which the setting does not change."""
    policy = make(rule)
    values = np.full((SPEC.window_periods, len(SPEC.metrics)), np.nan)
    for name, value in readings.items():
        values[:, SPEC.catalogue.index(name)] = value
    recent = Recent(SPEC)
    for period, seen in enumerate(values):
        recent.append(Snapshot(float(period), seen))
    return partial(policy.act, policy.task.observe(recent, SPEC.default_setting)), policy.task


@pytest.mark.parametrize("rule", [name for name in RULES if name not in ("heracles", "pollux")])
def test_where_nothing_is_known_nothing_moves(rule):
    act, task = still(rule)
    for _ in range(PERIODS):
        np.testing.assert_allclose(act(), task.encode(SPEC.default_setting), atol=1e-6)
