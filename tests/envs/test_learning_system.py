"""The environments: conform to Gymnasium and stable-baselines3, and are one core."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.learning_system import LearningSystemEnv, LearningSystemVectorEnv
from envs.registration import ID, register_environments
from envs.simulator.replay import default_demands
from envs.spec import SystemSpec
from envs.task import Task
from plants import ToyPlant

SPEC = SystemSpec.load("reference")
DEMANDS = default_demands(1.0)[::5]


def vector(n: int = 5, task: str = "allocation", **options) -> LearningSystemVectorEnv:
    return LearningSystemVectorEnv(n, task, SPEC, DEMANDS, **({"seed": 3, "episode_steps": 12} | options))


def single(task: str = "allocation", **options) -> LearningSystemEnv:
    return LearningSystemEnv(task, SPEC, DEMANDS, **({"seed": 3, "episode_steps": 12} | options))


@pytest.mark.parametrize("task", ["allocation", "tuning"])
def test_gymnasium_accepts_it(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(ID, task=task, demands=DEMANDS, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("task", ["allocation", "tuning"])
def test_stable_baselines3_accepts_it(task):
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(single(task))


def test_it_is_registered():
    register_environments()
    env = gymnasium.make(ID, task="tuning", demands=DEMANDS)
    assert env.reset(seed=1)[0].shape == env.observation_space.shape
    batch = gymnasium.make_vec(ID, num_envs=2, vectorization_mode="vector_entry_point", demands=DEMANDS)
    assert batch.reset(seed=1)[0].shape == batch.observation_space.shape


@pytest.mark.parametrize("task", ["allocation", "tuning"])
def test_a_system_of_the_vector_env_is_bit_for_bit_the_single_env(task):
    batch = vector(4, task, stagger=False)
    alone = [single(task, seed=3 + i) for i in range(4)]
    seen, _ = batch.reset()
    assert (seen == np.stack([env.reset()[0] for env in alone])).all()
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.uniform(-1, 1, batch.action_space.shape).astype(np.float32)
        seen, rewards, _, truncated, infos = batch.step(actions)
        for i, env in enumerate(alone):
            observation, reward, _, ended, info = env.step(actions[i])
            assert (np.float32(reward), ended) == (rewards[i], truncated[i])
            assert info["terms"] == {name: term[i] for name, term in infos["terms"].items()}
            if ended:
                assert (observation == infos["final_obs"][i]).all()
                observation, _ = env.reset()
            assert (observation == seen[i]).all()


def test_episodes_are_truncated_and_never_terminated():
    env = vector(3, stagger=False, episode_steps=4)
    env.reset()
    for step in range(1, 13):
        _, _, terminated, truncated, infos = env.step(np.zeros((3, 3), dtype=np.float32))
        assert not terminated.any()
        assert truncated.all() == (step % 4 == 0) == ("final_obs" in infos)


def test_first_episodes_end_at_different_steps_when_staggered():
    env = vector(64, episode_steps=40)
    env.reset()
    ends = [env.step(np.zeros((64, 3), dtype=np.float32))[3].sum() for _ in range(40)]
    assert sum(ends) >= 64
    assert max(ends) < 12


def test_the_same_seed_gives_the_same_episode():
    env = vector(3)
    runs = []
    for _ in range(2):
        observations = [env.reset(seed=11)[0]]
        observations += [env.step(np.full((3, 3), 0.3, dtype=np.float32))[0] for _ in range(20)]
        runs.append(np.stack(observations))
    assert (runs[0] == runs[1]).all()


def test_environments_share_nothing():
    one, two, both = vector(2, seed=1), vector(2, seed=50), vector(2, seed=1)
    one.reset(), two.reset(), both.reset()
    for _ in range(15):
        two.step(np.ones((2, 3), dtype=np.float32))
        alone, together = (env.step(np.zeros((2, 3), dtype=np.float32))[0] for env in (one, both))
        assert (alone == together).all()


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (6, 3, 9), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_no_finite_action_breaks_a_step(actions):
    env = TUNED
    env.reset(seed=0)
    for action in actions:
        observation, reward, *_ = env.step(action)
        assert np.isfinite(reward).all()
        assert env.observation_space.contains(observation)


TUNED = vector(3, "tuning", episode_steps=4)


@pytest.mark.parametrize("role", ["allocation", "tuning"])
def test_the_data_sheet_names_every_action_in_order(role):
    sheet = LearningSystemVectorEnv.__doc__ or ""
    places = [sheet.index(f"| {i} | `{name}` |") for i, name in enumerate(Task(SPEC, role).action_labels)]
    assert places == sorted(places)
    assert f"{Task(SPEC, role).n_observation} entries" in sheet


def test_a_wrong_shape_is_refused_with_both_shapes():
    env = vector(3)
    env.reset()
    with pytest.raises(ValueError, match=r"\(3,\).*\(3, 3\)"):
        env.step(np.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_setting": "best"}, "'random', 'default'"),
        ({"episode_steps": 0}, "at least 1"),
        ({"n": 0}, "at least one"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        vector(**options)


def test_a_random_start_is_feasible_and_leaves_the_other_roles_knobs_at_the_default():
    env = vector(32, "allocation")
    env.reset()
    setting = env.episodes.plant.setting
    assert (setting[:, 3:] == SPEC.default_setting[3:]).all()
    assert len(np.unique(setting[:, 0])) == 32
    assert (setting[:, :3].sum(axis=1) <= SPEC.cores + 1e-9).all()


def test_a_start_setting_may_be_given_for_either_role():
    start, others = SPEC.default_setting, SPEC.default_setting
    start[0], others[3] = 0.3, 16.0
    env = vector(2, start_setting=start, partner_setting=others)
    env.reset()
    assert (env.episodes.plant.setting[:, [0, 3]] == [0.3, 16.0]).all()


class Constant:
    """A partner that always wants the same."""

    name = "constant"

    def __init__(self, action):
        self.action, self.resets = action, 0

    def act(self, observation):
        return np.broadcast_to(self.action, (*observation.shape[:-1], len(self.action)))

    def reset(self):
        self.resets += 1


def test_the_partner_sets_the_other_roles_knobs():
    good = SPEC.default_setting
    good[SPEC.knob_index("serving_threads")] = 1.0
    partner = Constant(Task(SPEC, "tuning").encode(good))
    env = vector(4, "allocation", partner=partner, randomize=False, stagger=False)
    env.reset()
    env.step(np.zeros((4, 3), dtype=np.float32))
    assert (env.episodes.plant.setting[:, SPEC.knob_index("serving_threads")] == 1.0).all()
    assert partner.resets == 1


def test_rewards_are_the_sum_of_their_terms():
    env = vector(4)
    env.reset()
    _, reward, _, _, infos = env.step(np.zeros((4, 3), dtype=np.float32))
    np.testing.assert_allclose(reward, sum(infos["terms"].values()), rtol=1e-6)
    assert set(infos["terms"]) == {"efficiency", "slo", "change"}
    assert infos["slo_met"].dtype == bool


def test_any_plant_can_take_the_simulators_place():
    plant = ToyPlant()
    env = LearningSystemEnv("allocation", plant=plant, episode_steps=3)
    env.reset(seed=0)
    action = env.task.encode(SPEC.default_setting)
    action[0] = -1.0
    steps = [env.step(action) for _ in range(3)]
    assert plant.setting[0] < 0.5
    assert [step[3] for step in steps] == [False, False, True]
    assert env.reset()[0].shape == env.observation_space.shape
    env.close()
    assert plant.closed


def test_a_picture_is_drawn_on_request():
    env = single(render_mode="rgb_array")
    env.reset()
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
