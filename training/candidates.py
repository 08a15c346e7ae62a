"""What candidates are worth: static settings, and heuristics with parameters and a setting to move in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from agents.heuristics.static import StaticPolicy
from agents.policy import Policy
from envs.objective import Objective
from envs.scaling import KnobScaling
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.workload import Demand
from training.evolution import Score, SearchConfig
from training.heuristics import Heuristic
from training.rollout import Policies, play, rollout
from training.scores import price, score_rollout, useful_work


class CandidateScorer:
    """Scores candidates: each on every demand, all in one batch, always with the same seeds (paired).

    As in an evaluation, all begin with the static default in force.

    Args:
        spec: the system.
        demands: that every candidate meets.
        config: length, load, seed.
        parameters: of the simulator; None is its default.
    """

    def __init__(
        self, spec: SystemSpec, demands: Sequence[Demand], config: SearchConfig, parameters: Parameters | None = None
    ) -> None:
        self.demands, self.config = list(demands), config
        self._spec, self._parameters = spec, parameters
        self._tasks = {role: Task(spec, role) for role in Role}
        self._knobs, self._objective = KnobScaling(spec.knobs), Objective(spec)
        self.default = self._knobs.scale(spec.default_setting)
        """The static default as a candidate, (n_knobs,) in [-1, 1]."""

    def setting(self, candidates: np.ndarray) -> np.ndarray:
        """(..., n_knobs) in [-1, 1] -> settings in natural units that the host can grant."""
        return self._tasks[Role.ALLOCATION].fit(self._knobs.unscale(candidates))

    def named(self, candidate: np.ndarray) -> dict[str, float]:
        """(n_knobs,) in [-1, 1] -> knob -> value in natural units."""
        return dict(zip(self._spec.knob_names, self.setting(candidate).tolist(), strict=True))

    def scaled(self, setting: Mapping[str, float]) -> np.ndarray:
        """Knob -> value in natural units, as a candidate (n_knobs,) in [-1, 1]."""
        return self._knobs.scale(np.array([setting[name] for name in self._spec.knob_names], dtype=float))

    def statics(self, candidates: np.ndarray) -> np.ndarray:
        """Scores of settings (S, n_knobs), scaled to [-1, 1]."""
        return self._score(self.policies(candidates), len(candidates))

    def of(self, heuristic: Heuristic) -> Score:
        """The score of a heuristic's parameters and the setting that it moves in, (S, n_ranges + n_knobs)."""
        return lambda candidates: self._score(self.policies(candidates, heuristic), len(candidates))

    def policies(self, candidates: np.ndarray, heuristic: Heuristic | None = None) -> Mapping[Role, Policy]:
        """Candidates, each for all its systems.

        Args:
            candidates: (S, n_knobs) settings or, with a heuristic, (S, n_ranges + n_knobs).
            heuristic: whose parameters stand before the setting.
        """
        count = len(heuristic.ranges) if heuristic else 0
        settings = self._per_system(self.setting(candidates[:, count:]))  # (S * D, n_knobs)
        if heuristic is None:
            return {role: StaticPolicy(task, settings) for role, task in self._tasks.items()}
        parameters = heuristic.parameters(self._per_system(candidates[:, :count]))  # (S * D,) each
        return heuristic.policies(self._spec, settings, parameters)

    def trade_offs(self, policies: Policies, candidates: int = 1) -> np.ndarray:
        """What the reward weighs against each other: useful work, price of what is reserved, SLO attainment; (S, 3).

        Args:
            policies: for S * D systems.
            candidates: S.
        """
        scores = score_rollout(self._spec, rollout(self._plant(candidates), policies, self.config.periods))
        figures = (useful_work(self._spec, scores), price(self._spec, scores.reserved), scores.slo_attainment)
        return np.stack([figure.reshape(candidates, -1).mean(axis=1) for figure in figures], axis=1)

    def _per_system(self, candidates: np.ndarray) -> np.ndarray:
        return np.repeat(candidates, len(self.demands), axis=0)

    def _plant(self, candidates: int) -> SimulatedPlant:
        """S * D systems, every candidate with the same noise."""
        demand = np.tile(np.arange(len(self.demands)), candidates)  # (S * D,)
        plant = SimulatedPlant(
            self._spec,
            self.demands,
            n=len(demand),
            parameters=self._parameters,
            randomize=True,
            peak_share=self.config.peak_share,
        )
        plant.reset(seed=self.config.seed + demand, demand_indices=demand)
        return plant

    def _score(self, policies: Policies, candidates: int) -> np.ndarray:
        """(S,) mean reward over periods and demands, of policies for S * D systems."""
        rewards = np.zeros(candidates * len(self.demands))
        # Added up as they come: to keep every period of 2000 systems takes more time than to simulate them.
        for period in islice(play(self._plant(candidates), policies), self.config.periods):
            assessed = self._objective.assess(period.values, period.setting, period.moved)
            rewards += sum(assessed.terms.values())
        return np.asarray(rewards.reshape(candidates, -1).mean(axis=1) / self.config.periods)
