"""Task: what it sees, and that no action whatever leads to a setting that is not allowed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.spec import Role, SystemSpec
from envs.task import Task

SPEC = SystemSpec.load("reference")
TASKS = {role: Task(SPEC, role) for role in Role}
N_KNOBS = len(SPEC.knobs)
anything = st.floats(width=64)
tasks = st.sampled_from(list(Role)).map(TASKS.__getitem__)
feasible = st.lists(st.floats(-1.0, 1.0), min_size=N_KNOBS, max_size=N_KNOBS).map(
    lambda scaled: TASKS[Role.TUNING].fit_cpu(TASKS[Role.TUNING].knob_scaling.unscale(np.array(scaled)))
)


def actions(task: Task):
    return st.lists(anything, min_size=task.n_action, max_size=task.n_action).map(np.array)


@settings(max_examples=300)
@given(st.data(), tasks, feasible)
def test_any_action_leads_to_an_allowed_setting(data, task, setting):
    decoded = task.decode(data.draw(actions(task)), setting)
    scaling = task.knob_scaling
    assert ((decoded >= scaling.low) & (decoded <= scaling.high)).all()
    assert (decoded[scaling.integer] == np.rint(decoded[scaling.integer])).all()
    cores = [SPEC.knob_index(workload.cpu_knob) for workload in SPEC.workloads.values()]
    assert decoded[cores].sum() <= SPEC.cores + 1e-9


@settings(max_examples=300)
@given(st.data(), tasks, feasible)
def test_no_knob_moves_further_than_its_step(data, task, setting):
    decoded = task.decode(data.draw(actions(task)), setting)
    scaling = task.knob_scaling
    step = np.array([knob.max_step for knob in SPEC.knobs])
    rounding = scaling.scale(decoded + 0.5) - scaling.scale(decoded - 0.5)
    slack = np.where(scaling.integer, rounding, 0.0) + 1e-6
    assert (np.abs(scaling.scale(decoded) - scaling.scale(setting)) <= step + slack).all()
    others = np.setdiff1d(np.arange(N_KNOBS), task.knobs)
    assert (decoded[others] == setting[others]).all()


def test_a_grant_shrinks_no_further_than_its_step_when_the_others_grow():
    task = TASKS[Role.ALLOCATION]
    setting = SPEC.default_setting
    setting[:3] = [0.49, 0.49, 0.52]
    decoded = task.decode(np.array([1.0, 1.0, np.nan]), setting)
    moved = task.knob_scaling.scale(decoded) - task.knob_scaling.scale(setting)
    assert moved[2] >= -SPEC.knobs[2].max_step - 1e-9
    assert decoded[:3].sum() == pytest.approx(SPEC.cores)


def test_grants_beyond_the_host_are_fitted_whatever_a_step_can_reach():
    task = TASKS[Role.ALLOCATION]
    setting = task.knob_scaling.high.copy()
    assert task.decode(np.full(3, np.nan), setting)[:3].sum() <= SPEC.cores + 1e-9


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite_keeps_its_knob(task, bad):
    assert (task.decode(np.full(task.n_action, bad), SPEC.default_setting) == SPEC.default_setting).all()


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_asking_for_what_is_in_force_changes_nothing(task):
    setting = SPEC.default_setting
    assert (task.decode(task.encode(setting), setting) == setting).all()


def test_a_move_within_the_dead_band_is_not_made():
    task = TASKS[Role.ALLOCATION]
    setting = SPEC.default_setting
    action = task.encode(setting) + np.array([SPEC.dead_band * 0.9, 0.0, 0.0], dtype=np.float32)
    assert (task.decode(action, setting) == setting).all()


def test_an_integer_of_two_values_can_be_flipped():
    task = TASKS[Role.TUNING]
    action = task.encode(SPEC.default_setting)
    action[task.action_labels.index("serving_threads")] = -1.0
    assert task.decode(action, SPEC.default_setting)[SPEC.knob_index("serving_threads")] == 1


def test_observation_reads_back_in_natural_units():
    task = TASKS[Role.ALLOCATION]
    window = np.zeros((SPEC.window_periods, len(SPEC.metrics)))
    window[-1, SPEC.catalogue.index("serving_queue_requests")] = 32.0
    observation = task.observe(window, SPEC.default_setting)
    assert observation.shape == (task.n_observation,) == (len(task.labels),)
    assert task.reading(observation, "serving_queue_requests") == pytest.approx(32.0, rel=1e-5)
    assert task.knob(observation, "serving_batch_size") == 8
    np.testing.assert_allclose(task.setting(observation), SPEC.default_setting, rtol=1e-5)


def test_headroom_is_positive_while_the_slo_holds():
    task = TASKS[Role.ALLOCATION]
    window = np.zeros((SPEC.window_periods, len(SPEC.metrics)))
    window[:, SPEC.catalogue.index("ingest_lag_seconds")] = 1.5  # at most 3
    window[:, SPEC.catalogue.index("serving_accuracy_ratio")] = 0.52  # at least 0.65
    observation = dict(zip(task.labels, task.observe(window, SPEC.default_setting), strict=True))
    assert observation["headroom/ingest_freshness"] == pytest.approx(0.5)
    assert observation["headroom/accuracy"] == pytest.approx(-0.2)


def test_a_missing_reading_is_nan_only_where_it_is_needed():
    task = TASKS[Role.ALLOCATION]
    window = np.ones((SPEC.window_periods, len(SPEC.metrics)))
    window[-1, SPEC.catalogue.index("ingest_lag_seconds")] = np.nan
    missing = [
        label for label, x in zip(task.labels, task.observe(window, SPEC.default_setting), strict=True) if x != x
    ]
    assert missing == ["now/ingest_lag_seconds", "deviation/ingest_lag_seconds", "headroom/ingest_freshness"]


@given(st.lists(feasible, min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_a_batch_is_seen_and_decoded_as_its_rows_are(batch, seed):
    task, rng = TASKS[Role.ALLOCATION], np.random.default_rng(seed)
    windows = rng.exponential(100.0, (len(batch), SPEC.window_periods, len(SPEC.metrics)))
    wanted = rng.uniform(-1.0, 1.0, (len(batch), task.n_action))
    seen, decoded = task.observe(windows, np.array(batch)), task.decode(wanted, np.array(batch))
    for i, setting in enumerate(batch):
        assert (task.observe(windows[i], setting) == seen[i]).all()
        assert (task.decode(wanted[i], setting) == decoded[i]).all()
