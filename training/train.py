"""Trains the policy of one task in simulation, once for each seed, and writes the artifacts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from agents.artifact import ArtifactError, load, load_shipped, save
from agents.heuristics.static import StaticPolicy
from agents.network import MlpPolicy
from agents.policy import Policy
from agents.ppo import TrainingHooks, train_ppo
from agents.progress import Progress
from agents.watch import SHORTFALL_PRICE
from envs.learning_system import LearningSystemVectorEnv
from envs.simulator.parameters import Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import Task
from training.config import TrainingConfig
from training.demands import load_demands
from training.figures import episode_figure
from training.learners import Failures, Learner, run_learners
from training.practice import VALIDATION_SEED, Practice
from training.references import load_references, reference_policies
from training.rollout import Policies, rollout
from training.scores import Scores, score_rollout


class TrainingError(RuntimeError):
    """No learner gave a policy; one line."""


@dataclass(frozen=True)
class Training:
    """What is trained and where it goes: all that a learner process must be told."""

    task: str
    """`allocation`, `tuning` or `joint`."""
    out: Path
    """Folder of the artifacts, e.g. `models`: the best of the seeds in `TASK/`, each seed's in `seeds/SEED/TASK/`."""
    spec: SystemSpec
    config: TrainingConfig
    parameters: Parameters | None = None
    """Of the simulator; None is its default."""
    log_directory: Path | None = None
    """TensorBoard logs and checkpoints, one folder for each seed; None keeps none."""
    resume: bool = False
    """Go on from the checkpoints in `log_directory`, exactly as if the training had never stopped."""

    def folder(self, seed: int) -> Path:
        """Of one seed's artifacts; a set of policies that belong together, like `out` itself."""
        return self.out / "seeds" / str(seed)


@dataclass(frozen=True)
class TrainingReport:
    """What a training gave.

    Attributes:
        directory: of the best policy's artifact.
        policy: the one written there.
        scores: mean validation reward of the references and of each seed's policy.
        curves: seed -> (steps, validation reward) of each evaluation.
        seconds: wall-clock to obtain the policy, all seeds included.
        failures: learner -> why it gave no policy.
    """

    directory: Path
    policy: MlpPolicy
    scores: dict[str, float]
    curves: dict[int, list[tuple[int, float]]]
    seconds: float
    failures: Failures


def run_train(training: Training, *, jobs: int = 0, on_progress: Progress | None = None) -> TrainingReport:
    """Train one role, the other one driven by a partner, or both jointly; write every seed's policy and the best one.

    The partner is the best static setting or, where the configuration asks for it, the other role's policy: a seed
    learns beside the same seed's, where there is one, so that the folder of a seed is one independent attempt at
    everything. The best is chosen beside the policy in `out`, which it will work with.

    Args:
        training: what.
        jobs: learner processes at a time; 0 trains all seeds in this process.
        on_progress: called after every rollout, over all seeds.

    Raises:
        TrainingError: every learner failed.
        ValueError: unknown task or demand family, or a checkpoint of another training.
    """
    start = time.monotonic()
    learners = {
        f"seed {seed}": Learner(partial(train_seed, training, seed), training.folder(seed) / training.task)
        for seed in training.config.seeds
    }
    failures = run_learners(learners, on_progress, jobs=jobs)
    seeds = [seed for seed in training.config.seeds if f"seed {seed}" not in failures]
    if not seeds:
        raise TrainingError(f"no seed gave a policy: {list_failures(failures)}")
    results = [learners[f"seed {seed}"].result() for seed in seeds]
    run = _Run(training, (training.out,))
    policies = {seed: load(training.folder(seed) / training.task, training.spec, training.task) for seed in seeds}
    scores = {seed: run.validate(policy) for seed, policy in policies.items()}
    best = max(seeds, key=lambda seed: run.choice(policies[seed]))
    # A training that was resumed has taken longer than this call.
    spent = max(time.monotonic() - start, sum(result["seconds"] for result in results) / max(jobs, 1))
    all_scores = run.reference_scores() | {f"ppo seed {seed}": score for seed, score in scores.items()}
    directory = training.out / training.task
    save(directory, policies[best], run.task, run.card(all_scores, seeds, spent) | {"seed": best})
    curves = {seed: result["curve"] for seed, result in zip(seeds, results, strict=True)}
    return TrainingReport(directory, policies[best], all_scores, curves, spent, failures)


def list_failures(failures: Failures) -> str:
    """All of them in one line."""
    return "; ".join(f"{name}: {reason}" for name, reason in failures.items())


def train_seed(training: Training, seed: int, on_progress: Progress | None = None) -> dict[str, Any]:
    """Train one seed and write its artifact; `score` beside its own partner, `seconds` and `curve`."""
    learned = learn(training, seed, on_progress)
    policy = MlpPolicy(learned.policy.layers, f"ppo-{training.task}")
    card = learned.run.card({f"ppo seed {seed}": learned.score}, [seed], learned.seconds)
    save(training.folder(seed) / training.task, policy, learned.run.task, card)
    return {"score": learned.score, "seconds": learned.seconds, "curve": learned.curve}


class Learned(NamedTuple):
    """What one run of PPO gave."""

    policy: MlpPolicy
    score: float
    """Mean validation reward."""
    seconds: float
    """Wall-clock."""
    curve: list[tuple[int, float]]
    run: _Run


def learn(training: Training, seed: int, on_progress: Progress | None = None) -> Learned:
    """Train one seed; writes nothing but logs and checkpoints."""
    run = _Run(training, (training.folder(seed), training.out))
    result = train_ppo(training.config.ppo, run.environment(seed), seed=seed, hooks=run.hooks(seed, on_progress))
    return Learned(result.policy, run.validate(result.policy), result.seconds, result.curve, run)


class _Run:
    """One run's task, demands, partner and validation batch.

    Args:
        training: what is trained.
        partners: folders that may hold the partner's artifact, first choice first; then comes the shipped one.
    """

    def __init__(self, training: Training, partners: Sequence[Path]) -> None:
        self.task = Task(training.spec, training.task)
        self._training, self._spec, self._config = training, training.spec, training.config
        self._practice = Practice(training.spec, training.config, training.parameters)
        references = load_references(self._spec)
        self._start = references.setting(self._config.start)
        held = {role: StaticPolicy(Task(self._spec, role), self._start, self._config.start) for role in Role}
        self._references = reference_policies(self._spec, references)
        self._partners: dict[str, Policy] = {}
        self._last: tuple[Policy, Scores] | None = None
        if self.task.role is not None:
            other = next(other for other in Role if other is not self.task.role)
            learned = _partner(other, self._spec, partners) if self._config.partner == "policy" else None
            self._partners[other] = learned or held[other]

    def environment(self, seed: int) -> LearningSystemVectorEnv:
        """The training environment."""
        return self._practice.environment(
            self.task,
            self._config.ppo.n_envs,
            episode_steps=self._config.episode_periods,
            partner=next(iter(self._partners.values()), None),
            partner_setting=self._start,
            seed=seed,
        )

    def validate(self, policy: Policy) -> float:
        """Mean reward on the held-out demands with randomised parameters, always the same batch."""
        return float(self._validated(policy).reward.mean())

    def slo_attainment(self, policy: Policy) -> float:
        """Share of the periods of that batch in which every SLO holds."""
        return float(self._validated(policy).slo_attainment.mean())

    def choice(self, policy: Policy) -> float:
        """What the best of several seeds is chosen by: the reward, less for one that misses the SLO target."""
        target = self._config.ppo.slo_target or 0.0
        return self.validate(policy) - SHORTFALL_PRICE * max(target - self.slo_attainment(policy), 0.0)

    def _validated(self, policy: Policy) -> Scores:
        if self._last is None or self._last[0] is not policy:
            self._last = policy, self._practice.scores(self._with_partner(policy))
        return self._last[1]

    def reference_scores(self) -> dict[str, float]:
        """The same of the references."""
        return {name: self._practice.validate(policies) for name, policies in self._references.items()}

    def draw(self, policy: Policy) -> Any:
        """Figure of the first held-out demand under the policy."""
        demand = load_demands(self._config.validation, self._spec.control_period_seconds)[0]
        plant = SimulatedPlant(self._spec, [demand], n=1, seed=VALIDATION_SEED, parameters=self._training.parameters)
        played = rollout(plant, self._with_partner(policy), self._config.validation_periods)
        score = float(score_rollout(self._spec, played).reward[0])
        return episode_figure(self.task, played, f"{demand.name}: mean reward {score:.3f}")

    def _with_partner(self, policy: Policy) -> Policies:
        return {self.task.name: policy, **self._partners}

    def hooks(self, seed: int, on_progress: Progress | None = None) -> TrainingHooks:
        """Progress, validation and logs of one seed."""
        logs = self._training.log_directory
        folder = logs / f"{self.task.name}-seed{seed}" if logs else None
        return TrainingHooks(
            on_progress=on_progress,
            evaluate=self.validate,
            slo_attainment=self.slo_attainment,
            draw=self.draw,
            initial_action=self.task.encode(self._start),
            log_directory=folder,
            checkpoint_directory=folder,
            resume=self._training.resume,
        )

    def card(self, scores: dict[str, float], seeds: list[int], seconds: float) -> dict[str, Any]:
        """What the artifact says about its making; `seconds` is the wall-clock to obtain it, all seeds included."""
        return {
            "training": self._config.model_dump(mode="json"),
            "seeds": seeds,
            "partner": next((partner.name for partner in self._partners.values()), None),
            "training_seconds": round(seconds, 1),
            "scores": {f"{name}, mean validation reward": round(score, 4) for name, score in scores.items()},
            "limits": "Trained in simulation only. Outside the spec's bounds and the trained loads it was never tried.",
        }


def _partner(role: Role, spec: SystemSpec, folders: Sequence[Path]) -> MlpPolicy | None:
    """The other role's learned policy, if there is one for this spec."""
    candidates = [partial(load, folder / role, spec, role) for folder in folders]
    for candidate in [*candidates, partial(load_shipped, role, spec)]:
        try:
            return candidate()
        except ArtifactError:
            continue
    return None
