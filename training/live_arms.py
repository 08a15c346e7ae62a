"""The contestants of a live comparison. Each has the plant for a window at a time, and goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from agents.policy import Policy
from controller.loop import Controller
from envs.plant import Plant
from envs.recent import Recent
from envs.spec import Role
from envs.task import Task
from telemetry.metrics import Snapshot


class Arm(Protocol):
    """One of those that are compared."""

    name: str
    moves: bool
    """Whether it changes the setting by itself, and so needs a warm-up before it is judged."""

    def begin(self) -> None:
        """Take over at the start of a window, with the setting that this arm had at the end of its last one."""
        ...

    def step(self) -> Snapshot:
        """One control period."""
        ...


class StaticArm:
    """Holds one setting."""

    moves = False

    def __init__(self, plant: Plant, setting: np.ndarray, name: str) -> None:
        self.plant, self.name, self._setting = plant, name, setting

    def begin(self) -> None:
        """Apply the setting."""
        self.plant.apply(self._setting)

    def step(self) -> Snapshot:
        """Apply again, since a component may have restarted, and let a period pass."""
        self.plant.apply(self._setting)
        return self.plant.advance(self.plant.spec.control_period_seconds)


class PolicyArm:
    """Lets a rule set the knobs itself, in every period, through the same task as in the simulator.

    Shield and trials are Trimtab's; they would hold the rule back. What the rule remembers is of its own windows and
    stays with it, for a rule that learns over minutes would else begin anew in each. The window of readings is filled
    again before it acts, as the controller's is; a missing reading is held, as in the simulator.

    Args:
        plant: what is set.
        policies: of each role.
        start: (n_knobs,) setting of its first window.
        name: of the arm.
    """

    moves = True

    def __init__(self, plant: Plant, policies: Mapping[Role, Policy], start: np.ndarray, name: str) -> None:
        self.plant, self.name = plant, name
        self._policies = [(Task(plant.spec, role), policies[role]) for role in Role if role in policies]
        self._setting = start
        self._recent = Recent(plant.spec, hold_missing=True)
        for policy in policies.values():
            policy.reset()

    def begin(self) -> None:
        """Go back to where the rule was."""
        self.plant.apply(self._setting)
        self._recent = Recent(self.plant.spec, hold_missing=True)

    def step(self) -> Snapshot:
        """Let a period pass, then set what the rule wants for the next."""
        snapshot = self.plant.advance(self.plant.spec.control_period_seconds)
        self._recent.append(snapshot)
        if self._recent.full:
            self.plant.apply(self._wanted(self.plant.setting))
        self._setting = self.plant.setting
        return snapshot

    def _wanted(self, setting: np.ndarray) -> np.ndarray:
        """What the policies lead to from the setting in force, (n_knobs,) both."""
        target = setting
        for task, policy in self._policies:
            target = task.decode(policy.act(task.observe(self._recent, setting)), target)
        return target


class ControllerArm:
    """Lets a controller act; each window has a fresh one that starts from the setting in force.

    Args:
        plant: what the controllers act on.
        make: makes a controller.
        start: (n_knobs,) setting of its first window.
    """

    name = "trimtab"
    moves = True

    def __init__(self, plant: Plant, make: Callable[[], Controller], start: np.ndarray) -> None:
        self.plant, self._make, self._setting = plant, make, start
        self._controller: Controller | None = None

    def begin(self) -> None:
        """Go back to where the last controller was and start without a bump from there."""
        self.plant.apply(self._setting)
        self._controller = self._make()

    def step(self) -> Snapshot:
        """One step of the controller's loop."""
        if self._controller is None:
            self.begin()
            return self.step()
        decision = self._controller.step()
        self._setting = self.plant.setting
        return decision.snapshot
