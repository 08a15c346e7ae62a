"""Whether a policy knows the future: it is put on two plants whose demand is equal up to a moment and differs after."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np

from agents.policy import Policy
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.workload import Demand
from training.rollout import Policies, play

PolicySource = Policies | Callable[[SimulatedPlant], Policies]
"""Policies, or what makes them for a plant: an oracle must know the plant on which it acts."""

EQUAL_PERIODS = 40
"""Decisions that are compared. Default 40: a plan that looks 15 periods ahead sees the difference before they end."""
SYSTEMS = 2
SEED = 20_011
"""Of noise and parameters, the same on both plants."""


class NotReproducible(ValueError):
    """A policy that acts differently on the same observations; one line."""


def future_leak(
    spec: SystemSpec, source: PolicySource, parameters: Parameters | None = None, *, periods: int = EQUAL_PERIODS
) -> bool:
    """Whether any of a policy's actions depends on demand that is still to come.

    Args:
        spec: the system.
        source: the policies, or what makes them for a plant.
        parameters: of the simulator; None is its default.
        periods: decisions that are compared.

    Raises:
        NotReproducible: two runs on the same plant differ, so that nothing can be said.
    """
    calm, rush = _demands(spec, periods)
    with_calm, with_rush = (_actions(spec, source, [calm, rush], which, periods, parameters) for which in (0, 1))
    if np.array_equal(with_calm, with_rush):
        return False
    if not np.array_equal(with_calm, _actions(spec, source, [calm, rush], 0, periods, parameters)):
        raise NotReproducible(
            "a policy acts differently on the same observations after a reset; "
            "it must seed its generator in reset() to be judged"
        )
    return True


def _demands(spec: SystemSpec, periods: int) -> tuple[Demand, Demand]:
    """Equal for the window and `periods` decisions; then one falls to a twentieth and the other stays at its peak."""
    head = spec.window_periods + periods
    swing = 0.55 + 0.45 * np.cos(np.arange(head) / 6.0)  # its largest value, 1, scales both alike
    events = np.ones(2 * head)
    calm, rush = (
        Demand(name, spec.control_period_seconds, np.concatenate([swing, np.full(head, after)]), events, "leak check")
        for name, after in (("calm", 0.05), ("rush", 1.0))
    )
    return calm, rush


def _actions(
    spec: SystemSpec,
    source: PolicySource,
    demands: list[Demand],
    which: int,
    periods: int,
    parameters: Parameters | None,
) -> np.ndarray:
    """Everything that the policies ask for, (periods, SYSTEMS, n_action) of all roles side by side."""
    plant = SimulatedPlant(spec, demands, n=SYSTEMS, parameters=parameters, randomize=True)
    plant.reset(seed=SEED, demand_indices=which)
    policies = source(plant) if callable(source) else source
    watched = {role: _Watched(policy) for role, policy in policies.items()}
    for _ in islice(play(plant, watched, start_setting=spec.default_setting), periods):  # type: ignore[arg-type]
        pass
    return np.concatenate([np.stack(policy.actions) for policy in watched.values()], axis=-1)


class _Watched:
    """A policy whose actions are kept."""

    def __init__(self, policy: Policy) -> None:
        self.name, self.actions, self._policy = policy.name, list[np.ndarray](), policy

    def act(self, observation: np.ndarray) -> np.ndarray:
        action = np.array(self._policy.act(observation))
        self.actions.append(action)
        return action

    def reset(self) -> None:
        self._policy.reset()
