"""Drives both roles' policies on one plant, as the controller does, and keeps everything that a score needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from agents.policy import Policy
from envs.plant import Plant
from envs.recent import Recent
from envs.spec import Role
from envs.task import JOINT, Task

Policies = Mapping[Role, Policy] | Mapping[str, Policy]
"""One for each role that is to act, or one for `joint`."""


@dataclass(frozen=True)
class Rollout:
    """T periods of N systems.

    Attributes:
        values: (T, N, n_metrics) of each period; the last known reading where one is missing.
        settings: (T, N, n_knobs) in force during each period.
        previous: (T, N, n_knobs) in force before it.
    """

    values: np.ndarray
    settings: np.ndarray
    previous: np.ndarray


class Played(NamedTuple):
    """One period of N systems."""

    values: np.ndarray
    """(N, n_metrics); the last known reading where one is missing."""
    setting: np.ndarray
    """(N, n_knobs) in force during it."""
    previous: np.ndarray
    """(N, n_knobs) in force before it."""
    moved: np.ndarray
    """(N, n_knobs) by how much the knobs were moved, in the scaled range [-1, 1]."""


def play(plant: Plant, policies: Policies, *, start_setting: np.ndarray | None = None) -> Iterator[Played]:
    """Run the policies for as long as periods are asked for, from a plant that has just been reset.

    The first window passes before the first decision and is not shown, as in the environment. Both policies see the
    same window and setting; allocation is decoded first, tuning on top of it. A role without a policy leaves its knobs
    alone. For a plant of one system the arrays have no leading dimension.

    Args:
        plant: of one system, setting (n_knobs,), or of N, setting (N, n_knobs).
        policies: they are reset.
        start_setting: in force at the start, (n_knobs,) or (N, n_knobs); None leaves the plant's.
    """
    spec = plant.spec
    tasks = {name: Task(spec, name) for name in (*Role, JOINT) if name in policies}
    observer = next(iter(tasks.values()), None) or Task(spec, JOINT)  # every role of a spec observes the same
    for policy in policies.values():
        policy.reset()
    if start_setting is not None:
        plant.apply(np.broadcast_to(start_setting, plant.setting.shape).copy())
    recent = Recent(spec, len(plant.setting) if plant.setting.ndim == 2 else None, hold_missing=True)
    while not recent.full:
        recent.append(plant.advance(spec.control_period_seconds))
    setting = plant.setting
    scaled = observer.knob_scaling.scale(setting)
    while True:
        target = setting
        observation = observer.observe(recent, setting, scaled=scaled)
        for name, task in tasks.items():  # no knob has two roles: `scaled` holds for the second, too
            target = task.decode(policies[name].act(observation), target, scaled=scaled)
        plant.apply(target)
        recent.append(plant.advance(spec.control_period_seconds))
        previous, setting = setting, plant.setting
        before, scaled = scaled, observer.knob_scaling.scale(setting)
        yield Played(recent.values, setting, previous, scaled - before)


def rollout(plant: Plant, policies: Policies, periods: int, *, start_setting: np.ndarray | None = None) -> Rollout:
    """Run the policies for `periods` periods, see `play`, and keep all of them."""
    played = list(islice(play(plant, policies, start_setting=start_setting), periods))
    kept = (np.stack(part) for part in list(zip(*played, strict=True))[:3])  # (T, ..., n)
    return Rollout(*(part if part.ndim == 3 else part[:, None, :] for part in kept))
