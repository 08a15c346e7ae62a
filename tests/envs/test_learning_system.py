"""The environments: conform to Gymnasium and stable-baselines3, and are one core."""

import copy
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.learning_system import LearningSystemEnv, LearningSystemVectorEnv
from envs.registration import ENVIRONMENTS, register_environments
from envs.simulator.replay import default_demands
from envs.spec import SystemSpec
from envs.task import MOVES, Task
from plants import FakeClock, ToyPlant

SPEC = SystemSpec.load("reference")
DEMANDS = default_demands(1.0)[::5]


EVERYTHING = {"missing_ratio": 0.05, "incident_rate_per_hour": 240.0, "objective_spread": 0.5}
"""All that may happen."""


def vector(n: int = 5, task: str = "allocation", **options) -> LearningSystemVectorEnv:
    return LearningSystemVectorEnv(n, task, SPEC, DEMANDS, **({"seed": 3, "episode_steps": 12} | options))


def single(task: str = "allocation", **options) -> LearningSystemEnv:
    return LearningSystemEnv(task, SPEC, DEMANDS, **({"seed": 3, "episode_steps": 12} | options))


@pytest.mark.parametrize("actions", ["absolute", "incremental"])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_gymnasium_and_stable_baselines3_accept_every_registered_environment(name, actions):
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    env = gymnasium.make(name, demands=DEMANDS, actions=actions, render_mode="rgb_array").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)
        sb3_check_env(env)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_registered_environment_has_a_batched_form(name):
    register_environments()
    batch = gymnasium.make_vec(name, num_envs=3, vectorization_mode="vector_entry_point", demands=DEMANDS)
    alone = gymnasium.make(name, demands=DEMANDS, stagger=True)
    assert (batch.reset(seed=1)[0][0] == alone.reset(seed=1)[0]).all()


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("task", ["allocation", "tuning", "joint"])
def test_a_system_of_the_vector_env_is_bit_for_bit_the_single_env(task, options):
    batch = vector(4, task, stagger=False, **options)
    alone = [single(task, seed=3 + i, **options) for i in range(4)]
    seen, _ = batch.reset()
    assert (seen == np.stack([env.reset()[0] for env in alone])).all()
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.uniform(-1, 1, batch.action_space.shape).astype(np.float32)
        seen, rewards, _, truncated, infos = batch.step(actions)
        for i, env in enumerate(alone):
            observation, reward, _, ended, info = env.step(actions[i])
            assert (np.float32(reward), ended) == (rewards[i], truncated[i])
            assert (info["objectives"] == infos["objectives"][i]).all()
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
    env = TUNED  # with everything that may happen
    env.reset(seed=0)
    for action in actions:
        observation, reward, *_ = env.step(action)
        assert np.isfinite(reward).all()
        assert env.observation_space.contains(observation)


TUNED = vector(3, "tuning", episode_steps=4, **EVERYTHING)


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


@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
def test_a_picture_is_drawn_on_request(mode):
    env = single(render_mode=mode)
    env.reset()
    env.step(env.action_space.sample())
    picture = env.render()
    if mode == "ansi":
        assert "p99" in picture
    else:
        assert (picture.dtype, picture.ndim, picture.shape[2]) == (np.uint8, 3, 3)


def test_human_rendering_prints_each_period(capsys):
    env = single(render_mode="human")
    env.reset()
    env.step(env.action_space.sample())
    assert capsys.readouterr().out.count("p99") >= 2


def test_what_was_clipped_is_told_with_its_reason():
    env = single(start_setting="default")
    env.reset()
    *_, info = env.step(np.array([1e9, 0.0, 0.0]))
    assert info["clipped"]["serving_cpu_cores"] == "out of range"


def test_an_incremental_action_moves_the_knobs_that_it_names():
    env = single("tuning", actions="incremental", start_setting="default", randomize=False)
    env.reset()
    before = env.episodes.plant.setting[0]
    choices = np.full(env.task.n_action, 2)  # stay
    choices[env.task.action_labels.index("serving_batch_size")] = len(MOVES) - 1
    env.step(choices)
    changed = np.flatnonzero(env.episodes.plant.setting[0] != before)
    assert [SPEC.knob_names[i] for i in changed] == ["serving_batch_size"]
    with pytest.raises(ValueError, match="0 to 4"):
        env.step(np.full(env.task.n_action, 5))


def test_without_the_penalty_the_constraint_cost_stands_apart():
    with_it, without = vector(4), vector(4, penalize=False)
    with_it.reset(), without.reset()
    action = -np.ones((4, 3), dtype=np.float32)
    for _ in range(5):
        _, reward, _, _, infos = with_it.step(action)
        _, free, _, _, free_infos = without.step(action)
    assert (infos["cost"] == free_infos["cost"]).all()
    assert infos["cost"].max() > 0
    np.testing.assert_allclose(free - reward, SPEC.violation_penalty * infos["cost"], rtol=1e-5)


def test_objective_weights_of_an_episode_change_its_reward_and_are_observed():
    env, plain = vector(16, objective_spread=1.0), vector(16)
    weight = [i for i, label in enumerate(env.task.labels) if label.startswith("weight/")]
    assert len(np.unique(env.reset()[0][:, weight], axis=0)) == 16
    assert len(np.unique(plain.reset()[0][:, weight], axis=0)) == 1
    action = np.zeros((16, 3), dtype=np.float32)
    assert (env.step(action)[4]["terms"]["slo"] != plain.step(action)[4]["terms"]["slo"]).any()


def test_looking_ahead_changes_nothing():
    env, untouched = single("joint"), single("joint")
    env.reset(), untouched.reset()
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1, 1, env.task.n_action)
        env.simulate(rng.uniform(-1, 1, env.task.n_action), 4)
        one, other = env.step(action), untouched.step(action)
        assert (one[0] == other[0]).all()
        assert one[1] == other[1]


def test_looking_ahead_with_the_true_demand_and_no_noise_tells_what_comes():
    env = single("joint", noise=False)
    env.reset()
    for _ in range(5):
        action = env.action_space.sample()
        (outlook,) = env.simulate(action, known_demand=True)
        observation, reward, *_ = env.step(action)
        assert (outlook.observation == observation).all()
        assert outlook.reward == reward


def test_a_plant_that_is_not_simulated_cannot_look_ahead():
    env = LearningSystemEnv("allocation", plant=ToyPlant())
    env.reset()
    with pytest.raises(TypeError, match="live"):
        env.simulate(np.zeros(3))


def test_an_action_after_the_deadline_is_not_taken():
    clock = FakeClock()
    env = LearningSystemEnv("allocation", plant=ToyPlant(), deadline_seconds=0.5, clock=clock)
    env.reset()
    for thinking, late in ((0.4, False), (0.6, True)):
        before = env.episodes.plant.setting[0]
        clock.advance(thinking)
        *_, info = env.step(-np.ones(3))
        assert info["late"] is late
        assert (env.episodes.plant.setting[0] == before).all() is np.bool_(late)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_and_pickles_go_on_exactly_as_the_original(duplicate):
    env = vector(4, **EVERYTHING)
    env.reset()
    rng = np.random.default_rng(2)
    for _ in range(7):
        env.step(rng.uniform(-1, 1, (4, 3)).astype(np.float32))
    twin = duplicate(env)
    for _ in range(20):
        action = rng.uniform(-1, 1, (4, 3)).astype(np.float32)
        one, other = env.step(action), twin.step(action)
        assert all((a == b).all() for a, b in zip(one[:4], other[:4], strict=True))


def test_a_file_of_a_trace_is_replayed_as_demand(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_text("t,rate\n" + "".join(f"{60 * i},{50 + 10 * (i % 7)}\n" for i in range(200)))
    env = LearningSystemEnv("joint", SPEC, path)
    assert env.reset(seed=0)[0].shape == env.observation_space.shape
