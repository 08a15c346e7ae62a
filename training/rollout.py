"""Drives both roles' policies on one plant, as the controller does, and keeps everything that a score needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agents.policy import Policy
from envs.plant import Plant
from envs.spec import Role
from envs.task import Task


@dataclass(frozen=True)
class Rollout:
    """T periods of N systems.

    Attributes:
        values: (T, N, n_metrics) of each period, NaN where missing.
        settings: (T, N, n_knobs) in force during each period.
        previous: (T, N, n_knobs) in force before it.
    """

    values: np.ndarray
    settings: np.ndarray
    previous: np.ndarray


def rollout(
    plant: Plant, policies: Mapping[Role, Policy], periods: int, *, start_setting: np.ndarray | None = None
) -> Rollout:
    """Run both roles for `periods` periods, from a plant that has just been reset.

    The first window passes before the first decision and is not recorded, as in the environment. Both policies see the
    same window and setting; allocation is decoded first, tuning on top of it. A role without a policy leaves its knobs
    alone.

    Args:
        plant: of one system, setting (n_knobs,), or of N, setting (N, n_knobs).
        policies: one for each role that is to act; they are reset.
        periods: T.
        start_setting: in force at the start, (n_knobs,) or (N, n_knobs); None leaves the plant's.
    """
    spec = plant.spec
    tasks = {role: Task(spec, role) for role in Role if role in policies}
    for policy in policies.values():
        policy.reset()
    if start_setting is not None:
        plant.apply(np.broadcast_to(start_setting, plant.setting.shape).copy())
    warm_up = [plant.advance(spec.control_period_seconds).values for _ in range(spec.window_periods)]
    window = np.stack(warm_up, axis=-2)  # (..., window_periods, n_metrics)
    values, settings, previous = [], [], []
    for _ in range(periods):
        setting = plant.setting
        target = setting
        for role, task in tasks.items():
            target = task.decode(policies[role].act(task.observe(window, setting)), target)
        plant.apply(target)
        reading = plant.advance(spec.control_period_seconds).values
        window = np.concatenate([window[..., 1:, :], reading[..., None, :]], axis=-2)
        values.append(reading)
        settings.append(plant.setting)
        previous.append(setting)
    kept = (np.stack(part) for part in (values, settings, previous))  # (T, ..., n)
    return Rollout(*(part if part.ndim == 3 else part[:, None, :] for part in kept))
