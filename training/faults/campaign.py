"""The campaign: seeded episodes of every hazard, with the invariants checked after each period."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.faults.hazards import HAZARDS, Fault, faults_of
from training.faults.monitors import INVARIANTS, check
from training.faults.pairs import JOINT, drawn_partner, fault_named, is_paired, paired
from training.faults.world import Setup, World, reference_setup

EPISODES, PERIODS = 3300, 40
PAIRS = 1.0 / 3.0
"""Share of the episodes with a second fault, of another hazard. Default: two thirds still show each fault by itself."""
COMMAND = "trimtab bench faults"


class CampaignError(ValueError):
    """A campaign that cannot be run as asked; one line."""


@dataclass(frozen=True)
class Campaign:
    """What is run.

    Attributes:
        episodes: in all; each hazard gets the same number.
        seed: of the first episode.
        hazards: which; empty for all.
        periods: of an episode.
        fault: name of a single fault, or of two with a plus between them; empty for all.
        pairs: share of the episodes with a second fault, of another hazard; nothing where `fault` is named.
    """

    episodes: int = EPISODES
    seed: int = 0
    hazards: tuple[str, ...] = ()
    periods: int = PERIODS
    fault: str = ""
    pairs: float = PAIRS


@dataclass(frozen=True)
class Violation:
    """An invariant that did not hold.

    Attributes:
        invariant: its name.
        clauses: of the contract.
        hazard: under which; two with a plus between them.
        fault: which one; two with a plus between them.
        seed: of the episode.
        period: in which.
        detail: one line.
    """

    invariant: str
    clauses: tuple[str, ...]
    hazard: str
    fault: str
    seed: int
    period: int
    detail: str

    @property
    def reproduce(self) -> str:
        """The command that shows it again."""
        hazards = self.hazard.replace(JOINT, ",")
        return f"{COMMAND} --hazards {hazards} --fault {self.fault} --seed {self.seed} --episodes 1"

    def __str__(self) -> str:
        where = f"{self.hazard} {self.fault}, seed {self.seed}, period {self.period}"
        return f"{self.invariant} ({', '.join(self.clauses)}): {where}: {self.detail}; {self.reproduce}"


@dataclass
class Outcome:
    """What an episode, or several, came to.

    Attributes:
        episodes: by hazard, the first of two.
        pairs: of these, with two faults.
        periods: in all.
        violations: the first of each invariant in an episode.
        revert_seconds: from each death of a controller to everything being as it was found.
        optimizations: changes made.
        verdicts: by outcome.
        cpu_seconds: of the controller, largest mean of an episode, per period.
    """

    episodes: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    periods: int = 0
    violations: list[Violation] = field(default_factory=list)
    revert_seconds: list[float] = field(default_factory=list)
    optimizations: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0

    def add(self, other: Outcome) -> None:
        """Take another's figures in."""
        self.episodes += other.episodes
        self.pairs += other.pairs
        self.periods += other.periods
        self.violations += other.violations
        self.revert_seconds += other.revert_seconds
        self.optimizations += other.optimizations
        self.verdicts += other.verdicts
        self.cpu_seconds = max(self.cpu_seconds, other.cpu_seconds)


def run_episode(setup: Setup, fault: Fault, seed: int, periods: int = PERIODS) -> Outcome:
    """One fault, or a pair, in one world."""
    outcome = Outcome(Counter({fault.hazard.partition(JOINT)[0]: 1}), pairs=int(JOINT in fault.hazard))
    told: set[str] = set()
    world = World(setup, seed, periods, fault.config)
    try:
        fault.inject(world)
        for _ in range(periods):
            seen = world.step()
            last = len(world.seen) == periods
            for one, problem in (*check(world, seen), *(check(world, seen, at_end=True) if last else ())):
                if one.name not in told:
                    told.add(one.name)
                    place = (fault.hazard, fault.name, seed, seen.period)
                    outcome.violations.append(Violation(one.name, one.clauses, *place, problem))
            if seen.decision is not None:
                outcome.optimizations += len(seen.decision.opened)
                outcome.verdicts.update(str(verdict.outcome) for verdict in seen.decision.verdicts)
        outcome.periods = len(world.seen)
        outcome.revert_seconds = world.notes.revert_seconds
        outcome.cpu_seconds = world.cpu_seconds / periods
    finally:
        world.close()
    return outcome


def plan(campaign: Campaign) -> list[tuple[Fault, int]]:
    """Fault and seed of each episode: the hazards in turn, and the faults of each in turn, some of them with a second.

    Raises:
        CampaignError: an unknown hazard or fault.
    """
    chosen = campaign.hazards or tuple(HAZARDS)
    unknown = [hazard for hazard in chosen if hazard not in HAZARDS]
    if unknown:
        raise CampaignError(f"no hazard {unknown[0]!r}; known are: {', '.join(HAZARDS)}")
    seeds = range(campaign.seed, campaign.seed + campaign.episodes)
    if campaign.fault:
        named = fault_named(campaign.fault, chosen)
        if named is None:
            raise CampaignError(f"no fault {campaign.fault!r} among those of {', '.join(chosen)}")
        return [(named, seed) for seed in seeds]
    faults = [faults_of(hazard) for hazard in chosen]
    episodes = []
    for number, seed in enumerate(seeds):
        own = faults[number % len(faults)]
        one = own[number // len(faults) % len(own)]
        episodes.append((paired(one, drawn_partner(one, seed)) if is_paired(seed, campaign.pairs) else one, seed))
    return episodes


def run_campaign(
    campaign: Campaign, setup: Setup | None = None, on_progress: Callable[[int, int, str], None] | None = None
) -> Outcome:
    """All episodes.

    Args:
        campaign: which.
        setup: what they share; None for the shipped policies on the reference system.
        on_progress: called with episodes done, episodes in all, and a line.

    Raises:
        CampaignError: an unknown hazard or fault.
    """
    setup, total = setup or reference_setup(), Outcome()
    episodes = plan(campaign)
    with quiet():
        for number, (fault, seed) in enumerate(episodes):
            total.add(run_episode(setup, fault, seed, campaign.periods))
            if on_progress is not None:
                line = f"{fault.hazard} {fault.name}, {len(total.violations)} violations"
                on_progress(number + 1, len(episodes), line)
    return total


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of what was injected on purpose would be most of what is printed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logging.disable(before)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The figures of a campaign; keys as docs/faults.md tells them."""
    return {
        "hazards": len(outcome.episodes),
        "episodes": sum(outcome.episodes.values()),
        "pairs": outcome.pairs,
        "periods": outcome.periods,
        "invariants": len(INVARIANTS),
        "violations": len(outcome.violations),
        "violated": [{**dataclasses.asdict(one), "reproduce": one.reproduce} for one in outcome.violations],
        "worst_revert_seconds": max(outcome.revert_seconds, default=0.0),
        "deaths": len(outcome.revert_seconds),
        "optimizations": outcome.optimizations,
        "verdicts": dict(outcome.verdicts),
        "episodes_by_hazard": dict(outcome.episodes),
        "own_cpu_ratio": outcome.cpu_seconds,
    }


def violated(outcome: Outcome) -> Sequence[str]:
    """Names of the invariants that did not hold."""
    return sorted({one.invariant for one in outcome.violations})
