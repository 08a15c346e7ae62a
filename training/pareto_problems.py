"""What is searched for a Pareto front: static settings, a heuristic with the knobs around it, or how PPO is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from agents.artifact import ArtifactError, load_shipped
from agents.heuristics.static import StaticPolicy
from agents.policy import Policy
from envs.simulator.parameters import PARAMETER_NAMES, Parameters
from envs.spec import Knob, Role, SystemSpec
from envs.task import Task
from telemetry.metrics import Scale
from training.candidates import CandidateScorer
from training.config import TrainingConfig
from training.demands import load_demands
from training.evolution import SearchConfig
from training.extras import extra
from training.heuristics import HEURISTICS, Heuristic, logarithmic
from training.practice import Practice
from training.references import load_references, reference_policies
from training.rollout import Policies

OBJECTIVES = {"work": "maximize", "price": "minimize", "slo_attainment": "maximize"}
"""Value-weighted share of the wanted work that was done, price of what is reserved (units of a core), share of periods
in which every SLO holds."""
CHUNK = 16
"""Candidates that are played together: all periods are kept until they are scored, 100 MB for 16 x 28 systems."""


class SearchNameError(ValueError):
    """There is no such search; one line."""


@dataclass(frozen=True)
class Conditions:
    """What trials of one study must have in common, or they could not be compared."""

    spec: SystemSpec
    search: SearchConfig = field(default_factory=SearchConfig)
    training: TrainingConfig | None = None
    """Demands; None is the shipped configuration of the allocation task."""
    parameters: Parameters | None = None
    """Of the simulator; None is its default."""
    steps: int = 1_000_000
    """System periods that PPO is trained for in one trial."""

    @property
    def config(self) -> TrainingConfig:
        """The training configuration."""
        return self.training or TrainingConfig.load(None, Role.ALLOCATION)

    def scorer(self, spec: SystemSpec | None = None) -> CandidateScorer:
        """Judges candidates on the training demands, as the search for one best candidate does."""
        demands = load_demands(self.config.demands, self.spec.control_period_seconds)
        return CandidateScorer(spec or self.spec, demands[:: self.search.every_demand], self.search, self.parameters)


class Problem(Protocol):
    """Parameters to be chosen, and what they are worth."""

    population: int
    """Trials of one generation of NSGA-II."""
    batch: int
    """Trials that are evaluated at once."""
    told: dict[str, Any]
    """JSON-able: what all trials of a study have in common."""

    @property
    def distributions(self) -> dict[str, Any]:
        """Parameter -> optuna's distribution."""
        ...

    @property
    def starts(self) -> list[dict[str, Any]]:
        """Parameters of the first trials."""
        ...

    def evaluate(self, trials: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(S, 3) of `OBJECTIVES`."""
        ...

    def setting(self, parameters: Mapping[str, Any]) -> dict[str, float]:
        """The knobs that a trial holds, as the host grants them; empty where it holds none."""
        ...


class SettingProblem:
    """A static setting, or a heuristic's parameters together with the setting that it moves in.

    Args:
        conditions: spec and demands.
        heuristic: None for static settings.
    """

    population = batch = 48

    def __init__(self, conditions: Conditions, heuristic: Heuristic | None = None) -> None:
        self._spec, self._heuristic = conditions.spec, heuristic
        self._scorer = conditions.scorer()
        self.told = _told(conditions, self._scorer)

    @cached_property
    def distributions(self) -> dict[str, Any]:
        """One for each parameter of the heuristic and for each knob, in natural units."""
        ranges = self._heuristic.ranges if self._heuristic else {}
        own = {name: _range(low, high, log=logarithmic(low, high)) for name, (low, high) in ranges.items()}
        return own | {knob.name: _of_knob(knob) for knob in self._spec.knobs}

    @cached_property
    def starts(self) -> list[dict[str, Any]]:
        """The static default and the best static setting; of a heuristic, as published and as tuned."""
        found, rule = load_references(self._spec), self._heuristic
        if rule is None:
            return [self._named(setting) for setting in (self._spec.default_setting, found.best_static)]
        published = {name: float(value) for name, value in rule.parameters(rule.start).items()}
        tuned = dict(found.parameters.get(rule.name, published))
        best = found.settings.get(rule.name, found.best_static)
        return [published | self._named(found.best_static), tuned | self._named(best)]

    def evaluate(self, trials: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(S, 3), a chunk of the candidates at a time."""
        candidates = np.stack([self._candidate(parameters) for parameters in trials])
        chunks = [candidates[first : first + CHUNK] for first in range(0, len(candidates), CHUNK)]
        return np.concatenate(
            [self._scorer.trade_offs(self._scorer.policies(chunk, self._heuristic), len(chunk)) for chunk in chunks]
        )

    def setting(self, parameters: Mapping[str, Any]) -> dict[str, float]:
        """Grants shrunk to what the host has."""
        return self._scorer.named(self._scorer.scaled(parameters))

    def _candidate(self, parameters: Mapping[str, Any]) -> np.ndarray:
        knobs = self._scorer.scaled(parameters)
        return knobs if self._heuristic is None else np.concatenate([self._heuristic.candidate(parameters), knobs])

    def _named(self, setting: np.ndarray) -> dict[str, Any]:
        pairs = zip(self._spec.knobs, setting.tolist(), strict=True)
        return {knob.name: int(value) if knob.integer else value for knob, value in pairs}


class PpoProblem:
    """Hyperparameters of PPO for allocation and the weight of the SLOs in its reward, each trial a short training.

    The tuning knobs are held where the shipped training holds them. What a trial is worth does not depend on the
    weights that it was trained with.

    Args:
        conditions: spec, demands and the length of a training.

    Raises:
        SettingError: the setting to start from was not searched for this spec.
    """

    population, batch = 8, 1

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._start = load_references(conditions.spec).setting(conditions.config.start)
        searched = {*self.distributions, "total_steps", "slo_target"}
        fixed = {key: value for key, value in conditions.config.ppo.model_dump().items() if key not in searched}
        ours = {"steps": conditions.steps, "start": conditions.config.start, "ppo": fixed}
        self.told = _told(conditions, conditions.scorer()) | ours

    @cached_property
    def distributions(self) -> dict[str, Any]:
        """Names as in `PpoConfig`; `violation_penalty` as in the spec."""
        return {
            "learning_rate": _range(1e-4, 3e-3, log=True),
            "gamma": _range(0.8, 0.99),
            "initial_log_std": _range(-3.0, -0.5),
            "n_steps": extra("optuna").distributions.CategoricalDistribution([8, 16, 32]),
            "change_weight": _range(1.0, 400.0, log=True),
            "violation_penalty": _range(0.5, 32.0, log=True),
        }

    @cached_property
    def starts(self) -> list[dict[str, Any]]:
        """The shipped configuration."""
        ppo = self._conditions.config.ppo.model_dump()
        shipped = {key: value for key, value in ppo.items() if key in self.distributions}
        return [shipped | {"violation_penalty": self._conditions.spec.violation_penalty}]

    def evaluate(self, trials: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(S, 3), one training after another."""
        return np.concatenate([self._train(dict(parameters)) for parameters in trials])

    def setting(self, parameters: Mapping[str, Any]) -> dict[str, float]:
        """None: the policy moves them."""
        return {}

    def _train(self, parameters: dict[str, Any]) -> np.ndarray:
        from agents.ppo import TrainingHooks, train_ppo

        conditions, start = self._conditions, self._start
        penalty = parameters.pop("violation_penalty")
        # The policy observes the weights that it is trained with, so that it must be judged with the same.
        spec = conditions.spec.model_copy(update={"violation_penalty": penalty})
        task, tuning = Task(spec, Role.ALLOCATION), StaticPolicy(Task(spec, Role.TUNING), start)
        config = conditions.config
        # Without an SLO target, which would find a penalty of its own.
        fixed = {"total_steps": conditions.steps, "evaluations": 5, "slo_target": None}
        ppo = config.ppo.model_copy(update=parameters | fixed)
        practice = Practice(spec, config, conditions.parameters)
        env = practice.environment(
            task,
            ppo.n_envs,
            episode_steps=config.episode_periods,
            partner=tuning,
            partner_setting=start,
            seed=conditions.search.seed,
        )

        def both(policy: Policy) -> Policies:
            return {Role.ALLOCATION: policy, Role.TUNING: tuning}

        hooks = TrainingHooks(
            evaluate=lambda policy: practice.validate(both(policy)),
            initial_action=task.encode(start),
        )
        policy = train_ppo(ppo, env, seed=conditions.search.seed, hooks=hooks).policy
        return conditions.scorer(spec).trade_offs(both(policy))


def problem(name: str, conditions: Conditions) -> Problem:
    """The search of a name.

    Args:
        name: `static`, `heuristic:NAME` or `ppo`.
        conditions: what its trials have in common.

    Raises:
        SearchNameError: another name.
    """
    if name == "static":
        return SettingProblem(conditions)
    if name == "ppo":
        return PpoProblem(conditions)
    heuristics = {f"heuristic:{heuristic.name}": heuristic for heuristic in HEURISTICS}
    if name not in heuristics:
        allowed = ", ".join(("static", *heuristics, "ppo"))
        raise SearchNameError(f"there is no Pareto search of {name!r}; allowed are {allowed}")
    return SettingProblem(conditions, heuristics[name])


def reference_points(conditions: Conditions) -> dict[str, list[float]]:
    """What is compared with a front, judged on the same episodes: name -> its `OBJECTIVES`."""
    spec, scorer = conditions.spec, conditions.scorer()
    policies: dict[str, Policies] = dict(reference_policies(spec, load_references(spec)))
    with suppress(ArtifactError):  # none is shipped for this spec
        policies["ppo"] = {role: load_shipped(role, spec) for role in Role}
    return {name: scorer.trade_offs(roles)[0].tolist() for name, roles in policies.items()}


def _told(conditions: Conditions, scorer: CandidateScorer) -> dict[str, Any]:
    search, constants = conditions.search, conditions.parameters or Parameters.load("reference")
    digest = hashlib.sha256(json.dumps([asdict(constants)[name] for name in PARAMETER_NAMES]).encode()).hexdigest()
    return {
        "fingerprint": conditions.spec.fingerprint,
        "demands": [demand.name for demand in scorer.demands],
        "periods": search.periods,
        "peak_share": list(search.peak_share),
        "seed": search.seed,
        "parameters": digest[:16],
    }


def _range(low: float, high: float, *, log: bool = False) -> Any:
    return extra("optuna").distributions.FloatDistribution(low, high, log=log)


def _of_knob(knob: Knob) -> Any:
    log = knob.scale is Scale.LOG
    if knob.integer:
        return extra("optuna").distributions.IntDistribution(int(knob.low), int(knob.high), log=log)
    return _range(knob.low, knob.high, log=log)
