"""What recoverability (D5) does and costs: the same systems under the controller without it and with it.

Shipped policies, in calm and with a burst of load after whatever they take away; and policies that mean harm. Both ways
meet the same arrivals and the same noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from agents.artifact import load_shipped
from agents.policy import Policy
from controller.config import ControllerConfig
from controller.decision import Decision
from controller.recoverability import RecoverabilityConfig
from controller.shield import Reason
from envs.simulator.incidents import Incident, IncidentKind
from envs.spec import Role, SystemSpec
from training.protocol import Set, load_protocol
from training.statistics import bootstrap_interval
from training.verdict_episodes import ROLLBACKS, Bench

BURST_SECONDS = 10.0
BURST = 1.0
"""Requests that arrive on top, as a share."""


def _least_room(action: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    worst = np.ones_like(action)
    worst[int(np.argmax(np.abs(action)))] = -1.0
    return -worst


Twist = Callable[[np.ndarray, np.random.Generator], np.ndarray]
POLICIES: dict[str, Twist | None] = {
    "shipped": None,
    "shipped, bursts after what it takes": None,
    "the least of everything": lambda action, rng: -np.ones_like(action),
    "the opposite": lambda action, rng: -action,
    "from whoever has least room": _least_room,
    "anything": lambda action, rng: rng.uniform(-1.0, 1.0, size=action.shape),
}
"""Who hands out the resources; what becomes of the shipped policy's actions."""
BURSTS = "shipped, bursts after what it takes"


@dataclass(frozen=True)
class RecoverBudget:
    """How much is simulated.

    Attributes:
        episodes: systems, each under every policy, both ways.
        periods: of each.
        demands: which days.
        seed: of the first system.
    """

    episodes: int = 12
    periods: int = 600
    demands: Set = "test"
    seed: int = 0


@dataclass(frozen=True)
class Lived:
    """What became of one system.

    Attributes:
        efficiency: useful work for its price.
        outside: share of the periods in which some SLO did not hold.
        moves: changes made.
        masked: times that less was taken than was wanted.
        takeovers: share of the periods in which the fallback handed out the CPU for lack of it.
    """

    efficiency: float
    outside: float
    moves: int
    masked: int
    takeovers: float


class Twisted:
    """A policy whose actions are made something else of."""

    def __init__(self, inner: Policy, twist: Twist, seed: int) -> None:
        self.name, self._inner, self._twist, self._rng = (
            f"{inner.name}, twisted",
            inner,
            twist,
            np.random.default_rng(seed),
        )

    def act(self, observation: np.ndarray) -> np.ndarray:
        """(n_observation,) -> (n_action,)."""
        return self._twist(self._inner.act(observation), self._rng)

    def reset(self) -> None:
        """As the policy within."""
        self._inner.reset()


class RecoverBench(Bench):
    """Runs episodes with one configuration."""

    def lived(self, policies: Mapping[Role, Policy], who: str, seed: int, periods: int) -> Lived:
        """One system.

        Args:
            policies: the shipped ones.
            who: of `POLICIES`.
            seed: of the system.
            periods: to live.
        """
        twist, plant = POLICIES[who], self._plant(seed)
        allocation = policies[Role.ALLOCATION]
        in_charge = {**policies, Role.ALLOCATION: allocation if twist is None else Twisted(allocation, twist, seed)}
        controller = self._controller(plant, in_charge)
        worth, paid, outside, decisions = [], [], [], []
        for _ in range(periods):
            before, decision = plant.setting, controller.step()
            decisions.append(decision)
            values = decision.snapshot.values
            if np.isfinite(values).all():
                worth.append(float(self._objective.value(values)))
                paid.append(float(self._objective.cost(values, before)))
                outside.append(not self._objective.slo_met(values))
            if who == BURSTS and any(trial.takes for trial in decision.opened):
                plant.inject(Incident(IncidentKind.TRAFFIC_BURST, 0.0, BURST_SECONDS, BURST))
        masked = sum(_told(decision, Reason.UNRECOVERABLE) for decision in decisions)
        taken_over = np.mean([_told(decision, Reason.FALLBACK, "short of CPU") > 0 for decision in decisions])
        moves = sum(len(decision.opened) for decision in decisions)
        return Lived(sum(worth) / sum(paid), float(np.mean(outside)), moves, masked, float(taken_over))


def bench_recover(
    spec_source: str = "reference",
    budget: RecoverBudget | None = None,
    ways: Mapping[str, RecoverabilityConfig] | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> dict[str, Any]:
    """Let the same systems live without recoverability and with it.

    Args:
        spec_source: SystemSpec file or shipped name.
        budget: how much is simulated.
        ways: name -> configuration; None takes `WAYS`.
        on_progress: called with what is done, of how much, and which policy.

    Returns:
        Policy -> way -> figures; differences are to the first way, `without`.
    """
    budget, spec = budget or RecoverBudget(), SystemSpec.load(spec_source)
    demands = load_protocol().demands(budget.demands, spec.control_period_seconds)
    policies = {role: load_shipped(role, spec) for role in Role}
    chosen = {"without": RecoverabilityConfig(enabled=False)} | dict(WAYS if ways is None else ways)
    # Nothing is demoted here: it is recoverability that is looked at, not what comes after it.
    config = ControllerConfig(rollbacks_per_hour=ROLLBACKS, least_slo_attainment=0.0)
    benches = {name: RecoverBench(spec, demands, replace(config, recoverability=way)) for name, way in chosen.items()}
    result: dict[str, Any] = {}
    seeds, done = range(budget.seed, budget.seed + budget.episodes), 0
    for who in POLICIES:
        first: list[Lived] = []
        result[who] = {}
        for name, bench in benches.items():
            lived = []
            for seed in seeds:
                lived.append(bench.lived(policies, who, seed, budget.periods))
                on_progress(done := done + 1, len(POLICIES) * len(benches) * len(seeds), who)
            first = first or lived
            result[who][name] = figures(lived, first)
    return result


WAYS = {
    "mask (shipped)": RecoverabilityConfig(),
    "mask and takeover": RecoverabilityConfig(takeover_seconds=5.0),
}


def figures(lived: list[Lived], first: list[Lived]) -> dict[str, Any]:
    """Of the same systems in one way, with differences to another."""
    gains = np.array([ours.efficiency / theirs.efficiency - 1.0 for ours, theirs in zip(lived, first, strict=True)])
    outside = np.array([ours.outside - theirs.outside for ours, theirs in zip(lived, first, strict=True)])
    moves, masked = sum(one.moves for one in lived), sum(one.masked for one in lived)
    return {
        "efficiency": float(np.mean([one.efficiency for one in lived])),
        "efficiency_gain": float(gains.mean()),
        "efficiency_gain_ci": bootstrap_interval(gains),
        "outside_slo": float(np.mean([one.outside for one in lived])),
        "outside_slo_difference": float(outside.mean()),
        "outside_slo_difference_ci": bootstrap_interval(outside),
        "moves": moves,
        "masked": masked,
        "masked_share": masked / (moves + masked) if moves + masked else float("nan"),
        "takeover_share": float(np.mean([one.takeovers for one in lived])),
    }


def recover_table(result: Mapping[str, Any]) -> Table:
    """What `bench_recover` gave, for the terminal."""
    table = Table(title="Recoverability", box=SIMPLE)
    for column in ("policy", "way"):
        table.add_column(column)
    for column in ("efficiency, 95 %", "outside SLOs", "difference, 95 %", "moves", "masked", "taken over"):
        table.add_column(column, justify="right")
    for who, ways in result.items():
        for name, found in ways.items():
            gain, outside = found["efficiency_gain_ci"], found["outside_slo_difference_ci"]
            table.add_row(
                who,
                name,
                f"{gain[0]:+.1%} to {gain[1]:+.1%}",
                f"{found['outside_slo']:.1%}",
                f"{outside[0]:+.1%} to {outside[1]:+.1%}",
                f"{found['moves']}",
                f"{found['masked_share']:.1%}",
                f"{found['takeover_share']:.1%}",
            )
    return table


def _told(decision: Decision, reason: Reason, part: str = "") -> int:
    return sum(one.reason is reason and part in one.detail for one in decision.reasons)
