import itertools
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from matplotlib.figure import Figure
from stable_baselines3 import PPO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from agents.ppo import BatchVecEnv, NumpyPPO, TrainingHooks, export, train_ppo
from agents.ppo_config import PpoConfig

EPISODE = 8
QUICK = PpoConfig(
    n_envs=32, n_steps=16, batch_size=128, n_epochs=6, total_steps=20_000, learning_rate=3e-3, gamma=0.5,
    hidden=(16, 16), evaluations=4, reward_scale=1.0, target_kl=None, change_weight=1.0,
)  # fmt: skip


class Follow(VectorEnv):
    """The best action is half of the first observation and minus the second; the reward is minus the squared miss."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int, missing: bool = False) -> None:
        self.num_envs, self.missing = num_envs, missing
        self.single_observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.single_action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def _new(self) -> np.ndarray:
        return self.rng.uniform(-1, 1, (self.num_envs, 2)).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        self.rng = np.random.default_rng(seed)
        self.steps = np.arange(self.num_envs) % EPISODE  # staggered
        self.now = self._new()
        return self.now, {}

    def step(self, actions):
        miss = actions - best(self.now)
        reward = -(miss**2).sum(axis=-1)
        self.steps += 1
        done = self.steps >= EPISODE
        self.now = self._new()
        infos = {
            "terms": {"miss": reward, "change": np.full(self.num_envs, -0.1), "slo": np.full(self.num_envs, -0.2)},
            "slo_met": miss[:, 0] < 0.5,
            "final_obs": np.full(self.num_envs, None),
        }
        for i in np.flatnonzero(done):
            infos["final_obs"][i] = np.full(2, 0.25, dtype=np.float32)
        self.steps[done] = 0
        if self.missing:
            self.now[0, 0] = np.nan
            reward[1] = np.nan
        return self.now, reward, np.zeros(self.num_envs, dtype=bool), done, infos


def best(observation: np.ndarray) -> np.ndarray:
    return observation * np.array([0.5, -1.0])


def score(policy) -> float:
    observations = np.random.default_rng(9).uniform(-1, 1, (256, 2))
    return -float(np.abs(policy.act(observations) - best(observations)).mean())


def test_exported_network_equals_the_trained_one():
    model = PPO("MlpPolicy", BatchVecEnv(Follow(4)), n_steps=4, batch_size=16, seed=3, device="cpu")
    observations = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    expected, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(export(model).act(observations), expected, atol=1e-5)


def test_a_known_best_answer_is_learned_within_seconds():
    result = train_ppo(QUICK, Follow(32), seed=0, hooks=TrainingHooks(evaluate=score))
    assert score(result.policy) > -0.12  # the untrained policy misses by 0.4 on average
    assert result.curve[-1][1] > result.curve[0][1]


def test_the_best_policy_seen_is_the_one_returned():
    marks = iter([0.1, 0.9, 0.3, 0.2, 0.1, 0.0])
    seen = []

    def judge(policy):
        seen.append(policy)
        return next(marks)

    config = QUICK.model_copy(update={"total_steps": 2048})
    result = train_ppo(config, Follow(32), hooks=TrainingHooks(evaluate=judge))
    assert result.policy is seen[1]


def test_a_training_that_gets_no_better_stops(tmp_path: Path):
    marks = iter([0.1, 0.9, 0.3, 0.2])
    config = QUICK.model_copy(update={"evaluations": 20, "patience": 2})
    hooks = TrainingHooks(evaluate=lambda policy: next(marks), checkpoint_directory=tmp_path, resume=True)
    result = train_ppo(config, Follow(32), hooks=hooks)
    assert [mark for _, mark in result.curve] == [0.1, 0.9, 0.3, 0.2]
    assert train_ppo(config, Follow(32), hooks=hooks).curve == result.curve  # and stays stopped


def test_the_same_seed_gives_the_same_actions_and_another_seed_others():
    config = QUICK.model_copy(update={"total_steps": 2048})
    first, again, other = (train_ppo(config, Follow(32), seed=seed).policy for seed in (5, 5, 6))
    observations = np.random.default_rng(0).uniform(-1, 1, (8, 2))
    np.testing.assert_array_equal(first.act(observations), again.act(observations))
    assert np.abs(first.act(observations) - other.act(observations)).max() > 1e-3


def test_an_untrained_policy_starts_from_the_given_action():
    config = QUICK.model_copy(update={"total_steps": 512, "learning_rate": 1e-9})
    hooks = TrainingHooks(initial_action=np.array([0.5, -0.25]))
    action = train_ppo(config, Follow(32), hooks=hooks).policy.act(np.zeros(2))
    np.testing.assert_allclose(action, [0.5, -0.25], atol=0.02)


def test_finished_episodes_tell_that_they_were_cut_off_and_how_they_ended():
    env = BatchVecEnv(Follow(EPISODE))
    env.seed(0)
    env.reset()
    _, _, dones, infos = env.step(np.zeros((EPISODE, 2), dtype=np.float32))
    assert dones.tolist() == [False] * (EPISODE - 1) + [True]
    assert infos[-1]["TimeLimit.truncated"] is True
    assert infos[-1]["terminal_observation"].tolist() == [0.25, 0.25]
    assert infos[0] == {}


def test_missing_readings_never_reach_the_learner():
    env = BatchVecEnv(Follow(4, missing=True))
    env.reset()
    for _ in range(3):
        observation, reward, _, _ = env.step(np.zeros((4, 2), dtype=np.float32))
        assert np.isfinite(observation).all()
        assert np.isfinite(reward).all()


def test_means_cover_what_happened_since_the_last_call():
    env = BatchVecEnv(Follow(4), reward_scale=0.1)
    env.reset()
    _, reward, _, _ = env.step(np.zeros((4, 2), dtype=np.float32))
    means = env.means()
    assert means["reward"] == pytest.approx(reward.mean() / 0.1, rel=1e-5)
    assert means["terms/miss"] == pytest.approx(means["reward"])
    assert env.means() == {}


def test_the_learner_sees_changes_weighted_and_the_log_sees_the_true_reward():
    plain, weighted = BatchVecEnv(Follow(4)), BatchVecEnv(Follow(4), change_weight=3.0)
    for env in (plain, weighted):
        env.seed(0)
        env.reset()
    action = np.zeros((4, 2), dtype=np.float32)
    rewards = [env.step(action)[1] for env in (plain, weighted)]
    np.testing.assert_allclose(rewards[1], rewards[0] + 2.0 * np.float32(-0.1), atol=1e-6)
    assert plain.means()["reward"] == weighted.means()["reward"]


def test_the_learner_sees_broken_slos_weighted_by_the_multiplier():
    plain, constrained = BatchVecEnv(Follow(4)), BatchVecEnv(Follow(4))
    constrained.slo_weight = 3.0
    for env in (plain, constrained):
        env.seed(0)
        env.reset()
    action = np.zeros((4, 2), dtype=np.float32)
    rewards = [env.step(action)[1] for env in (plain, constrained)]
    np.testing.assert_allclose(rewards[1], rewards[0] + 2.0 * np.float32(-0.2), atol=1e-6)
    assert plain.means()["reward"] == constrained.means()["reward"]


def test_a_constrained_training_that_was_cut_off_goes_on_with_its_multiplier(tmp_path: Path):
    config = QUICK.model_copy(update={"total_steps": 4096, "slo_target": 0.9})
    hooks = TrainingHooks(evaluate=score, slo_attainment=lambda policy: 0.7)
    straight = train_ppo(config, Follow(32), seed=3, hooks=hooks)
    hooks = replace(hooks, checkpoint_directory=tmp_path, resume=True)
    with pytest.raises(Stopped):
        train_ppo(config, Follow(32), seed=3, hooks=replace(hooks, on_progress=stop_at(3000)))
    resumed = train_ppo(config, Follow(32), seed=3, hooks=hooks)
    assert resumed.model.env.slo_weight == straight.model.env.slo_weight > 1.0
    assert resumed.curve == straight.curve


def test_scalars_and_a_checkpoint_are_written(tmp_path: Path):
    config = QUICK.model_copy(update={"total_steps": 1024})
    calls = []
    hooks = TrainingHooks(
        on_progress=lambda done, total, message: calls.append((done, total)),
        evaluate=score,
        log_directory=tmp_path,
        checkpoint_directory=tmp_path,
    )
    train_ppo(config, Follow(32), hooks=hooks)
    assert (tmp_path / "last.zip").is_file()
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    assert calls == [(512, 1024), (1024, 1024)]


class Stopped(Exception):
    """Stands for the power cut."""


def stop_at(steps: int):
    def progress(done: int, total: int, message: str) -> None:
        if done >= steps:
            raise Stopped

    return progress


def test_a_training_that_was_cut_off_goes_on_exactly(tmp_path: Path):
    config = QUICK.model_copy(update={"total_steps": 4096})
    straight = train_ppo(config, Follow(32), seed=3, hooks=TrainingHooks(evaluate=score))
    hooks = TrainingHooks(evaluate=score, checkpoint_directory=tmp_path, resume=True)
    with pytest.raises(Stopped):
        train_ppo(config, Follow(32), seed=3, hooks=replace(hooks, on_progress=stop_at(3000)))
    resumed = train_ppo(config, Follow(32), seed=3, hooks=hooks)
    assert resumed.curve == straight.curve
    assert resumed.model.num_timesteps == straight.model.num_timesteps
    for one, other in zip(resumed.model.policy.parameters(), straight.model.policy.parameters(), strict=True):
        assert (one == other).all()


def test_a_finished_training_that_is_resumed_gives_the_same_policy_again(tmp_path: Path):
    config = QUICK.model_copy(update={"total_steps": 1024})
    hooks = TrainingHooks(evaluate=score, checkpoint_directory=tmp_path, resume=True)
    first, again = (train_ppo(config, Follow(32), hooks=hooks) for _ in range(2))
    observations = np.random.default_rng(0).uniform(-1, 1, (8, 2))
    np.testing.assert_array_equal(first.policy.act(observations), again.policy.act(observations))
    assert first.curve == again.curve


@pytest.mark.parametrize("changed", [{"seed": 1}, {"config": QUICK.model_copy(update={"gamma": 0.6})}])
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, changed):
    given = {"config": QUICK.model_copy(update={"total_steps": 512}), "seed": 0}
    hooks = TrainingHooks(checkpoint_directory=tmp_path, resume=True)
    train_ppo(env=Follow(32), hooks=hooks, **given)
    with pytest.raises(ValueError, match="seed"):
        train_ppo(env=Follow(32), hooks=hooks, **(given | changed))


def test_stable_baselines3_loads_the_file_and_predicts_the_same(tmp_path: Path):
    config = QUICK.model_copy(update={"total_steps": 1024})
    model = train_ppo(config, Follow(32), hooks=TrainingHooks(checkpoint_directory=tmp_path)).model
    loaded = PPO.load(tmp_path / "last.zip", device="cpu")
    observations = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    for one, other in zip(
        loaded.predict(observations, deterministic=True), model.predict(observations, deterministic=True), strict=True
    ):
        assert one is other is None or (one == other).all()


def test_stable_baselines3_can_train_on_from_the_file(tmp_path: Path):
    config = QUICK.model_copy(update={"total_steps": 2048})
    train_ppo(config, Follow(32), hooks=TrainingHooks(checkpoint_directory=tmp_path))
    loaded = PPO.load(tmp_path / "last.zip", env=BatchVecEnv(Follow(32)), device="cpu")
    before = score(export(loaded))
    loaded.learning_rate = 3e-3
    loaded._setup_lr_schedule()
    loaded.learn(10_000)
    assert score(export(loaded)) > before


def test_rollouts_are_those_of_stable_baselines3(monkeypatch):
    """Same parameters and same noise: same actions, values, probabilities, returns and advantages; with truncations."""
    ours, theirs = (
        kind("MlpPolicy", BatchVecEnv(Follow(16)), n_steps=24, batch_size=16, n_epochs=1, seed=4, learning_rate=0.0)
        for kind in (NumpyPPO, PPO)
    )
    noise = iter(np.random.default_rng(4).standard_normal((24, 16, 2), dtype=np.float32))
    monkeypatch.setattr(
        torch.distributions.Normal, "rsample", lambda self: self.loc + self.scale * torch.from_numpy(next(noise))
    )
    theirs.learn(16 * 24)
    ours.learn(16 * 24)
    for name in ("observations", "actions", "values", "log_probs", "returns", "advantages"):
        expected = getattr(theirs.rollout_buffer, name)
        got = theirs.rollout_buffer.swap_and_flatten(getattr(ours.rollout_buffer, name))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_scalars_tell_how_the_learning_goes(tmp_path: Path):
    config = QUICK.model_copy(update={"total_steps": 2048})
    train_ppo(config, Follow(32), hooks=TrainingHooks(evaluate=score, log_directory=tmp_path))
    log = EventAccumulator(str(next(tmp_path.rglob("events.out.tfevents.*")).parent))
    log.Reload()
    assert {
        "train/approx_kl", "train/clip_fraction", "train/entropy", "train/explained_variance", "train/learning_rate",
        "time/fps", "rollout/reward", "rollout/slo_met", "terms/miss", "terms/change", "validation/score",
    } <= set(log.Tags()["scalars"])  # fmt: skip
    rates = [event.value for event in log.Scalars("train/learning_rate")]
    assert rates == sorted(rates, reverse=True)


@pytest.fixture
def logged(tmp_path: Path) -> EventAccumulator:
    """The log of a training of four rollouts and four evaluations, a second a rollout."""
    ticks = itertools.count()
    drawn = []

    def draw(policy):
        drawn.append(policy)
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot(policy.act(np.eye(2)))
        return figure

    hooks = TrainingHooks(evaluate=score, draw=draw, log_directory=tmp_path, clock=lambda: float(next(ticks)))
    train_ppo(QUICK.model_copy(update={"total_steps": 2048}), Follow(32), hooks=hooks)
    return EventAccumulator(str(tmp_path / "PPO_1"), size_guidance={"images": 0}).Reload()


def test_the_log_tells_pace_and_time_left(logged: EventAccumulator):
    assert all(event.value > 0 for event in logged.Scalars("time/steps_per_second"))
    assert [event.value for event in logged.Scalars("time/seconds_left")][-1] == 0.0
    assert logged.Scalars("time/training_seconds")[-1].value > 0


def test_sample_episodes_are_drawn_at_the_first_the_middle_and_after_the_last_evaluation(logged: EventAccumulator):
    assert [event.step for event in logged.Images("episode/validation_day")] == [512, 1024, 2048]


def test_every_evaluation_is_logged_at_its_step(logged: EventAccumulator):
    assert [event.step for event in logged.Scalars("validation/score")] == [512, 1024, 1536, 2048]


def test_hyperparameters_stand_beside_what_they_led_to(logged: EventAccumulator):
    content = logged.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert {"learning_rate", "gamma", "change_weight", "seed"} <= {info.name for info in experiment.hparam_infos}
    metrics = {info.name.tag for info in experiment.metric_infos}
    assert {"validation/best_score", "rollout/slo_met", "time/training_seconds"} <= metrics


def test_time_counts_on_where_a_training_is_taken_up(tmp_path: Path):
    config = QUICK.model_copy(update={"total_steps": 4096})
    ticks = itertools.count()
    hooks = TrainingHooks(evaluate=score, checkpoint_directory=tmp_path, resume=True, clock=lambda: float(next(ticks)))
    with pytest.raises(Stopped):
        train_ppo(config, Follow(32), hooks=replace(hooks, on_progress=stop_at(3000)))
    before, ticks = next(ticks), itertools.count()  # another process, another clock
    resumed = train_ppo(config, Follow(32), hooks=hooks)
    assert resumed.seconds > next(ticks)
    assert resumed.seconds < before + next(ticks)


@pytest.mark.parametrize("wrong", [{"use_sde": True}, {"clip_range_vf": 0.2}])
def test_what_the_numpy_loop_does_not_do_is_refused(wrong):
    with pytest.raises(ValueError, match="clip_range_vf"):
        NumpyPPO("MlpPolicy", BatchVecEnv(Follow(4)), n_steps=4, batch_size=16, **wrong)


def test_environment_and_configuration_must_agree_on_the_number_of_systems():
    with pytest.raises(ValueError, match="32 systems"):
        train_ppo(QUICK, Follow(4))


@pytest.mark.parametrize("wrong", [{"batch_size": 100}, {"gama": 0.9}, {"gamma": 1.5}])
def test_wrong_hyperparameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PpoConfig.model_validate(wrong)
