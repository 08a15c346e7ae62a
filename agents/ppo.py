"""PPO of stable-baselines3 on the batched environment, its hot loop in numpy. The only module that imports torch."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure, HParam
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv
from threadpoolctl import threadpool_limits

from agents.checkpoint import Checkpoint, read_checkpoint
from agents.network import MlpPolicy
from agents.ppo_config import PpoConfig
from agents.ppo_gradient import ActorCritic, LossFigures, LossWeights, Samples, add_gradient
from agents.watch import Pace, TrainingHooks, Validation, describe

OUTCOMES = (
    "validation/score",
    "validation/best_score",
    "rollout/slo_met",
    "rollout/efficiency",
    "time/training_seconds",
)
"""Scalars that TensorBoard sets against the hyperparameters: the last of each."""


@dataclass
class TrainingResult:
    """What training gave."""

    model: PPO
    policy: MlpPolicy
    curve: list[tuple[int, float]]
    """(steps, validation score) of each evaluation."""
    seconds: float
    """Wall-clock that it took, evaluations included, over all the times that it was resumed."""


class BatchVecEnv(VecEnv):
    """A Gymnasium vector environment (SAME_STEP autoreset) as stable-baselines3 wants it: one batch, no loop over it.

    A truncated episode carries `TimeLimit.truncated` and `terminal_observation`, so that PPO bootstraps its value.
    Where a reading is missing, the system's last known observation entry or reward is repeated: one NaN would end the
    training.
    """

    def __init__(self, env: VectorEnv, reward_scale: float = 1.0, change_weight: float = 1.0) -> None:
        observation_space, action_space = env.single_observation_space, env.single_action_space
        self.env = env  # before super, which asks it for its render mode
        super().__init__(env.num_envs, observation_space, action_space)
        self.reward_scale, self.change_weight = reward_scale, change_weight
        self.slo_weight = 1.0
        """Factor on the reward's `slo` term while learning."""
        self._no_infos: list[dict[str, Any]] = [{}] * env.num_envs
        self._seed: int | None = None
        self._actions = np.empty(0)
        self._observation = np.zeros((env.num_envs, *(observation_space.shape or ())), dtype=np.float32)
        self._reward = np.zeros(env.num_envs)
        self._sums: dict[str, float] = {}
        self._steps = 0

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the next reset."""
        self._seed = seed
        return [seed] * self.num_envs

    def reset(self) -> np.ndarray:
        """(N, n_observation) of new episodes."""
        observation, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self._observation = np.nan_to_num(observation, nan=0.0)
        return self._observation

    def step_async(self, actions: np.ndarray) -> None:
        """Keep (N, n_action) for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One period: observations (N, n_observation), rewards to learn from (N,), dones (N,), infos."""
        observation, reward, terminated, truncated, infos = self.env.step(self._actions)
        done = terminated | truncated
        listed = self._no_infos
        finished = np.flatnonzero(done)
        if len(finished):
            listed = list(self._no_infos)
            for i in finished:
                final = np.asarray(infos["final_obs"][i], dtype=np.float32)
                final = np.where(np.isfinite(final), final, self._observation[i])
                listed[i] = {"terminal_observation": final, "TimeLimit.truncated": bool(truncated[i] & ~terminated[i])}
        self._observation = np.where(np.isfinite(observation), observation, self._observation)
        terms = infos.get("terms", {})
        learned = reward + (self.change_weight - 1.0) * terms.get("change", 0.0)
        learned = learned + (self.slo_weight - 1.0) * terms.get("slo", 0.0)
        self._reward = np.where(np.isfinite(learned), learned, self._reward)
        self._count(reward, infos)
        return self._observation, (self._reward * self.reward_scale).astype(np.float32), done, listed

    def means(self) -> dict[str, float]:
        """Mean of the reward, of each of its terms and of SLO attainment since the last call."""
        means = {name: total / max(self._steps, 1) for name, total in self._sums.items()}
        self._sums, self._steps = {}, 0
        return means

    def _count(self, reward: np.ndarray, infos: dict[str, Any]) -> None:
        watched = {"reward": reward} | {f"terms/{name}": term for name, term in infos.get("terms", {}).items()}
        watched |= {name: infos[name] for name in ("slo_met", "efficiency") if name in infos}
        self._steps += 1
        for name, figures in watched.items():
            there = np.asarray(figures, dtype=float)
            there = there[np.isfinite(there)]
            self._sums[name] = self._sums.get(name, 0.0) + (float(there.mean()) if len(there) else 0.0)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The batch's attribute, once per system asked for."""
        return [getattr(self.env, attr_name)] * len(self._asked(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the whole batch."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call the batch's method once; its result once per system asked for."""
        return [getattr(self.env, method_name)(*args, **kwargs)] * len(self._asked(indices))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never: the batch has no single environments to wrap."""
        return [False] * len(self._asked(indices))

    def _asked(self, indices: int | Iterable[int] | None) -> list[int]:
        return list(self._get_indices(indices))


class NumpyPPO(PPO):
    """stable-baselines3's PPO with rollout and update in numpy: same network, optimizer, files and results, less time.

    For a Box of actions, tanh networks and the plain clipped loss, on an environment that gives float32 observations.
    """

    def _setup_model(self) -> None:
        super()._setup_model()
        if not isinstance(self.action_space, Box) or self.use_sde or self.clip_range_vf is not None:
            raise ValueError(f"{type(self).__name__} takes a Box of actions, no gSDE and no clip_range_vf")
        if not hasattr(self, "rng"):  # a model that is loaded brings its own
            self.rng = np.random.default_rng(self.seed)
        network: Any = self.policy
        parameters = list(network.parameters())
        self._slopes = np.zeros(sum(parameter.numel() for parameter in parameters), dtype=np.float32)
        start = 0
        for parameter in parameters:
            slope = self._slopes[start : start + parameter.numel()].reshape(parameter.shape)
            parameter.grad = torch.from_numpy(slope)
            start += parameter.numel()
        # Views: the optimizer and `load` change parameters in place, and numpy sees it.
        self.network = _actor_critic(network, lambda parameter: parameter.detach().numpy())
        self._gradient = _actor_critic(network, lambda parameter: parameter.grad.numpy())  # type: ignore[union-attr]

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "network", "_gradient", "_slopes"]

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Play `n_rollout_steps` periods into the buffer; False if the callback wants to stop."""
        rollout_buffer.reset()
        callback.on_rollout_start()
        space: Any = self.action_space
        observation: Any = self._last_obs
        starts: Any = self._last_episode_starts
        for _ in range(n_rollout_steps):
            action, log_probability = self.network.sample(observation, self.rng)
            value = self.network.values(observation)
            following, reward, done, infos = env.step(np.clip(action, space.low, space.high))
            self.num_timesteps += env.num_envs
            if not callback.on_step():
                return False
            self._bootstrap(reward, done, infos)
            tensors = torch.from_numpy(value), torch.from_numpy(log_probability)
            rollout_buffer.add(observation, action, reward, starts, *tensors)
            observation, starts = following, done
        self._last_obs, self._last_episode_starts = observation, starts
        rollout_buffer.compute_returns_and_advantage(torch.from_numpy(self.network.values(observation)), starts)
        callback.on_rollout_end()
        return True

    def _bootstrap(self, reward: np.ndarray, done: np.ndarray, infos: list[dict[str, Any]]) -> None:
        """Add to the rewards (N,) of cut-off episodes what would have followed."""
        cut = [i for i in np.flatnonzero(done) if infos[i].get("TimeLimit.truncated")]
        if cut:
            reward[cut] += self.gamma * self.network.values(np.stack([infos[i]["terminal_observation"] for i in cut]))

    def train(self) -> None:
        """Some passes over the rollout, until the policy has moved by `target_kl`."""
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        weights = LossWeights(clip_range, self.ent_coef, self.vf_coef)
        rollout, figures = self._rollout(), []
        for _ in range(self.n_epochs):
            order = self.rng.permutation(len(rollout.returns))
            for start in range(0, len(order), self.batch_size):
                figures.append(self.gradient(rollout.rows(order[start : start + self.batch_size]), weights))
                if self.target_kl is not None and figures[-1].kl > 1.5 * self.target_kl:
                    return self._record(figures)
                self._follow_gradient()
            self._n_updates += 1
        return self._record(figures)

    def gradient(self, samples: Samples, weights: LossWeights) -> LossFigures:
        """Compute the gradient of the loss on a minibatch, into the parameters' `grad`."""
        self._slopes[:] = 0.0
        return add_gradient(self.network, samples.normalized(), weights, self._gradient)

    def _follow_gradient(self) -> None:
        length = float(np.sqrt(self._slopes @ self._slopes))
        self._slopes *= min(1.0, self.max_grad_norm / (length + 1e-6))
        self.policy.optimizer.step()

    def _rollout(self) -> Samples:
        buffer = self.rollout_buffer
        columns = (buffer.observations, buffer.actions, buffer.log_probs, buffer.advantages, buffer.returns)
        steps = buffer.buffer_size * buffer.n_envs
        return Samples(*(column.reshape(steps, *column.shape[2:]) for column in columns))

    def _record(self, figures: list[LossFigures]) -> None:
        means = LossFigures(*np.mean(figures, axis=0))
        buffer = self.rollout_buffer
        scalars = {
            "approx_kl": means.kl,
            "clip_fraction": means.clip_fraction,
            "policy_gradient_loss": means.policy_loss,
            "value_loss": means.value_loss,
            "entropy": self.network.entropy(),
            "explained_variance": explained_variance(buffer.values.ravel(), buffer.returns.ravel()),
            "std": float(np.exp(self.network.log_std).mean()),
            "n_updates": self._n_updates,
        }
        for name, value in scalars.items():
            self.logger.record(f"train/{name}", value)


def _actor_critic(network: Any, array: Callable[[torch.Tensor], np.ndarray]) -> ActorCritic:
    """What `array` gives of each parameter of a stable-baselines3 network."""

    def layers(hidden: torch.nn.Sequential, last: torch.nn.Linear) -> list[tuple[np.ndarray, np.ndarray]]:
        linear = [layer for layer in hidden if isinstance(layer, torch.nn.Linear)]
        return [(array(layer.weight), array(layer.bias)) for layer in [*linear, last]]

    both = network.mlp_extractor
    return ActorCritic(
        layers(both.policy_net, network.action_net), layers(both.value_net, network.value_net), array(network.log_std)
    )


class _Watch(BaseCallback):
    """After each rollout: scalars; now and then, before one: validation, keeping the best policy, and a checkpoint."""

    def __init__(
        self, config: PpoConfig, env: BatchVecEnv, seed: int, hooks: TrainingHooks, going_on: Checkpoint | None
    ) -> None:
        super().__init__()
        self._config, self._env, self._seed, self._hooks = config, env, seed, hooks
        self.validation = Validation(config, hooks.evaluate, hooks.slo_attainment)
        self.validation.multiplier = env.slo_weight  # not 1 where a training goes on
        steps, seconds = 0, 0.0
        if going_on:
            steps, seconds = going_on.steps, going_on.seconds
            self.validation.curve, self.validation.best, self.validation.at = going_on.curve, going_on.best, steps
        self.pace = Pace(hooks.clock, steps, seconds)

    def _on_training_start(self) -> None:
        chosen = msgspec.structs.asdict(self._config)
        settings = {name: value if isinstance(value, float | int) else str(value) for name, value in chosen.items()}
        self._show("hyperparameters", HParam(settings | {"seed": self._seed}, dict.fromkeys(OUTCOMES, 0.0)))

    def _on_rollout_start(self) -> None:
        if self.validation.due(self.num_timesteps):
            self.evaluate()

    def _on_step(self) -> bool:
        return not self.validation.exhausted

    def _on_rollout_end(self) -> None:
        means, total = self._env.means(), self._config.total_steps
        for name, mean in means.items():
            self.logger.record(name if "/" in name else f"rollout/{name}", mean)
        done, rate = min(self.num_timesteps, total), self.pace.rate(self.num_timesteps)
        self.logger.record("time/steps_per_second", rate)
        self.logger.record("time/seconds_left", self.pace.seconds_left(self.num_timesteps, total))
        if self._hooks.on_progress:
            self._hooks.on_progress(done, total, describe(means["reward"], self.validation.curve, rate))

    def evaluate(self) -> None:
        """Score the present policy; keep it if it is the best so far; write the checkpoint."""
        policy = export(self.model)  # type: ignore[arg-type]
        if self.validation.judge(policy, self.model.num_timesteps):
            self._draw(policy)
        self._env.slo_weight = self.validation.multiplier
        self.logger.record("train/slo_weight", self._env.slo_weight)
        if self.validation.curve:
            self.logger.record("validation/score", self.validation.curve[-1][1])
            self.logger.record("validation/best_score", self.validation.best_score)
        self.logger.dump(self.model.num_timesteps)  # now: SB3's next dump carries the steps of the next rollout
        if self._hooks.checkpoint_directory:
            self._save(self._hooks.checkpoint_directory)

    def finish(self, policy: MlpPolicy) -> None:
        """Log what the training came to: SB3 itself logs nothing after the last rollout."""
        self._draw(policy)
        self.logger.record("time/training_seconds", self.pace.seconds)
        self.logger.dump(self.model.num_timesteps)

    def _draw(self, policy: MlpPolicy) -> None:
        if self._hooks.draw and self._hooks.log_directory:
            self._show("episode/validation_day", Figure(self._hooks.draw(policy), close=True))

    def _show(self, name: str, drawn: HParam | Figure) -> None:
        self.logger.record(name, drawn, exclude=("stdout", "log", "json", "csv"))

    def _save(self, directory: Path) -> None:
        self.model.save(directory / "last.zip")
        model, steps, seen = (directory / "last.zip").read_bytes(), self.model.num_timesteps, self.validation
        Checkpoint(self._config, self._seed, steps, model, self._env, seen.curve, seen.best, self.pace.seconds).write(
            directory
        )


def train_ppo(
    config: PpoConfig, env: VectorEnv, *, seed: int = 0, hooks: TrainingHooks | None = None
) -> TrainingResult:
    """Train a policy; the same seed gives the same policy on the same machine, in one go or resumed.

    Args:
        config: hyperparameters; its `n_envs` must be the environment's.
        env: Gymnasium vector environment with SAME_STEP autoreset; must be picklable if there are checkpoints, and a
            resumed training goes on in the checkpoint's.
        seed: of weights, exploration, minibatches and environment.
        hooks: progress, validation, logs, checkpoints.

    Raises:
        ValueError: the environment has another number of systems than the configuration, or the checkpoint is of
            another configuration or seed.
    """
    if env.num_envs != config.n_envs:
        raise ValueError(f"the configuration trains on {config.n_envs} systems, the environment has {env.num_envs}")
    hooks = hooks or TrainingHooks()
    torch.set_num_threads(config.threads)
    directory = hooks.checkpoint_directory if hooks.resume else None
    checkpoint = read_checkpoint(directory, config, seed) if directory else None
    batch = checkpoint.env if checkpoint else BatchVecEnv(env, config.reward_scale, config.change_weight)
    watch = _Watch(config, batch, seed, hooks, checkpoint)
    if checkpoint:
        model = NumpyPPO.load(io.BytesIO(checkpoint.model), env=batch, device="cpu", force_reset=False)
    else:
        model = _new_model(config, batch, seed, hooks)
    left, validation = config.total_steps - model.num_timesteps, watch.validation
    with threadpool_limits(config.threads):  # numpy's matrix products
        if left > 0 and not validation.exhausted:
            model.learn(left, callback=watch, log_interval=1, reset_num_timesteps=checkpoint is None)
            if not validation.exhausted:
                watch.evaluate()  # the last update came after the last rollout
            watch.finish(validation.best or export(model))
    return TrainingResult(model, validation.best or export(model), validation.curve, watch.pace.seconds)


def _new_model(config: PpoConfig, env: BatchVecEnv, seed: int, hooks: TrainingHooks) -> NumpyPPO:
    rate = config.learning_rate
    model = NumpyPPO(
        "MlpPolicy",
        env,
        n_steps=config.n_steps,
        batch_size=config.batch_size,
        n_epochs=config.n_epochs,
        learning_rate=lambda remaining: rate * remaining,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.entropy_weight,
        max_grad_norm=config.max_grad_norm,
        target_kl=config.target_kl,
        policy_kwargs={"net_arch": list(config.hidden), "log_std_init": config.initial_log_std},
        tensorboard_log=str(hooks.log_directory) if hooks.log_directory else None,
        seed=seed,
        device="cpu",  # a network of this size is slower on an accelerator
    )
    if hooks.initial_action is not None:
        with torch.no_grad():
            action_net: Any = model.policy.action_net
            action_net.bias.copy_(torch.as_tensor(hooks.initial_action, dtype=torch.float32))
    return model


def export(model: PPO, name: str = "ppo") -> MlpPolicy:
    """The deterministic policy of a model, in numpy."""
    network = _actor_critic(model.policy, lambda parameter: parameter.detach().numpy())
    return MlpPolicy(network.policy, name)
