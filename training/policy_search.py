"""Black-box search over the weights of a linear policy, at PPO's budget: what learning without gradients gives."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from agents.artifact import ArtifactError, load_shipped
from agents.network import MlpPolicy
from agents.progress import Progress
from envs.learning_system import LearningSystemVectorEnv
from envs.simulator.parameters import Parameters
from envs.spec import Role, SystemSpec
from envs.task import JOINT, Task
from training.config import TrainingConfig
from training.extras import extra
from training.practice import Practice
from training.references import POLICY_SEARCH, POLICY_WEIGHTS, load_references, reference_policies
from training.rollout import Policies
from training.strategies import CmaEs, OnePlusOne, RandomSearch, Strategy


@dataclass(frozen=True)
class PolicySearchConfig:
    """How much is tried, and how."""

    steps: int = 12_000_000
    """System periods for each strategy, over all systems, spent in whole generations. Default: what PPO takes for both
    roles together."""
    periods: int = 30
    """Length of a candidate's episodes, from a random setting and a random place of a day. Validation of CMA-ES after
    2 M periods: 1.219 with 30, 1.198 with 60."""
    evaluations: int = 20
    """Times that the answer so far is scored on the validation batch; the best one is kept, as in PPO."""
    seed: int = 0


class Plan(NamedTuple):
    """A strategy and how its generations are judged: all candidates of one on the same episodes, the next on others."""

    episodes: int
    """Of each candidate in a generation."""
    make: Callable[[np.ndarray, int], Strategy]
    """Given start (n,) and seed."""


PLANS = {
    "random-search": Plan(64, lambda start, seed: RandomSearch(start, 0.1, 24, seed)),
    "one-plus-one-es": Plan(64, lambda start, seed: OnePlusOne(start, 0.01, seed)),
    "cma-es": Plan(16, lambda start, seed: CmaEs(start, 0.03, seed)),
}
"""Spreads and episodes are from short runs. Validation of CMA-ES after 2 M periods, 8 episodes: 1.186 with a spread of
0.01 (periods of 60), 1.219 with 0.03, 1.154 with 0.06; with 0.03 and 16 episodes 1.225."""


class LinearPolicies:
    """Policies action = clip(W observation + b) as vectors (n,), n = n_action * (n_observation + 1).

    Args:
        task: gives the sizes.
    """

    def __init__(self, task: Task) -> None:
        self._task = task

    def holding(self, setting: np.ndarray) -> np.ndarray:
        """The one that always asks for `setting` (n_knobs,): no weights, all bias; (n,)."""
        both = np.zeros((self._task.n_action, self._task.n_observation + 1))
        both[:, -1] = self._task.encode(setting)
        return both.ravel()

    def policy(self, candidate: np.ndarray, name: str) -> MlpPolicy:
        """(n,) as a policy of the joint task."""
        weights, biases = self._layers(candidate)
        return MlpPolicy([(weights[0], biases[0])], name)

    def scores(
        self, candidates: np.ndarray, env: LearningSystemVectorEnv, periods: int, seeds: np.ndarray
    ) -> np.ndarray:
        """(S,) mean reward of the candidates (S, n), all on the same episodes.

        Args:
            candidates: (S, n).
            env: of S * E systems.
            periods: length of an episode.
            seeds: (E,) of the episodes.
        """
        weights, biases = self._layers(candidates)
        observation, _ = env.reset(seed=np.tile(seeds, len(candidates)).tolist())
        rewards = np.zeros(env.num_envs)
        for _ in range(periods):
            seen = observation.reshape(len(candidates), len(seeds), -1)  # (S, E, n_observation)
            action = np.clip(seen @ weights.transpose(0, 2, 1) + biases[:, None], -1.0, 1.0)  # (S, E, n_action)
            observation, reward, *_ = env.step(action.reshape(env.num_envs, -1))
            rewards += reward
        return np.asarray(rewards.reshape(len(candidates), -1).mean(axis=1) / periods)

    def _layers(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(S, n) -> weights (S, n_action, n_observation) and biases (S, n_action), float32."""
        both = candidates.reshape(-1, self._task.n_action, self._task.n_observation + 1).astype(np.float32)
        return both[..., :-1], both[..., -1]


class Found(NamedTuple):
    """What a strategy found."""

    policy: MlpPolicy
    """Of the joint task; the best of all that were validated, among them the start."""
    told: dict[str, Any]
    """JSON-able: `score`, what it took, and the `curve` of validation scores."""


def search_policy(
    plan: Plan,
    task: Task,
    practice: Practice,
    start: np.ndarray,
    config: PolicySearchConfig,
    on_generation: Callable[[int, float], None],
) -> Found:
    """Let one strategy search for the policy with the largest mean reward.

    Args:
        plan: strategy and episodes.
        task: the joint one.
        practice: episodes and validation batch.
        start: (n_knobs,) the setting that the first policy holds.
        config: budget.
        on_generation: called after each with the periods spent and the best validation score so far.
    """
    policies, begun = LinearPolicies(task), perf_counter()
    strategy = plan.make(policies.holding(start), config.seed)
    systems = strategy.population * plan.episodes
    # The batch is reset before an episode of `periods` + 1 ends, and all begin together so that they stay comparable.
    env = practice.environment(task, systems, episode_steps=config.periods + 1, stagger=False)
    rng = np.random.default_rng([config.seed, 1])  # of the episodes, apart from the strategy's own
    generations = config.steps // (systems * config.periods)
    due = set(np.linspace(0, generations, config.evaluations + 1).astype(int).tolist())
    best, curve = (strategy.best, -np.inf), []
    for generation in range(generations + 1):
        spent = generation * systems * config.periods
        if generation:
            candidates, seeds = strategy.ask(), rng.integers(2**31, size=plan.episodes)
            strategy.tell(candidates, policies.scores(candidates, env, config.periods, seeds))
        if generation in due:
            score = practice.validate({JOINT: policies.policy(strategy.best, "candidate")})
            curve.append((spent, round(score, 4)))
            best = max(best, (strategy.best, score), key=lambda scored: scored[1])
        on_generation(spent, best[1])
    told = {
        "score": round(best[1], 4),
        "steps": spent,
        "generations": generations,
        "candidates": strategy.population,
        "episodes": plan.episodes,
        "seconds": round(perf_counter() - begun, 1),
        "curve": curve,
    }
    return Found(policies.policy(best[0], "found"), told)


def run_policy_search(
    spec: SystemSpec,
    out: Path | None,
    *,
    config: PolicySearchConfig | None = None,
    training: TrainingConfig | None = None,
    parameters: Parameters | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Let every strategy search, each with the same budget, from the best static setting.

    Not from where PPO starts, the setting that is best beside AIMD: from there they end at 0.881, 1.176 and 1.248
    instead of 0.999, 1.195 and 1.259.

    Args:
        spec: the system.
        out: folder for `policy_search.json` and `policy_search.npz`; None writes nothing.
        config: budget.
        training: demands of training and validation; None is the shipped configuration of the joint task.
        parameters: of the simulator; None is its default.
        on_progress: called after every generation, over all strategies.

    Returns:
        as in the JSON file.

    Raises:
        MissingExtra: CMA-ES's library is not installed.
    """
    extra("cmaes")  # before the other strategies have taken their time
    config = config or PolicySearchConfig()
    practice = Practice(spec, training or TrainingConfig.load(None, JOINT), parameters)
    start, found = load_references(spec).best_static, dict[str, Found]()
    for i, (name, plan) in enumerate(PLANS.items()):

        def report(spent: int, best: float, begun: int = i * config.steps, name: str = name) -> None:
            if on_progress:
                on_progress(begun + spent, len(PLANS) * config.steps, f"{name}: validation {best:.3f}")

        found[name] = search_policy(plan, Task(spec, JOINT), practice, start, config, report)
    packed = _packed(found)
    result = {
        "fingerprint": spec.fingerprint,
        "method": "linear policies, all knobs, from the best static setting; score: mean validation reward",
        **asdict(config),
        "sha256": hashlib.sha256(packed).hexdigest(),
        "references": _reference_scores(spec, practice),
        "policies": {name: one.told for name, one in found.items()},
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / POLICY_WEIGHTS).write_bytes(packed)
        (out / POLICY_SEARCH).write_text(json.dumps(result, indent=2) + "\n")
    return result


def score_lines(result: Mapping[str, Any]) -> list[str]:
    """Validation scores, one a line, and what each took."""
    lines = [f"{name:<16} {score:7.3f}" for name, score in result["references"].items()]
    for name, told in result["policies"].items():
        lines.append(f"{name:<16} {told['score']:7.3f}  {told['steps'] / 1e6:.1f} M periods, {told['seconds']:.0f} s")
    return lines


def _packed(found: Mapping[str, Found]) -> bytes:
    arrays = dict[str, np.ndarray]()
    for name, one in found.items():
        ((weight, bias),) = one.policy.layers
        arrays |= {f"{name}/weight": weight, f"{name}/bias": bias}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    return packed.getvalue()


def _reference_scores(spec: SystemSpec, practice: Practice) -> dict[str, float]:
    """Validation scores of static settings and, where there are policies for this spec, of PPO."""
    known = reference_policies(spec, load_references(spec))
    judged: dict[str, Policies] = {name: known[name] for name in ("static", "best_static")}
    with suppress(ArtifactError):  # none is shipped for this spec
        judged["ppo"] = {role: load_shipped(role, spec) for role in Role}
    return {name: round(practice.validate(policies), 4) for name, policies in judged.items()}
