"""Trains the policy of one task in simulation and writes its artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.artifact import ArtifactError, load, load_shipped, save
from agents.network import MlpPolicy
from agents.policy import Policy
from agents.ppo import TrainingHooks, train_ppo
from agents.progress import Progress
from envs.learning_system import LearningSystemVectorEnv
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import Task
from training.config import TrainingConfig
from training.demands import load_demands
from training.references import References, load_references, reference_policies
from training.rollout import Policies, rollout
from training.scores import score_rollout

VALIDATION_SEED = 12_345


@dataclass(frozen=True)
class TrainingReport:
    """What a training run gave.

    Attributes:
        directory: of the artifact.
        policy: the one written.
        scores: mean validation reward by seed and, for comparison, of the references.
        curves: seed -> (steps, validation reward) of each evaluation.
    """

    directory: Path
    policy: MlpPolicy
    scores: dict[str, float]
    curves: dict[int, list[tuple[int, float]]]


def run_train(
    name: str,
    out: Path,
    spec: SystemSpec,
    *,
    config: TrainingConfig | None = None,
    parameters: Parameters | None = None,
    log_directory: Path | None = None,
    resume: bool = False,
    on_progress: Progress | None = None,
) -> TrainingReport:
    """Train one role, the other one driven by a partner, or both jointly; write the best of the seeds to `out`.

    The partner is the best static setting or, where the configuration asks for it, the policy in the sibling folder of
    `out` (so that tuning meets the allocation just trained), else the shipped one, if there is one.

    Args:
        name: of the task: `allocation`, `tuning` or `joint`.
        out: folder of the artifact, e.g. `models/allocation`.
        spec: the system.
        config: None is the shipped configuration of the task.
        parameters: of the simulator; None is its default.
        log_directory: TensorBoard scalars and checkpoints, one folder for each seed; None keeps none.
        resume: go on from the checkpoints in `log_directory`, exactly as if the training had never stopped.
        on_progress: called after every rollout, over all seeds.

    Raises:
        ConfigError: there is no usable shipped configuration.
        ValueError: unknown task or demand family, or a checkpoint of another training.
    """
    config = config or TrainingConfig.load(None, name)
    run = _Run(Task(spec, name), spec, config, parameters, load_references(spec), out)
    scores, curves, best = run.reference_scores(), {}, None
    for i, seed in enumerate(config.seeds):
        hooks = run.hooks(log_directory, seed, resume, _share(on_progress, i, len(config.seeds)))
        result = train_ppo(config.ppo, run.environment(seed), seed=seed, hooks=hooks)
        curves[seed] = result.curve
        score = run.validate(result.policy)
        scores[f"ppo seed {seed}"] = score
        if best is None or score > best[0]:
            best = (score, result.policy)
    if best is None:
        raise ValueError("a training needs at least one seed, the configuration lists none")
    policy = MlpPolicy(best[1].layers, f"ppo-{name}")
    save(out, policy, run.task, run.card(scores))
    return TrainingReport(out, policy, scores, curves)


class _Run:
    """What all seeds of a training share: demands, partner, and the validation batch."""

    def __init__(
        self,
        task: Task,
        spec: SystemSpec,
        config: TrainingConfig,
        parameters: Parameters | None,
        references: References,
        out: Path,
    ) -> None:
        self.task, self._spec, self._config, self._parameters = task, spec, config, parameters
        self._start = references.best_static
        self._references = reference_policies(spec, references)
        self._partners: dict[str, Policy] = {}
        if task.role is not None:
            other = next(other for other in Role if other is not task.role)
            learned = _partner(other, spec, out) if config.partner == "policy" else None
            self._partners[other] = learned or self._references["best_static"][other]
        period = spec.control_period_seconds
        self._demands = load_demands(config.demands, period)
        self._held_out = load_demands(config.validation, period)

    def environment(self, seed: int) -> LearningSystemVectorEnv:
        """The training environment."""
        config = self._config
        return LearningSystemVectorEnv(
            config.ppo.n_envs,
            self.task,
            self._spec,
            self._demands,
            episode_steps=config.episode_periods,
            partner=next(iter(self._partners.values()), None),
            start_setting="random",  # so that it learns the way back from anywhere
            partner_setting=self._start,
            stagger=True,  # without it every rollout holds one phase of the episode, and PPO becomes unstable
            randomize=True,
            peak_share=config.peak_share,
            parameters=self._parameters,
            seed=seed,
        )

    def validate(self, policy: Policy) -> float:
        """Mean reward on the held-out demands with randomised parameters, always the same batch."""
        return self._mean_reward({self.task.name: policy, **self._partners})

    def reference_scores(self) -> dict[str, float]:
        """The same of the references."""
        return {name: self._mean_reward(policies) for name, policies in self._references.items()}

    def _mean_reward(self, policies: Policies) -> float:
        n = len(self._held_out)
        plant = SimulatedPlant(
            self._spec, self._held_out, n=n, seed=VALIDATION_SEED, parameters=self._parameters, randomize=True
        )
        plant.reset(seed=VALIDATION_SEED, demand_indices=np.arange(n))
        played = rollout(plant, policies, self._config.validation_periods)
        return float(score_rollout(self._spec, played).reward.mean())

    def hooks(self, log_directory: Path | None, seed: int, resume: bool, on_progress: Progress | None) -> TrainingHooks:
        """Progress, validation and logs of one seed."""
        folder = log_directory / f"{self.task.name}-seed{seed}" if log_directory else None
        return TrainingHooks(
            on_progress=on_progress,
            evaluate=self.validate,
            initial_action=self.task.encode(self._start),
            log_directory=folder,
            checkpoint_directory=folder,
            resume=resume,
        )

    def card(self, scores: dict[str, float]) -> dict[str, Any]:
        """What the artifact says about its making."""
        return {
            "training": self._config.model_dump(mode="json"),
            "seeds": list(self._config.seeds),
            "partner": next((partner.name for partner in self._partners.values()), None),
            "scores": {f"{name}, mean validation reward": round(score, 4) for name, score in scores.items()},
            "limits": "Trained in simulation only. Outside the spec's bounds and the trained loads it was never tried.",
        }


def _partner(role: Role, spec: SystemSpec, out: Path) -> MlpPolicy | None:
    """The other role's learned policy, if there is one for this spec."""
    candidates: Sequence[Callable[[], MlpPolicy]] = (
        lambda: load(out.parent / str(role), spec, role),
        lambda: load_shipped(role, spec),
    )
    for candidate in candidates:
        try:
            return candidate()
        except ArtifactError:
            continue
    return None


def _share(on_progress: Progress | None, index: int, count: int) -> Progress | None:
    """Progress of one of several equally long parts."""
    if on_progress is None:
        return None
    return lambda done, total, message: on_progress(index * total + done, count * total, message)
