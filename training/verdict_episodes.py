"""Changes of a real control loop on the simulated plant, each with what it truly did.

The simulator knows what a controller cannot: two copies of a system with the same arrivals and the same noise, one with
the change and one without, differ by nothing but the change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents.heuristics.fallback import fallback_policy
from agents.policy import Policy
from controller.config import ControllerConfig
from controller.judge import Judge
from controller.loop import Controller
from controller.trial import Outcome, Trial, Verdict
from envs.objective import Objective
from envs.scaling import KnobScaling
from envs.simulator.incidents import Incident, IncidentKind
from envs.simulator.parameters import PARAMETER_NAMES
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.workload import Demand

TRUE_PERIODS = 10
"""After the settling one, for what a change truly did."""
LEAST_SCORE = 0.3
"""Below, a relative effect is relative to this: near zero a ratio says nothing."""
MISSING_RATIO = 0.03
"""As measured on the testbed."""
ROLLBACKS = 1_000_000
"""An hour, so that nothing is demoted: verdicts are counted here."""
SLOWED = ("serving_request_core_seconds", "serving_batch_core_seconds", "serving_sample_core_seconds")


@dataclass(frozen=True)
class Judged:
    """One change: what it truly did, and what the controller said.

    Attributes:
        outcome: of the verdict.
        effect: true relative change of the score, over ten periods.
        adds: whether it added capacity.
        proven: whether the verdict holds it for better, beyond the noise.
        seconds: from the change to the verdict.
        reason: of the verdict.
    """

    outcome: Outcome
    effect: float
    adds: bool
    proven: bool
    seconds: float
    reason: str


@dataclass
class Episode:
    """What became of one system.

    Attributes:
        efficiency: useful work for its price.
        slo_met: share of the periods in which every SLO held.
        changes: that ended within the episode.
    """

    efficiency: float
    slo_met: float
    changes: list[Judged] = field(default_factory=list)


@dataclass(frozen=True)
class Scenario:
    """What happens together with a change that is made by a script.

    Attributes:
        burst: requests that arrive on top from the change on, as a share; 0 for none.
        slowed: by how much the change makes serving slower, as a share; 0 for not.
        move: whether the knobs of a whole role move (most of them for better or worse), or one knob by a hair.
    """

    burst: float = 0.0
    slowed: float = 0.0
    move: bool = True


class Unwritten:
    """A journal that keeps nothing."""

    def append(self, record: Mapping[str, Any], *, durable: bool = False, urgent: bool = False) -> bool:
        """Nothing; no new file was begun."""
        return False


class Script:
    """A policy that holds, until it is told what to set."""

    name = "script"

    def __init__(self, task: Task) -> None:
        self._task = task
        self.target: np.ndarray | None = None

    def act(self, observation: np.ndarray) -> np.ndarray:
        """What was told; else what is in force."""
        return self._task.encode(self._task.setting(observation) if self.target is None else self.target)

    def reset(self) -> None:
        """Nothing is remembered."""


class Bench:
    """Runs episodes with one way to judge.

    Args:
        spec: of the system.
        demands: replayed.
        config: of the controller; its budget of rollbacks is lifted.
        judge: made with spec and trial configuration; None for the controller's own.
    """

    def __init__(
        self,
        spec: SystemSpec,
        demands: list[Demand],
        config: ControllerConfig,
        judge: Callable[..., Judge] | None = None,
    ) -> None:
        self.spec, self.demands, self.config, self._judge = spec, demands, config, judge
        self._objective = Objective(spec)

    def shipped(self, policies: Mapping[Role, Policy], seed: int, periods: int) -> Episode:
        """The policies in charge of one system for so many periods."""
        plant = self._plant(seed)
        controller = self._controller(plant, policies)
        seen = _Seen(self._objective)
        changes: list[Judged] = []
        truths: dict[str, float] = {}
        for _ in range(periods):
            before = plant.setting
            decision = controller.step()
            seen.add(decision.snapshot.values, before)
            changes += _judged(decision.verdicts, truths, decision.time)
            truths |= {trial.id: self.true_effect(plant, trial) for trial in decision.opened}
        return Episode(*seen.figures(), changes)

    def scripted(self, start: np.ndarray, seed: int, scenario: Scenario) -> Judged | None:
        """One change after a quiet time, until its verdict; None if the shield or the arbiter did not let it pass.

        Args:
            start: (n_knobs,) in force before; a whole role moves from a random setting around it to it, or away.
            seed: of system and change.
            scenario: what happens with it.
        """
        rng = np.random.default_rng(seed)
        plant, role = self._plant(seed), [Role.ALLOCATION, Role.TUNING][int(rng.integers(2))]
        task = Task(self.spec, role)
        away = _moved(task, start, rng) if scenario.move else _nudged(self.spec, start)
        ends = (away, start) if scenario.move and rng.random() < 0.5 else (start, away)
        plant.force(ends[0][None])
        script = Script(task if scenario.move else Task(self.spec, Role.TUNING))
        controller = self._controller(plant, {Role.TUNING if not scenario.move else role: script})
        for _ in range(40):
            controller.step()
        script.target = ends[1]
        return self._watched(controller, plant, script, scenario)

    def true_effect(self, plant: SimulatedPlant, trial: Trial, slowed: float = 0.0) -> float:
        """Relative change of efficiency plus SLO term by a change that was just made, with equal arrivals and noise.

        Args:
            plant: with the change in force.
            trial: the change.
            slowed: by how much it makes serving slower.
        """
        pair = plant.select(np.array([0, 0]))
        pair.missing_ratio = 0.0
        settings = np.array([plant.setting, plant.setting])
        settings[1, trial.knobs] = trial.before
        pair.apply(settings)
        if slowed:
            slow(pair, slowed, [0])
        scores = []  # (T, 2)
        for _ in range(1 + TRUE_PERIODS):
            setting = pair.setting
            terms = self._objective.score(pair.advance(self.spec.control_period_seconds).values, setting, setting)
            scores.append(terms["efficiency"] + terms["slo"])
        changed, unchanged = np.mean(scores[1:], axis=0)
        return float((changed - unchanged) / max(abs(unchanged), LEAST_SCORE))

    def _watched(
        self, controller: Controller, plant: SimulatedPlant, script: Script, scenario: Scenario
    ) -> Judged | None:
        truths: dict[str, float] = {}
        for _ in range(6 + self.config.trial.longest_watch_periods):
            decision = controller.step()
            judged = _judged(decision.verdicts, truths, decision.time)
            if judged:
                return judged[0]
            if decision.opened and not truths:
                script.target = None  # one change, and no other in its place
                if scenario.burst:
                    plant.inject(Incident(IncidentKind.TRAFFIC_BURST, 0.0, 30.0, scenario.burst))
                trial = decision.opened[0]
                truths[trial.id] = self.true_effect(plant, trial, scenario.slowed)
                if scenario.slowed:
                    slow(plant, scenario.slowed, [0])
        return None

    def _plant(self, seed: int) -> SimulatedPlant:
        return SimulatedPlant(
            self.spec, self.demands, seed=seed, randomize=True, random_start=True, missing_ratio=MISSING_RATIO
        )

    def _controller(self, plant: SimulatedPlant, policies: Mapping[Role, Policy]) -> Controller:
        fallback = {Role.ALLOCATION: fallback_policy(Task(self.spec, Role.ALLOCATION))}
        controller = Controller(
            plant,
            policies,
            fallback,
            Unwritten(),  # type: ignore[arg-type]  # nothing of a journal is needed but `append`
            mode="act",
            config=self.config,
            clock=lambda: plant.time,
            wall_clock=lambda: 0.0,
        )
        if self._judge is not None:
            controller.trials.judge = self._judge(self.spec, self.config.trial)
        return controller


class _Seen:
    """Figures of an episode from what was read; a period with missing readings is left out."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._rows: list[tuple[float, float, bool]] = []

    def add(self, values: np.ndarray, setting: np.ndarray) -> None:
        if np.isfinite(values).all():
            worth, paid = self._objective.value(values), self._objective.cost(values, setting)
            self._rows.append((float(worth), float(paid), bool(self._objective.slo_met(values))))

    def figures(self) -> tuple[float, float]:
        worth, paid, met = np.array(self._rows).T
        return float(worth.sum() / paid.sum()), float(met.mean())


def slow(plant: SimulatedPlant, share: float, systems: list[int]) -> None:
    """Make serving slower by `share` in some of the systems."""
    parameters = plant.drawn
    rows = [PARAMETER_NAMES.index(name) for name in SLOWED]
    parameters[np.ix_(rows, systems)] *= 1.0 + share
    plant.use(parameters)


def _judged(verdicts: list[Verdict], truths: dict[str, float], now: float) -> list[Judged]:
    return [
        Judged(
            v.outcome, truths.pop(v.trial.id), v.trial.adds, v.proven, now - v.trial.applied_at, v.reason
        )
        for v in verdicts
        if v.trial.id in truths
    ]  # fmt: skip


def _moved(task: Task, setting: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One workload's knobs of the task's role moved at random by up to their largest step, (n_knobs,)."""
    spec, scaling = task.spec, KnobScaling(task.spec.knobs)
    workload = list(spec.workloads)[int(rng.integers(len(spec.workloads)))]
    scaled = scaling.scale(setting)
    for i in task.knobs:
        if spec.knobs[i].workload == workload:
            scaled[i] += rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.0) * min(spec.knobs[i].max_step, 0.5)
    return task.fit(scaling.unscale(np.clip(scaled, -1.0, 1.0)))


def _nudged(spec: SystemSpec, setting: np.ndarray) -> np.ndarray:
    """A tuning knob of serving moved by little more than the dead band, (n_knobs,): which by itself does nothing."""
    scaling = KnobScaling(spec.knobs)
    knob = next(
        i for i, k in enumerate(spec.knobs) if (k.workload, k.role) == ("serving", Role.TUNING) and not k.integer
    )
    scaled = scaling.scale(setting)
    scaled[knob] += -1.2 * spec.dead_band if scaled[knob] > 0 else 1.2 * spec.dead_band
    return scaling.unscale(scaled)
