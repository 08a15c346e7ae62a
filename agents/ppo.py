"""PPO of stable-baselines3 on the batched environment. The only module that imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from agents.network import MlpPolicy
from agents.ppo_config import PpoConfig
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
    """Where `last.zip` (of stable-baselines3, to be reviewed or continued) is kept, renewed at each evaluation."""


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


class _Watch(BaseCallback):
    """After each rollout: scalars; now and then: validation, keeping the best policy."""

    def __init__(self, config: PpoConfig, env: BatchVecEnv, hooks: TrainingHooks) -> None:
        super().__init__()
        self._config, self._env, self._hooks = config, env, hooks
        self._every = max(1, config.total_steps // config.evaluations)
        self._next = self._every
        self.curve: list[tuple[int, float]] = []
        self.best: MlpPolicy | None = None

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        means = self._env.means()
        for name, mean in means.items():
            self.logger.record(name if "/" in name else f"rollout/{name}", mean)
        if self.num_timesteps >= self._next:
            self._next += self._every
            self.evaluate()
        if self._hooks.on_progress:
            score = f", validation {self.curve[-1][1]:.3f}" if self.curve else ""
            done = min(self.num_timesteps, self._config.total_steps)
            self._hooks.on_progress(done, self._config.total_steps, f"reward {means['reward']:.3f}{score}")

    def evaluate(self) -> None:
        """Score the present policy; keep it if it is the best so far."""
        if self._hooks.evaluate:
            policy = export(self.model)  # type: ignore[arg-type]
            score = self._hooks.evaluate(policy)
            self.logger.record("validation/score", score)
            if self.best is None or score > max(past for _, past in self.curve):
                self.best = policy
            self.curve.append((self.num_timesteps, score))
        if self._hooks.checkpoint_directory:
            self.model.save(self._hooks.checkpoint_directory / "last.zip")


def train_ppo(
    config: PpoConfig, env: VectorEnv, *, seed: int = 0, hooks: TrainingHooks | None = None
) -> TrainingResult:
    """Train a policy; the same seed gives the same policy on the same machine.

    Args:
        config: hyperparameters; its `n_envs` must be the environment's.
        env: Gymnasium vector environment with SAME_STEP autoreset.
        seed: of weights, exploration, minibatches and environment.
        hooks: progress, validation, logs.

    Raises:
        ValueError: the environment has another number of systems than the configuration.
    """
    if env.num_envs != config.n_envs:
        raise ValueError(f"the configuration trains on {config.n_envs} systems, the environment has {env.num_envs}")
    hooks = hooks or TrainingHooks()
    torch.set_num_threads(config.threads)
    batch = BatchVecEnv(env, config.reward_scale, config.change_weight)
    model = _new_model(config, batch, seed, hooks)
    watch = _Watch(config, batch, hooks)
    model.learn(config.total_steps, callback=watch, log_interval=1)
    watch.evaluate()  # the last update came after the last rollout
    return TrainingResult(model, watch.best or export(model), watch.curve)


def _new_model(config: PpoConfig, env: BatchVecEnv, seed: int, hooks: TrainingHooks) -> PPO:
    rate = config.learning_rate
    model = PPO(
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
    network: Any = model.policy
    linear = [layer for layer in network.mlp_extractor.policy_net if isinstance(layer, torch.nn.Linear)]
    layers = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in [*linear, network.action_net]]
    return MlpPolicy(layers, name)
