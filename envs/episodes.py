"""Episodes of N systems at once: what the single environment and the vector environment have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from envs.plant import Plant
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role
from envs.task import Task
from telemetry.metrics import Snapshot

PREPARED_SHARE = 8
"""Systems whose episode ends within 1/8 of an episode are made ready together: their warm-up then costs little more
than one system's."""

OBSERVED_AT_ONCE = 256
"""Systems observed in one call. Windows of 1024 systems do not fit the cache: all at once took 2.3 ms, so 0.7 ms."""


class Acts(Protocol):
    """What a partner must be able to do; every policy can."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(N, n_observation) -> (N, n_action)."""
        ...

    def reset(self) -> None:
        """Forget everything."""
        ...


@dataclass(frozen=True)
class EpisodeConfig:
    """How episodes are played; these are the keyword options of both environments."""

    episode_steps: int = 240
    """Periods until an episode is truncated. Default 240: in four minutes a generated demand passes four hours."""
    partner: Acts | None = None
    """Policy of the other role, which sets its knobs each period; None leaves them alone."""
    start_setting: str | np.ndarray = "random"
    """Where an episode begins: `random` draws the own role's knobs, `default` is the static default, an array
    (n_knobs,) is taken as it is."""
    partner_setting: np.ndarray | None = None
    """Setting (n_knobs,) from which the other role's knobs begin; None for `start_setting`'s or the default."""
    stagger: bool = True
    """Truncate each system's first episode at a random step, so that a batch never ends its episodes together: without
    it every rollout shorter than an episode holds one phase of it, and PPO becomes unstable."""
    randomize: bool = True
    """Domain randomization: each episode has its own parameters and actuation delay."""
    peak_share: float | tuple[float, float] = (0.5, 0.95)
    """Peak of the requests as a share of what serving can answer, or a range to draw from."""
    parameters: Parameters | None = None
    """Of the simulator; None for the shipped ones."""
    noise: bool = True
    """Noise of arrivals, speed and readings."""

    def __post_init__(self) -> None:
        if self.episode_steps < 1:
            raise ValueError(f"episode_steps is {self.episode_steps}; an episode needs at least 1 step")
        if isinstance(self.start_setting, str) and self.start_setting not in ("random", "default"):
            raise ValueError(f"start_setting is {self.start_setting!r}; allowed are 'random', 'default' and an array")


class Period(NamedTuple):
    """One period of N systems."""

    observation: np.ndarray
    """(N, n_observation) float32; with autoreset, of the next episode where one has ended."""
    terms: dict[str, np.ndarray]
    """Reward terms, (N,) each."""
    slo_met: np.ndarray
    """(N,) bool."""
    truncated: np.ndarray
    """(N,) bool."""
    final_observation: np.ndarray
    """(n_truncated, n_observation): the last of each ended episode."""


class Episodes:
    """Joins a plant and a task; decides nothing itself.

    Args:
        task: whose role acts.
        plant: a batch of simulated systems, or any other plant of a single one.
        config: how episodes are played.
        autoreset: begin the next episode in the step in which one ends.
    """

    def __init__(self, task: Task, plant: Plant, config: EpisodeConfig, *, autoreset: bool = True) -> None:
        self.task, self.config, self._autoreset = task, config, autoreset
        self.plant = plant if isinstance(plant, SimulatedPlant) else _Batched(plant)
        self.n = len(self.plant.setting)
        self.other = _other(task)
        self._periods = task.spec.window_periods
        # A ring written twice: any window_periods rows in a row are the window, without moving anything.
        self._ring = np.zeros((2 * self._periods, self.n, len(task.catalogue)))
        self._newest = 0
        self.begun = False
        self._elapsed, self._limit = np.zeros(self.n, dtype=int), np.zeros(self.n, dtype=int)
        self._spare: SimulatedPlant | None = None
        self._spare_windows = np.zeros((self._periods, 0, len(task.catalogue)))
        self._place = np.full(self.n, -1)
        self.observation = np.zeros((self.n, task.n_observation), dtype=np.float32)

    @property
    def window(self) -> np.ndarray:
        """The last periods, (N, window_periods, n_metrics), newest last."""
        return self._ring[self._newest + 1 : self._newest + 1 + self._periods].swapaxes(0, 1)

    def reset(self, seed: int | Sequence[int] | np.ndarray | None) -> np.ndarray:
        """Begin an episode everywhere; returns the observations (N, n_observation).

        Args:
            seed: system i gets seed + i, or the i-th of a sequence; None goes on from the episodes before, whose next
                ones begin, and staggers nothing.
        """
        self.begun = True
        steps = self.config.episode_steps
        self._limit[:] = steps
        if isinstance(self.plant, SimulatedPlant):
            self.plant.reset(seed)
            self.plant.force(self._start_settings(self.plant))
            if self.config.stagger and seed is not None:
                self._limit[:] = 1 + (self.plant.uniforms(1)[0] * steps).astype(int)
        self._elapsed[:] = 0
        self._place[:] = -1
        self._newest = self._periods - 1
        windows = self._warm_up(self.plant)
        self._ring[: self._periods] = self._ring[self._periods :] = windows
        if self.config.partner is not None:
            self.config.partner.reset()
        self.observation = self._observe(self.plant.setting)
        return self.observation

    def step(self, action: np.ndarray) -> Period:
        """One period everywhere, (N, n_action)."""
        task, plant = self.task, self.plant
        previous = plant.setting
        target = task.decode(action, previous)
        if self.config.partner is not None and self.other is not None:
            target = self.other.decode(self.config.partner.act(self.observation), target)
        plant.apply(target)
        values = plant.advance(task.spec.control_period_seconds).values
        self._remember(values)
        setting = plant.setting
        terms = task.score(values, setting, previous)
        observation = self._observe(setting)
        self._elapsed += 1
        truncated = self._elapsed >= self._limit
        final = observation[truncated]
        if len(final) and self._autoreset:
            observation = self._begin_next(np.flatnonzero(truncated), observation)
        self.observation = observation
        return Period(observation, terms, task.objective.slo_met(values), truncated, final)

    def _observe(self, setting: np.ndarray) -> np.ndarray:
        """What the task sees of every system, (N, n_observation), piece by piece."""
        window = self.window
        if self.n <= OBSERVED_AT_ONCE:
            return self.task.observe(window, setting)
        pieces = [slice(start, start + OBSERVED_AT_ONCE) for start in range(0, self.n, OBSERVED_AT_ONCE)]
        return np.concatenate([self.task.observe(window[piece], setting[piece]) for piece in pieces])

    def _remember(self, values: np.ndarray) -> None:
        self._newest = (self._newest + 1) % self._periods
        self._ring[self._newest] = self._ring[self._newest + self._periods] = values

    def _warm_up(self, plant: Plant) -> np.ndarray:
        """Fill the window before the first decision: (window_periods, N, n_metrics)."""
        return np.stack([plant.advance(self.task.spec.control_period_seconds).values for _ in range(self._periods)])

    def _begin_next(self, rows: np.ndarray, observation: np.ndarray) -> np.ndarray:
        """Begin the next episode of the systems `rows`; returns the observations with theirs replaced."""
        self._elapsed[rows] = 0
        self._limit[rows] = self.config.episode_steps
        if not isinstance(self.plant, SimulatedPlant):
            return observation  # a live system goes on
        if (self._place[rows] < 0).any():
            self._limit[rows] = 0  # due now
            self._prepare(np.flatnonzero(self._limit - self._elapsed <= self.config.episode_steps // PREPARED_SHARE))
            self._limit[rows] = self.config.episode_steps
        places = self._place[rows]
        assert self._spare is not None
        self.plant.assign(rows, self._spare, places)
        order = (self._newest + 1 + np.arange(self._periods)) % self._periods  # where the ring's oldest to newest lie
        self._ring[order[:, None], rows] = self._spare_windows[:, places]
        self._ring[order[:, None] + self._periods, rows] = self._spare_windows[:, places]
        self._place[rows] = -1
        observation = observation.copy()
        observation[rows] = self.task.observe(self.window[rows], self.plant.setting[rows])
        return observation

    def _prepare(self, rows: np.ndarray) -> None:
        """Make the next episode of the systems `rows` ready, warm-up included.

        What comes out depends on the systems' seeds alone, not on when or with whom they are made ready.
        """
        assert isinstance(self.plant, SimulatedPlant)
        self._spare = self.plant.select(rows)
        self._spare.reset(None)
        self._spare.force(self._start_settings(self._spare))
        self._spare_windows = self._warm_up(self._spare)
        self._place[:] = -1
        self._place[rows] = np.arange(len(rows))

    def _start_settings(self, plant: SimulatedPlant) -> np.ndarray:
        """Where each system's episode begins, (N, n_knobs), feasible."""
        task, config = self.task, self.config
        given = config.start_setting
        start = task.spec.default_setting if isinstance(given, str) else np.asarray(given, dtype=float)
        start = np.broadcast_to(start, (plant.n, len(task.spec.knobs))).copy()
        if config.partner_setting is not None:
            others = np.setdiff1d(np.arange(start.shape[1]), task.knobs)
            start[:, others] = np.asarray(config.partner_setting, dtype=float)[others]
        if isinstance(given, str) and given == "random":
            drawn = task.knob_scaling.unscale(2.0 * plant.uniforms(1 + start.shape[1])[1:].T - 1.0)
            start[:, task.knobs] = drawn[:, task.knobs]
        return task.fit_cpu(start)


class _Batched:
    """A plant of a single system as a batch of one."""

    def __init__(self, plant: Plant) -> None:
        self._plant, self.spec = plant, plant.spec

    @property
    def setting(self) -> np.ndarray:
        return self._plant.setting[None]

    def apply(self, setting: np.ndarray) -> None:
        self._plant.apply(setting[0])

    def advance(self, seconds: float) -> Snapshot:
        snapshot = self._plant.advance(seconds)
        return Snapshot(snapshot.time, snapshot.values[None])

    def close(self) -> None:
        self._plant.close()


def _other(task: Task) -> Task | None:
    """The task of the other role, where the spec has knobs for it."""
    role = next(role for role in Role if role is not task.role)
    return Task(task.spec, role) if any(knob.role is role for knob in task.spec.knobs) else None
