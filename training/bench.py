"""Speed figures, as ratios to a yardstick measured in the same run."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import numpy as np

SIZES = (1, 256, 1024)


def bench_environment(seconds: float = 2.0) -> dict[str, Any]:
    """System-steps per second of the vector environment at several sizes, beside Gymnasium's CartPole-v1.

    Args:
        seconds: measured for each size; CartPole is measured before and after, and its mean is the yardstick.
    """
    import gymnasium

    from envs.learning_system import LearningSystemVectorEnv

    def cartpole() -> float:
        env = gymnasium.make("CartPole-v1")
        env.reset(seed=0)
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            for _ in range(100):
                _, _, terminated, truncated, _ = env.step(env.action_space.sample())
                if terminated or truncated:
                    env.reset()
            steps += 100
        return steps / (time.perf_counter() - start)

    before, rates = cartpole(), {}
    for size in SIZES:
        env = LearningSystemVectorEnv(num_envs=size)
        env.reset(seed=0)
        action = np.zeros(env.action_space.shape or (), dtype=np.float32)
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            env.step(action)
            steps += size
        rates[size] = steps / (time.perf_counter() - start)
    yardstick = (before + cartpole()) / 2
    return {
        "cartpole_ratio": {str(size): rate / yardstick for size, rate in rates.items()},
        "steps_per_second": {str(size): rate for size, rate in rates.items()},
        "cartpole_steps_per_second": yardstick,
    }


START = """
import time; begin = time.perf_counter()
import numpy as np, psutil
from agents.artifact import load_shipped
from envs.spec import Role, SystemSpec
from envs.task import Task
import controller.loop
spec = SystemSpec.load("reference")
task, policy = Task(spec, Role.ALLOCATION), load_shipped(Role.ALLOCATION, spec)
window = np.zeros((spec.window_periods, len(spec.metrics)))
policy.act(task.observe(window, spec.default_setting))
print(time.perf_counter() - begin, psutil.Process().memory_info().rss)
"""


def bench_decision(calls: int = 5000) -> dict[str, float]:
    """Time of one decision (observe, act, decode) and of a fresh controller process up to its first.

    Returns:
        `p50_seconds`, `p99_seconds`, `start_seconds`, `rss_bytes`.
    """
    from agents.artifact import load_shipped
    from envs.spec import Role, SystemSpec
    from envs.task import Task

    spec = SystemSpec.load("reference")
    task, policy = Task(spec, Role.ALLOCATION), load_shipped(Role.ALLOCATION, spec)
    window = np.random.default_rng(0).random((spec.window_periods, len(spec.metrics)))
    setting, durations = spec.default_setting, np.empty(calls)
    for i in range(calls):
        start = time.perf_counter()
        task.decode(policy.act(task.observe(window, setting)), setting)
        durations[i] = time.perf_counter() - start
    printed = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True).stdout.split()
    p50, p99 = np.quantile(durations, [0.5, 0.99])
    return {
        "p50_seconds": float(p50),
        "p99_seconds": float(p99),
        "start_seconds": float(printed[0]),
        "rss_bytes": float(printed[1]),
    }
