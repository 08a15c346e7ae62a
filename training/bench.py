"""Speed figures, as ratios to a yardstick measured in the same run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

SIZES = (1, 256, 1024)


def bench_environment(seconds: float = 2.0) -> dict[str, Any]:
    """System-steps per second of the environment at several sizes, beside Gymnasium's CartPole-v1.

    Size 1 is `gymnasium.make`, the others the vector environment; all as made by default, autoreset included.

    Args:
        seconds: measured for each size; CartPole is measured before and after, and its mean is the yardstick.

    Returns:
        `cartpole_ratio` and `steps_per_second` {size: ...}, `bytes_per_system`, `cartpole_steps_per_second`.
    """
    import gymnasium

    from envs.learning_system import LearningSystemVectorEnv

    before = _steps_per_second(gymnasium.make("CartPole-v1"), seconds)
    rates = {1: _steps_per_second(gymnasium.make("envs.registration:trimtab/Allocation-v1"), seconds)}
    for size in SIZES[1:]:
        rates[size] = _batch_steps_per_second(LearningSystemVectorEnv(num_envs=size), seconds)
    yardstick = (before + _steps_per_second(gymnasium.make("CartPole-v1"), seconds)) / 2
    return {
        "cartpole_ratio": {str(size): rate / yardstick for size, rate in rates.items()},
        "steps_per_second": {str(size): rate for size, rate in rates.items()},
        "bytes_per_system": (_bytes_held(SIZES[-1]) - _bytes_held(1)) / (SIZES[-1] - 1),
        "cartpole_steps_per_second": yardstick,
    }


def _steps_per_second(env: Any, seconds: float) -> float:
    env.reset(seed=0)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(100):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        steps += 100
    return steps / (time.perf_counter() - start)


def _batch_steps_per_second(env: Any, seconds: float) -> float:
    env.reset(seed=0)
    # Drawn beforehand: drawing 1024 actions of a Box costs as much as the step itself.
    actions = [np.random.default_rng(i).uniform(-1, 1, env.action_space.shape).astype(np.float32) for i in range(16)]
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for action in actions:
            env.step(action)
        steps += len(actions) * env.num_envs
    return steps / (time.perf_counter() - start)


def _bytes_held(size: int, periods: int = 300) -> int:
    """What an environment of so many systems holds after more than an episode, as Python counts it."""
    import gc
    import tracemalloc

    from envs.learning_system import LearningSystemVectorEnv

    gc.collect()
    tracemalloc.start()
    env = LearningSystemVectorEnv(num_envs=size)
    env.reset(seed=0)
    for _ in range(periods):
        env.step(np.zeros((size, env.task.n_action), dtype=np.float32))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held


@dataclass(frozen=True)
class TrainBudget:
    """How much `bench_train` does."""

    seconds: float = 22.0
    """Trained with each, at least."""
    probe_steps: int = 400_000
    """Of the short run that foretells how far ours gets in that time."""
    rollout_steps: int = 2048
    """Of the yardstick's systems in one iteration. Default 2048: stable-baselines3's."""
    episodes: int = 256
    """That the returns are means over."""


def bench_train(budget: TrainBudget | None = None, task: str = "allocation") -> dict[str, Any]:
    """Training speed and what it buys, beside stable-baselines3's PPO with its defaults on a DummyVecEnv of 8 systems.

    Both learn the same reward from scratch, on one thread, one after the other. The yardstick trains whole iterations
    of rollout and update until the time is over; ours then gets nine tenths of what that took, as a short run before
    foretells it, so that it hardly ever takes longer.

    Args:
        budget: time and episodes; None is enough for figures that can be relied on.
        task: `allocation`, `tuning` or `joint`.

    Returns:
        `ratio_to_sb3_default`, `steps_per_second` of ours, `return_at_equal_wall_clock` {`sb3_default`, `trimtab`},
        mean over episodes of 240 periods; `sb3_default_steps_per_second`, and `wall_seconds` of each.
    """
    from threadpoolctl import threadpool_limits

    budget = budget or TrainBudget()
    with threadpool_limits(1):
        yardstick, ours = _train_default(task, budget), _train_batched(task, budget.probe_steps)
        ours = _train_batched(task, int(0.9 * yardstick.seconds * ours.steps / ours.seconds))
        acts = {"sb3_default": yardstick.act, "trimtab": ours.act}
        returns = {name: _mean_return(act, task, budget.episodes) for name, act in acts.items()}
    rate, yardstick_rate = ours.steps / ours.seconds, yardstick.steps / yardstick.seconds
    return {
        "ratio_to_sb3_default": rate / yardstick_rate,
        "steps_per_second": rate,
        "return_at_equal_wall_clock": returns,
        "sb3_default_steps_per_second": yardstick_rate,
        "wall_seconds": {"sb3_default": yardstick.seconds, "trimtab": ours.seconds},
    }


class _Trained(NamedTuple):
    act: Callable[[np.ndarray], np.ndarray]
    steps: int
    seconds: float


def _train_default(task: str, budget: TrainBudget) -> _Trained:
    """As the first page of stable-baselines3's documentation does it."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    from envs.learning_system import LearningSystemEnv

    torch.set_num_threads(1)
    env = DummyVecEnv([lambda: LearningSystemEnv(task)] * 8)
    model = PPO("MlpPolicy", env, n_steps=budget.rollout_steps, seed=0, device="cpu")
    start = time.perf_counter()
    while time.perf_counter() - start < budget.seconds:
        model.learn(1, reset_num_timesteps=False)  # one rollout and its update
    spent = time.perf_counter() - start
    return _Trained(lambda seen: model.predict(seen, deterministic=True)[0], model.num_timesteps, spent)


def _train_batched(task: str, steps: int) -> _Trained:
    """As `trimtab train` does it, but without its head start from the best static setting."""
    from agents.ppo import train_ppo
    from envs.learning_system import LearningSystemVectorEnv
    from envs.spec import Role
    from training.config import TrainingConfig

    shipped = TrainingConfig.load(None, Role.ALLOCATION).ppo
    config = shipped.model_copy(
        update={"total_steps": steps, "change_weight": 1.0, "initial_log_std": 0.0, "slo_target": None}
    )
    env = LearningSystemVectorEnv(config.n_envs, task)
    start = time.perf_counter()
    result = train_ppo(config, env, seed=0)
    return _Trained(result.policy.act, result.model.num_timesteps, time.perf_counter() - start)


def _mean_return(act: Callable[[np.ndarray], np.ndarray], task: str, episodes: int) -> float:
    from envs.learning_system import LearningSystemVectorEnv

    env = LearningSystemVectorEnv(episodes, task, stagger=False)
    observation, _ = env.reset(seed=1_000_000)
    total = np.zeros(episodes)
    for _ in range(env.episodes.config.episode_steps):
        observation, reward, *_ = env.step(act(observation))
        total += reward
    return float(total.mean())


START = """
import time; begin = time.perf_counter()
import numpy as np, psutil
from agents.artifact import load_shipped
from envs.spec import Role, SystemSpec
from envs.task import Task
from envs.recent import Recent
from telemetry.metrics import Snapshot
import controller.loop
spec = SystemSpec.load("reference")
task, policy = Task(spec, Role.ALLOCATION), load_shipped(Role.ALLOCATION, spec)
recent = Recent(spec)
while not recent.full:
    recent.append(Snapshot(0.0, np.zeros(len(spec.metrics))))
policy.act(task.observe(recent, spec.default_setting))
print(time.perf_counter() - begin, psutil.Process().memory_info().rss)
"""


def bench_decision(calls: int = 5000) -> dict[str, float]:
    """Time of one decision (observe, act, decode) and of a fresh controller process up to its first.

    Returns:
        `p50_seconds`, `p99_seconds`, `start_seconds`, `rss_bytes`.
    """
    from agents.artifact import load_shipped
    from envs.recent import Recent
    from envs.spec import Role, SystemSpec
    from envs.task import Task
    from telemetry.metrics import Snapshot

    spec = SystemSpec.load("reference")
    task, policy = Task(spec, Role.ALLOCATION), load_shipped(Role.ALLOCATION, spec)
    readings, recent = np.random.default_rng(0).random((calls, len(spec.metrics))), Recent(spec)
    setting, durations = spec.default_setting, np.empty(calls)
    for i in range(calls):
        start = time.perf_counter()
        recent.append(Snapshot(float(i), readings[i]))
        task.decode(policy.act(task.observe(recent, setting)), setting)
        durations[i] = time.perf_counter() - start
    printed = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True).stdout.split()
    p50, p99 = np.quantile(durations, [0.5, 0.99])
    return {
        "p50_seconds": float(p50),
        "p99_seconds": float(p99),
        "start_seconds": float(printed[0]),
        "rss_bytes": float(printed[1]),
    }
