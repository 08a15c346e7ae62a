"""Task: what it sees, and that no action whatever leads to a setting that is not allowed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.spec import Role, SystemSpec
from envs.task import JOINT, MOVES, Clip, Task
from plants import recent

SPEC = SystemSpec.load("reference")
TASKS = {name: Task(SPEC, name) for name in (*Role, JOINT)}
N_KNOBS = len(SPEC.knobs)
anything = st.floats(width=64)
tasks = st.sampled_from(list(TASKS.values()))
feasible = st.lists(st.floats(-1.0, 1.0), min_size=N_KNOBS, max_size=N_KNOBS).map(
    lambda scaled: TASKS[Role.TUNING].fit(TASKS[Role.TUNING].knob_scaling.unscale(np.array(scaled)))
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
    observation = task.observe(recent(SPEC, window), SPEC.default_setting)
    assert observation.shape == (task.n_observation,) == (len(task.labels),)
    assert task.reading(observation, "serving_queue_requests") == pytest.approx(32.0, rel=1e-5)
    assert task.knob(observation, "serving_batch_size") == 8
    np.testing.assert_allclose(task.setting(observation), SPEC.default_setting, rtol=1e-5)


def test_headroom_is_positive_while_the_slo_holds():
    task = TASKS[Role.ALLOCATION]
    window = np.zeros((SPEC.window_periods, len(SPEC.metrics)))
    window[:, SPEC.catalogue.index("ingest_lag_seconds")] = 1.5  # at most 3
    window[:, SPEC.catalogue.index("serving_accuracy_ratio")] = 0.52  # at least 0.65
    observation = dict(zip(task.labels, task.observe(recent(SPEC, window), SPEC.default_setting), strict=True))
    assert observation["headroom/ingest_freshness"] == pytest.approx(0.5)
    assert observation["headroom/accuracy"] == pytest.approx(-0.2)


def test_a_missing_reading_is_nan_only_where_it_is_needed():
    task = TASKS[Role.ALLOCATION]
    window = np.ones((SPEC.window_periods, len(SPEC.metrics)))
    window[-1, SPEC.catalogue.index("ingest_lag_seconds")] = np.nan
    missing = [
        label
        for label, entry in zip(task.labels, task.observe(recent(SPEC, window), SPEC.default_setting), strict=True)
        if np.isnan(entry)
    ]
    assert missing == ["now/ingest_lag_seconds", "trend/ingest_lag_seconds", "headroom/ingest_freshness"]


@given(st.lists(feasible, min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_a_batch_is_seen_and_decoded_as_its_rows_are(batch, seed):
    task, rng = TASKS[Role.ALLOCATION], np.random.default_rng(seed)
    windows = rng.exponential(100.0, (SPEC.window_periods, len(batch), len(SPEC.metrics)))
    wanted = rng.uniform(-1.0, 1.0, (len(batch), task.n_action))
    seen, decoded = task.observe(recent(SPEC, windows), np.array(batch)), task.decode(wanted, np.array(batch))
    for i, setting in enumerate(batch):
        assert (task.observe(recent(SPEC, windows[:, i]), setting) == seen[i]).all()
        assert (task.decode(wanted[i], setting) == decoded[i]).all()


def test_the_joint_task_has_the_knobs_of_both_roles():
    assert set(TASKS[JOINT].action_labels) == {name for role in Role for name in TASKS[role].action_labels}
    with pytest.raises(ValueError, match="allocation, tuning and joint"):
        Task(SPEC, "both")


def test_every_task_of_a_spec_sees_the_same():
    assert TASKS[JOINT].labels == TASKS[Role.ALLOCATION].labels == TASKS[Role.TUNING].labels
    assert len(set(TASKS[JOINT].labels)) == TASKS[JOINT].n_observation


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ([np.nan, 0.0, 0.0], Clip.NOT_FINITE),
        ([-7.0, 0.0, 0.0], Clip.OUT_OF_RANGE),
        ([-1.0, 0.0, 0.0], Clip.STEP_LIMIT),
    ],
)
def test_what_was_clipped_has_a_reason(action, reason):
    task = TASKS[Role.ALLOCATION]
    decoded = task.explain(np.array(action), SPEC.default_setting)
    assert decoded.clipped[0] == reason
    assert (decoded.setting == task.decode(np.array(action), SPEC.default_setting)).all()


def test_the_dead_band_and_the_capacity_are_named_as_reasons():
    task, setting = TASKS[Role.ALLOCATION], SPEC.default_setting
    own = task.encode(setting)
    assert task.explain(own + np.array([0.5 * SPEC.dead_band, 0.0, 0.0]), setting).clipped.tolist() == [
        Clip.DEAD_BAND,
        0,
        0,
    ]
    assert (
        task.explain(own + np.array([0.3, 0.0, 0.0]), setting).clipped[0] == Clip.CAPACITY
    )  # all cores are handed out
    assert str(Clip.CAPACITY) == "capacity"


@given(feasible, st.lists(st.integers(0, len(MOVES) - 1), min_size=N_KNOBS, max_size=N_KNOBS).map(np.array))
def test_an_incremental_action_moves_by_at_most_a_step(setting, choices):
    task = TASKS[JOINT]
    action = task.moves(choices, setting)
    own = task.knob_scaling.scale(setting)[task.knobs]
    assert (np.sign(action - own) == np.sign(MOVES[choices])).all()
    assert (np.abs(action - own) <= np.array([knob.max_step for knob in SPEC.knobs])[task.knobs] + 1e-9).all()


def test_objective_weights_are_observed():
    task, window = TASKS[Role.ALLOCATION], np.ones((SPEC.window_periods, len(SPEC.metrics)))
    own = task.objective.weights
    for weights, share in ((own, 0.5), (own * [2.0, 0.0, 0.0, 1.0], 1.0)):
        observation = task.observe(recent(SPEC, window), SPEC.default_setting, weights=weights)
        seen = dict(zip(task.labels, observation, strict=True))
        assert seen["weight/serving"] == pytest.approx(2.0 * share - 1.0)
        assert seen["weight/slo"] == pytest.approx(0.0)
