"""Episodes of N systems at once: what the single environment and the vector environment have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from envs.plant import Plant
from envs.recent import Recent
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role
from envs.task import Task
from telemetry.metrics import Snapshot

PREPARED_SHARE = 8
"""Systems whose episode ends within 1/8 of an episode are made ready together: their warm-up then costs little more
than one system's."""


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
    actions: str = "absolute"
    """`absolute`: a Box, the wanted value of each knob; `incremental`: a MultiDiscrete, how far to move each."""
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
    missing_ratio: float = 0.0
    """Share of the periods in which a component that has very little CPU does not answer, so that its readings are
    missing; the observation shows the last known ones then. Measured on the testbed: 0.03."""
    incident_rate_per_hour: float = 0.0
    """Random incidents of each system, see `envs.simulator.incidents`."""
    objective_spread: float = 0.0
    """Standard deviation of the logarithm of each objective weight, drawn for each episode; 0 keeps the spec's. With
    it, one policy learns the whole Pareto front: the weights stand in the observation."""
    penalize: bool = True
    """Whether the reward holds the `slo` term. Without it the constraint cost stands in the infos alone, as constrained
    methods want it."""

    def __post_init__(self) -> None:
        if self.episode_steps < 1:
            raise ValueError(f"episode_steps is {self.episode_steps}; an episode needs at least 1 step")
        if isinstance(self.start_setting, str) and self.start_setting not in ("random", "default"):
            raise ValueError(f"start_setting is {self.start_setting!r}; allowed are 'random', 'default' and an array")
        if self.actions not in ("absolute", "incremental"):
            raise ValueError(f"actions is {self.actions!r}; allowed are 'absolute' and 'incremental'")


class Period(NamedTuple):
    """One period of N systems."""

    observation: np.ndarray
    """(N, n_observation) float32; with autoreset, of the next episode where one has ended."""
    terms: dict[str, np.ndarray]
    """Reward terms, (N,) each."""
    objectives: np.ndarray
    """(N, n_objectives), see `Objective.objective_names`."""
    cost: np.ndarray
    """(N,) constraint cost, 0 to 1."""
    slo_met: np.ndarray
    """(N,) bool."""
    truncated: np.ndarray
    """(N,) bool."""
    final_observation: np.ndarray
    """(n_truncated, n_observation): the last of each ended episode."""

    @property
    def reward(self) -> np.ndarray:
        """(N,), the sum of the terms."""
        return np.asarray(sum(self.terms.values()))


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
        batched = isinstance(plant, SimulatedPlant) and plant.setting.ndim == 2
        self.plant: Plant = plant if batched else _Batched(plant)
        self.n = len(self.plant.setting)
        self.other = _other(task)
        self.recent = Recent(task.spec, self.n, hold_missing=True)
        self.begun = False
        self._elapsed, self._limit = np.zeros(self.n, dtype=int), np.zeros(self.n, dtype=int)
        self._scaled = task.knob_scaling.scale(self.plant.setting)  # (N, n_knobs) in force, scaled
        self._weights: np.ndarray | None = None
        self._spare: _Prepared | None = None
        self._place = np.full(self.n, -1)
        self.observation = np.zeros((self.n, task.n_observation), dtype=np.float32)

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
            self._weights = self._drawn_weights(self.plant)
            if self.config.stagger and seed is not None:
                self._limit[:] = 1 + (self.plant.uniforms(1)[0] * steps).astype(int)
        self._elapsed[:] = 0
        self._place[:] = -1
        self.recent = self._warmed_up(self.plant)
        if self.config.partner is not None:
            self.config.partner.reset()
        self._scaled = self.task.knob_scaling.scale(self.plant.setting)
        self.observation = self._observe(self.plant.setting)
        return self.observation

    def step(self, action: np.ndarray, target: np.ndarray | None = None) -> Period:
        """One period everywhere.

        Args:
            action: (N, n_action).
            target: (N, n_knobs), where the action leads; None to decode it.
        """
        task, plant = self.task, self.plant
        if target is None:
            target = task.decode(action, plant.setting, scaled=self._scaled)
        if self.config.partner is not None and self.other is not None:
            target = self.other.decode(self.config.partner.act(self.observation), target)
        plant.apply(target)
        snapshot = plant.advance(task.spec.control_period_seconds)
        setting, before = plant.setting, self._scaled
        self.recent.append(snapshot)
        self._scaled = task.knob_scaling.scale(setting)
        terms, objectives, cost, slo_met = task.assess(
            self.recent.values, setting, self._scaled - before, self._weights
        )
        if not self.config.penalize:
            del terms["slo"]
        observation = self._observe(setting)
        self._elapsed += 1
        truncated = self._elapsed >= self._limit
        final = observation[truncated] if truncated.any() else observation[:0]
        if len(final) and self._autoreset:
            observation = self._begin_next(np.flatnonzero(truncated), observation)
        self.observation = observation
        return Period(observation, terms, objectives, cost, slo_met, truncated, final)

    def simulate(self, action: np.ndarray, periods: int, *, known_demand: bool) -> list[Period]:
        """What would happen, without its happening: the action, then nothing else for `periods` periods.

        Args:
            action: (N, n_action).
            periods: how far to look.
            known_demand: replay the true demand, which only an oracle knows; else it stays as it is.

        Raises:
            TypeError: the plant is not a simulated one.
        """
        if not isinstance(self.plant, SimulatedPlant):
            raise TypeError("only a simulated plant can look ahead; a live one has one future, which is real")
        ahead = Episodes.__new__(Episodes)
        ahead.__dict__.update(self.__dict__)
        ahead.plant = self.plant.select(np.arange(self.n))
        if not known_demand:
            ahead.plant.hold_demand()
        ahead.recent, ahead._elapsed = self.recent.copy(), self._elapsed.copy()
        ahead.config, ahead._autoreset = replace(self.config, partner=None), False
        stay = np.full_like(action, np.nan, dtype=float)  # a non-finite entry keeps its knob
        return [ahead.step(action if period == 0 else stay) for period in range(periods)]

    def _observe(self, setting: np.ndarray) -> np.ndarray:
        return self.task.observe(self.recent, setting, scaled=self._scaled, weights=self._weights)

    def _warmed_up(self, plant: Plant) -> Recent:
        """A window before the first decision."""
        recent = Recent(self.task.spec, len(plant.setting), hold_missing=True)
        while not recent.full:
            recent.append(plant.advance(self.task.spec.control_period_seconds))
        return recent

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
        places, spare = self._place[rows], self._spare
        assert spare is not None
        self.plant.assign(rows, spare.plant, places)
        self.recent.assign(rows, spare.recent, places)
        self._scaled.T[:, rows] = spare.scaled.T[:, places]
        if self._weights is not None and spare.weights is not None:
            self._weights[rows] = spare.weights[places]
        self._place[rows] = -1
        observation[rows] = spare.observation[places]
        return observation

    def _prepare(self, rows: np.ndarray) -> None:
        """Make the next episode of the systems `rows` ready, warm-up included.

        What comes out depends on the systems' seeds alone, not on when or with whom they are made ready.
        """
        assert isinstance(self.plant, SimulatedPlant)
        plant = self.plant.select(rows)
        plant.reset(None)
        plant.force(self._start_settings(plant))
        weights, recent, setting = self._drawn_weights(plant), self._warmed_up(plant), plant.setting
        scaled = self.task.knob_scaling.scale(setting)
        observation = self.task.observe(recent, setting, scaled=scaled, weights=weights)
        self._spare = _Prepared(plant, recent, scaled, weights, observation)
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
        return task.fit(start)

    def _drawn_weights(self, plant: SimulatedPlant) -> np.ndarray | None:
        """Objective weights of each system's episode, (N, n_workloads + 1); None for the spec's."""
        if self.config.objective_spread == 0.0:
            return None
        own, knobs = self.task.objective.weights, len(self.task.spec.knobs)
        drawn = plant.uniforms(1 + knobs + len(own))[1 + knobs :].T  # after those of the start settings
        # A logistic draw by the inverse distribution function, scaled to a standard deviation of one.
        odds = np.log((drawn + 1e-3) / (1.0 + 1e-3 - drawn)) * np.sqrt(3.0) / np.pi
        return own * np.exp(self.config.objective_spread * odds)


class _Prepared(NamedTuple):
    """The next episodes of some systems, ready to be put in the place of ended ones."""

    plant: SimulatedPlant
    recent: Recent
    scaled: np.ndarray
    weights: np.ndarray | None
    observation: np.ndarray


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
        return Snapshot(snapshot.time, snapshot.values[None], snapshot.day)

    def close(self) -> None:
        self._plant.close()


def _other(task: Task) -> Task | None:
    """The task of the other role, where there is one and the spec has knobs for it."""
    if task.role is None:
        return None
    role = next(role for role in Role if role is not task.role)
    return Task(task.spec, role) if any(knob.role is role for knob in task.spec.knobs) else None
