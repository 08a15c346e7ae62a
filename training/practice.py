"""Where policies are made and selected: the environment that they practise in, and the validation batch."""

from __future__ import annotations

import numpy as np

from agents.policy import Policy
from envs.learning_system import LearningSystemVectorEnv
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from envs.task import Task
from training.config import TrainingConfig
from training.demands import load_demands
from training.rollout import Policies, rollout
from training.scores import Scores, score_rollout

VALIDATION_SEED = 12_345


class Practice:
    """Training episodes and the validation batch of one configuration: the same for PPO and for every search.

    Args:
        spec: the system.
        config: demands, lengths, loads.
        parameters: of the simulator; None is its default.
    """

    def __init__(self, spec: SystemSpec, config: TrainingConfig, parameters: Parameters | None = None) -> None:
        self._spec, self._config, self._parameters = spec, config, parameters
        period = spec.control_period_seconds
        self._demands, self._held_out = load_demands(config.demands, period), load_demands(config.validation, period)

    def environment(
        self,
        task: Task,
        n: int,
        *,
        episode_steps: int,
        partner: Policy | None = None,
        partner_setting: np.ndarray | None = None,
        stagger: bool = True,
        seed: int | None = None,
    ) -> LearningSystemVectorEnv:
        """N systems that begin with random values of the task's knobs, so that the way back from anywhere is learnt.

        Args:
            task: whose knobs are set.
            n: systems.
            episode_steps: periods of an episode.
            partner: sets the other role's knobs.
            partner_setting: (n_knobs,), where these begin.
            stagger: without it every rollout holds one phase of the episode, and PPO becomes unstable.
            seed: of the first reset.
        """
        return LearningSystemVectorEnv(
            n,
            task,
            self._spec,
            self._demands,
            episode_steps=episode_steps,
            partner=partner,
            start_setting="random",
            partner_setting=partner_setting,
            stagger=stagger,
            randomize=True,
            peak_share=self._config.peak_share,
            parameters=self._parameters,
            seed=seed,
        )

    def validate(self, policies: Policies) -> float:
        """Mean reward on the validation batch, see `scores`."""
        return float(self.scores(policies).reward.mean())

    def scores(self, policies: Policies) -> Scores:
        """Of an episode of each held-out demand, with randomised parameters: always the same batch.

        Args:
            policies: one for each role that is to act, or one for `joint`.
        """
        n = len(self._held_out)
        plant = SimulatedPlant(
            self._spec, self._held_out, n=n, seed=VALIDATION_SEED, parameters=self._parameters, randomize=True
        )
        plant.reset(seed=VALIDATION_SEED, demand_indices=np.arange(n))
        played = rollout(plant, policies, self._config.validation_periods)
        return score_rollout(self._spec, played)
