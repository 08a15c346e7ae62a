"""PPO of stable-baselines3 on the batched environment, its hot loop in numpy. The only module that imports torch."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import HParam
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv
from threadpoolctl import threadpool_limits

from agents.network import MlpPolicy
from agents.ppo_config import PpoConfig
from agents.ppo_gradient import ActorCritic, LossFigures, LossWeights, Samples, add_gradient
from agents.progress import Progress


@dataclass(frozen=True)
class TrainingHooks:
    """What happens beside the learning; all optional."""

    on_progress: Progress | None = None
    """Called after every rollout with steps done, total steps and the last scores."""
    evaluate: Callable[[MlpPolicy], float] | None = None
    """Score of a policy on a fixed validation batch, higher is better; the best policy seen is the one returned."""
    initial_action: np.ndarray | None = None
    """(n_action,) mean action of the untrained policy, e.g. the best static setting; None is the middle, 0."""
    log_directory: Path | None = None
    """Where TensorBoard scalars go."""
    checkpoint_directory: Path | None = None
    """Where `last.zip` (of stable-baselines3, to be reviewed) and `resume.pickle` are kept, renewed at each
    evaluation."""
    resume: bool = False
    """Go on from `resume.pickle`, where there is one, as if the training had never stopped."""


@dataclass
class TrainingResult:
    """What training gave."""

    model: PPO
    policy: MlpPolicy
    curve: list[tuple[int, float]] = field(default_factory=list)
    """(steps, validation score) of each evaluation."""


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
        change = infos.get("terms", {}).get("change", 0.0)
        learned = reward + (self.change_weight - 1.0) * change
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


class _Checkpoint(NamedTuple):
    """All that a training needs to go on exactly: pickled, so read none that somebody else wrote."""

    config: PpoConfig
    seed: int
    model: bytes
    env: BatchVecEnv
    curve: list[tuple[int, float]]
    best: MlpPolicy | None


class _Watch(BaseCallback):
    """After each rollout: scalars; now and then, before one: validation, keeping the best policy, and a checkpoint."""

    def __init__(self, config: PpoConfig, env: BatchVecEnv, seed: int, hooks: TrainingHooks) -> None:
        super().__init__()
        self._config, self._env, self._seed, self._hooks = config, env, seed, hooks
        self._every = max(1, config.total_steps // config.evaluations)
        self._evaluated_at = 0
        self.curve: list[tuple[int, float]] = []
        self.best: MlpPolicy | None = None

    def go_on(self, checkpoint: _Checkpoint, steps: int) -> None:
        """Take up where the checkpoint was written, after `steps` steps."""
        self.curve, self.best, self._evaluated_at = checkpoint.curve, checkpoint.best, steps

    @property
    def exhausted(self) -> bool:
        """Whether the last `patience` evaluations brought nothing better."""
        scores, patience = [score for _, score in self.curve], self._config.patience
        return bool(scores) and patience is not None and len(scores) - 1 - int(np.argmax(scores)) >= patience

    def _on_training_start(self) -> None:
        settings = {name: value if isinstance(value, float | int) else str(value) for name, value in self._config}
        self.logger.record("hyperparameters", HParam(settings, {"validation/score": 0.0}), exclude=("stdout", "log"))

    def _on_rollout_start(self) -> None:
        if self.num_timesteps // self._every > self._evaluated_at // self._every:
            self.evaluate()

    def _on_step(self) -> bool:
        return not self.exhausted

    def _on_rollout_end(self) -> None:
        means = self._env.means()
        for name, mean in means.items():
            self.logger.record(name if "/" in name else f"rollout/{name}", mean)
        if self._hooks.on_progress:
            score = f", validation {self.curve[-1][1]:.3f}" if self.curve else ""
            done = min(self.num_timesteps, self._config.total_steps)
            self._hooks.on_progress(done, self._config.total_steps, f"reward {means['reward']:.3f}{score}")

    def evaluate(self) -> None:
        """Score the present policy; keep it if it is the best so far; write the checkpoint."""
        self._evaluated_at = self.model.num_timesteps
        if self._hooks.evaluate:
            policy = export(self.model)  # type: ignore[arg-type]
            score = self._hooks.evaluate(policy)
            self.logger.record("validation/score", score)
            if self.best is None or score > max(past for _, past in self.curve):
                self.best = policy
            self.curve.append((self._evaluated_at, score))
        if self._hooks.checkpoint_directory:
            self._save(self._hooks.checkpoint_directory)

    def _save(self, directory: Path) -> None:
        self.model.save(directory / "last.zip")
        model = (directory / "last.zip").read_bytes()
        checkpoint = _Checkpoint(self._config, self._seed, model, self._env, self.curve, self.best)
        partial = directory / "resume.pickle.partial"
        partial.write_bytes(pickle.dumps(checkpoint))
        os.replace(partial, directory / "resume.pickle")  # a crash leaves the one before


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
    checkpoint = _read_checkpoint(config, seed, hooks)
    batch = checkpoint.env if checkpoint else BatchVecEnv(env, config.reward_scale, config.change_weight)
    watch = _Watch(config, batch, seed, hooks)
    if checkpoint:
        model = NumpyPPO.load(io.BytesIO(checkpoint.model), env=batch, device="cpu", force_reset=False)
        watch.go_on(checkpoint, model.num_timesteps)
    else:
        model = _new_model(config, batch, seed, hooks)
    left = config.total_steps - model.num_timesteps
    with threadpool_limits(config.threads):  # numpy's matrix products
        if left > 0 and not watch.exhausted:
            model.learn(left, callback=watch, log_interval=1, reset_num_timesteps=checkpoint is None)
            if not watch.exhausted:
                watch.evaluate()  # the last update came after the last rollout
    return TrainingResult(model, watch.best or export(model), watch.curve)


def _read_checkpoint(config: PpoConfig, seed: int, hooks: TrainingHooks) -> _Checkpoint | None:
    if not hooks.resume or not hooks.checkpoint_directory:
        return None
    path = hooks.checkpoint_directory / "resume.pickle"
    if not path.is_file():
        return None
    checkpoint: _Checkpoint = pickle.loads(path.read_bytes())
    if (checkpoint.config, checkpoint.seed) != (config, seed):
        raise ValueError(
            f"{path} is of seed {checkpoint.seed} and {checkpoint.config}, asked for are seed {seed} and {config}; "
            "delete it, or resume with its own"
        )
    return checkpoint


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
