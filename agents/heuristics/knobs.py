"""The knobs that a rule moves, and what it asked for last. All other knobs of its task are held."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.scaling import KnobScaling
from envs.task import Task

Number = float | np.ndarray
"""A parameter of a rule: one number, or one for each system, (N,)."""


class Knobs:
    """Some knobs of a task. Arrays have the knobs first, (n, ...): one operation serves all of them.

    Args:
        task: that sets them.
        names: of the knobs.
        setting: (n_knobs,) or (..., n_knobs), in which the task's other knobs are held.

    Raises:
        ValueError: the task does not set one of the knobs.
    """

    def __init__(self, task: Task, names: Sequence[str], setting: np.ndarray) -> None:
        for name in names:
            if name not in task.action_labels:
                raise ValueError(f"the rule moves {name}, which the task {task.name} does not; give it one that does")
        index = [task.spec.knob_index(name) for name in names]
        held = np.asarray(setting, dtype=float)
        self.held = np.moveaxis(held[..., index], -1, 0)
        """(n, ...): what they are in `setting`."""
        self.low, self.high = (np.array([getattr(task.spec.knobs[i], end) for i in index]) for end in ("low", "high"))
        """(n,) bounds."""
        self._rest = task.encode(held)  # (..., n_action)
        self._in_action = [task.action_labels.index(name) for name in names]
        self._in_observation = [task.labels.index(f"setting/{name}") for name in names]
        self._scaling = KnobScaling([task.spec.knobs[i] for i in index])
        self._dead_band = task.spec.dead_band
        # A move over the whole range takes so many periods; actuators may begin one late.
        self.settling_periods = 1 + int(np.ceil(2.0 / min(task.spec.knobs[i].max_step for i in index)))

    def in_force(self, observation: np.ndarray) -> np.ndarray:
        """(..., n_observation) -> (n, ...) in natural units."""
        return self.unscale(np.moveaxis(observation[..., self._in_observation].astype(float), -1, 0))

    def ask(self, values: np.ndarray) -> np.ndarray:
        """(n, ...) in natural units -> the action that asks for them, (..., n_action); NaN keeps a knob."""
        action = np.broadcast_to(self._rest, (*values.shape[1:], self._rest.shape[-1])).copy()
        action[..., self._in_action] = np.moveaxis(self.scale(values), 0, -1)
        return action

    def scale(self, values: np.ndarray) -> np.ndarray:
        """(n, ...) in natural units -> (n, ...) in [-1, 1]."""
        return np.moveaxis(self._scaling.scale(np.moveaxis(values, 0, -1)), -1, 0)

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """The inverse of `scale`; integer knobs are rounded."""
        return np.ascontiguousarray(np.moveaxis(self._scaling.unscale(np.moveaxis(scaled, 0, -1)), -1, 0))

    def clip(self, values: np.ndarray) -> np.ndarray:
        """(n, ...) within the knobs' bounds; NaN stays NaN."""
        low, high = (end.reshape(-1, *[1] * (values.ndim - 1)) for end in (self.low, self.high))
        return np.minimum(np.maximum(values, low), high)

    def close(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Whether values (n, ...) lie within the dead band of each other: a move between them is never made."""
        return np.abs(self.scale(one) - self.scale(other)) < self._dead_band


class Asked:
    """What a rule asked for last, as long as that is in force: steps within the dead band have to add up.

    A knob that is elsewhere for longer than a move takes was set by somebody else, or what was asked for does not fit
    the host: the rule then goes on from what is in force, without a jump.
    """

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self.reset()

    def reset(self) -> None:
        """Nothing was asked for."""
        self._values: np.ndarray | None = None
        self._elsewhere = np.zeros(())

    def now(self, in_force: np.ndarray) -> np.ndarray:
        """(n, ...) in force -> (n, ...) to go on from, a copy."""
        if self._values is None:
            return in_force.copy()
        self._elsewhere = np.where(self._knobs.close(self._values, in_force), 0, self._elsewhere + 1)
        return np.where(self._elsewhere > self._knobs.settling_periods, in_force, self._values)

    def ask(self, values: np.ndarray) -> np.ndarray:
        """Remember (n, ...), and give the action that asks for it."""
        self._values = self._knobs.clip(values)
        return self._knobs.ask(self._values)


def cpu_knobs(task: Task, setting: np.ndarray) -> Knobs:
    """The CPU grants of all workloads, (n_workloads, ...) in the order of `spec.workloads`."""
    return Knobs(task, [objective.cpu_knob for objective in task.spec.workloads.values()], setting)


def of_each_workload(parameters: object, task: Task, like: np.ndarray) -> np.ndarray:
    """A parameter of which every workload has its own, in a shape that broadcasts with `like`, (n_workloads, ...).

    Args:
        parameters: with an attribute, a number or (N,), named as each workload.
        task: gives the workloads.
        like: what it is to be combined with.
    """
    own = np.stack(np.broadcast_arrays(*(getattr(parameters, workload) for workload in task.spec.workloads)))
    return own if own.ndim == like.ndim else own.reshape(-1, *[1] * (like.ndim - 1))
