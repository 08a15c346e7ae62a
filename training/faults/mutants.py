"""Controllers that are broken on purpose: the campaign must find each of them, or it proves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from controller.arbiter import Admission, Situation
from controller.config import ControllerConfig
from controller.lease import BEAT, write_in_place
from controller.loop import Controller
from controller.shield import Shield
from controller.trial import Judge, Outcome, Trial, Verdict
from training.faults.campaign import Campaign, run_campaign, violated
from training.faults.host import FileActuator
from training.faults.world import Setup, World, reference_setup

Prepare = Callable[[World], None]


@dataclass(frozen=True)
class Mutant:
    """One way to break the controller.

    Attributes:
        title: one line.
        found_by: invariants of which at least one must be violated.
        hazards: under which it shows.
        prepare: breaks a world's controller.
        config: changes the limits of the controller behind the monitors' back.
    """

    title: str
    found_by: tuple[str, ...]
    hazards: tuple[str, ...]
    prepare: Prepare = lambda world: None
    config: Callable[[ControllerConfig], ControllerConfig] | None = None


def _controller(world: World) -> Controller:
    if world.controller is None:
        raise RuntimeError("a mutant is prepared when its controller has begun")
    return world.controller


def _shield_lets_all_through(world: World) -> None:
    def check(proposed: Any, current: np.ndarray, *_: Any, **__: Any) -> tuple[np.ndarray, list[Any]]:
        return np.where(np.isfinite(proposed), proposed, current), []

    _controller(world).kernel.shield.check = check  # type: ignore[method-assign]


def _shield_exaggerates(world: World) -> None:
    shield = _controller(world).kernel.shield

    def check(proposed: Any, current: np.ndarray, *rest: Any, **named: Any) -> tuple[np.ndarray, list[Any]]:
        setting, reasons = Shield.check(shield, proposed, current, *rest, **named)
        return current + 20.0 * (setting - current), reasons

    shield.check = check  # type: ignore[method-assign]


def _shield_undoes_nothing(world: World) -> None:
    shield = _controller(world).kernel.shield

    def check(proposed: Any, current: np.ndarray, *rest: Any, **named: Any) -> tuple[np.ndarray, list[Any]]:
        return (current.copy(), []) if named.get("undo") else Shield.check(shield, proposed, current, *rest, **named)

    shield.check = check  # type: ignore[method-assign]


def _shield_is_never_blind(world: World) -> None:
    _controller(world).kernel.shield.missing = lambda snapshot, now: None  # type: ignore[method-assign]


def _judge_finds_nothing(world: World) -> None:
    judge = _controller(world).trials.judge

    def verdict(trial: Trial, busy: set[str]) -> Verdict | None:
        found = Judge.verdict(judge, trial, busy)
        return found and replace(found, outcome=Outcome.KEEP)

    judge.verdict = verdict  # type: ignore[method-assign]


def _missing_counts_as_good(world: World) -> None:
    judge = _controller(world).trials.judge

    def verdict(trial: Trial, busy: set[str]) -> Verdict | None:
        found = Judge.verdict(judge, trial, busy)
        return replace(found, outcome=Outcome.KEEP) if found and "missing" in found.reason else found

    judge.verdict = verdict  # type: ignore[method-assign]


def _arbiter_sees_no_trials(world: World) -> None:
    arbiter = _controller(world).kernel.arbiter
    admit = arbiter.admit

    def blind(moves: Any, current: np.ndarray, situation: Situation) -> Admission:
        return admit(moves, current, replace(situation, busy={}, has_baseline=lambda workload: True))

    arbiter.admit = blind  # type: ignore[method-assign]


def _warden_only_beats(world: World) -> None:
    def look() -> None:
        write_in_place(str(world.directory / BEAT), world.clock())

    if world.guard is not None:
        world.guard.look = look  # type: ignore[method-assign]


def _no_lease(world: World) -> None:
    if world.guard is not None:
        world.guard.acting = lambda steps: contextlib.nullcontext()  # type: ignore[method-assign, assignment, return-value]


def _guard_never_objects(world: World) -> None:
    if world.guard is not None:
        world.guard.problem = lambda: None  # type: ignore[method-assign]


def _no_lock(world: World) -> None:
    if world.guard is not None:
        world.guard.let_go()


def _journal_drops(kind: str) -> Prepare:
    def prepare(world: World) -> None:
        append = world.journal.append

        def dropping(record: Any, **named: Any) -> bool:
            return record.get("kind") != kind and append(record, **named)

        world.journal.append = dropping  # type: ignore[method-assign]

    return prepare


def _decides_by_chance(world: World) -> None:
    shield, rng = _controller(world).kernel.shield, np.random.default_rng(0)

    def check(proposed: Any, current: np.ndarray, *rest: Any, **named: Any) -> tuple[np.ndarray, list[Any]]:
        return Shield.check(shield, proposed if rng.random() < 0.5 else current, current, *rest, **named)

    shield.check = check  # type: ignore[method-assign]


def _deaf(world: World) -> None:
    _controller(world).heed = lambda: None


def _no_compare_and_set(world: World) -> None:
    world.host._unchanged_since = lambda actuator: True  # type: ignore[method-assign]


def _tells_what_was_asked(world: World) -> None:
    for actuator in world.host.actuators.used:
        if isinstance(actuator, FileActuator):
            _only_tell(actuator)


def _only_tell(actuator: FileActuator) -> None:
    actuator.apply = lambda values: actuator.read() | dict(values)  # type: ignore[method-assign]


def _policies_may_raise(world: World) -> None:
    proposer = _controller(world).proposer

    def propose(recent: Any, setting: np.ndarray) -> Any:
        for role, policy in proposer.policies.items():
            policy.act(proposer.tasks[role].observe(recent, setting))
        return type(proposer).propose(proposer, recent, setting)

    proposer.propose = propose  # type: ignore[method-assign]


MUTANTS = (
    Mutant("the shield lets everything through", ("reversals_within_budget", "cpu_grants_within_the_host"),
           ("H6", "H8"), _shield_lets_all_through),
    Mutant("the shield exaggerates", ("setting_within_bounds", "steps_within_limit"), ("H6",), _shield_exaggerates),
    Mutant("the shield undoes nothing", ("a_rollback_is_in_force", "pins_are_never_fought"), ("H10", "H15"),
           _shield_undoes_nothing),
    Mutant("the shield never finds a reading missing", ("nothing_taken_while_blind",), ("H1", "H2", "H3"),
           _shield_is_never_blind),
    Mutant("no flap budget", ("reversals_within_budget",), ("H8",),
           config=lambda c: replace(c, shield=replace(c.shield, reversals_per_hour=1e6, reversal_burst=1e6))),
    Mutant("no change is found harmful", ("a_bad_change_is_taken_back_at_once",), ("H10",), _judge_finds_nothing),
    Mutant("missing readings count as good ones", ("no_success_without_data",), ("H1",), _missing_counts_as_good),
    Mutant("the arbiter does not see running trials", ("one_change_of_a_workload_at_a_time",), ("H6", "H21"),
           _arbiter_sees_no_trials),
    Mutant("no number of rollbacks is too many", ("rollbacks_within_budget",), ("H20",),
           config=lambda c: replace(c, rollbacks_per_hour=10**6)),
    Mutant("blindness never ends in a restoration", ("long_blindness_restores_what_was_found",), ("H1",),
           config=lambda c: replace(c, blind_seconds=1e9)),
    Mutant("nothing is yielded to another hand", ("what_others_set_is_left_alone",), ("H9", "H15"),
           config=lambda c: replace(c, yield_seconds=0.0)),
    Mutant("writes without comparing", ("what_others_set_is_left_alone",), ("H9",), _no_compare_and_set),
    Mutant("the warden takes nothing back", ("a_dead_controller_leaves_nothing",), ("H12", "H9"), _warden_only_beats),
    Mutant("no lease", ("lease_before_every_write",), ("H12",), _no_lease),
    Mutant("acts without a warden", ("nothing_new_without_a_warden",), ("H12",), _guard_never_objects),
    Mutant("no lock", ("one_controller_at_a_time",), ("H9",), _no_lock),
    Mutant("no intent in the journal", ("intent_before_every_write",), ("H6",), _journal_drops("intent")),
    Mutant("decisions are not written down", ("the_journal_is_complete",), ("H6",), _journal_drops("decision")),
    Mutant("operators are not heard",
           ("the_kill_switch_holds", "paused_means_no_change", "pins_are_never_fought",
            "only_mode_act_changes_anything"),
           ("H15",), _deaf),
    Mutant("a decision hangs on something that the journal does not hold", ("the_journal_replays_bit_for_bit",),
           ("H6",), _decides_by_chance),
    Mutant("tells what was asked for, not what is in force", ("what_is_reported_is_in_force",), ("H6",),
           _tells_what_was_asked),
    Mutant("a policy's failure ends the period", ("every_period_ends_with_a_decision",), ("H5",), _policies_may_raise),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Whether a mutant was found.

    Attributes:
        mutant: which.
        violated: names of the invariants that did not hold.
    """

    mutant: Mutant
    violated: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether one of those that should have noticed it did."""
        return bool(set(self.mutant.found_by) & set(self.violated))


def try_mutant(mutant: Mutant, *, seed: int = 0, episodes: int = 36) -> Finding:
    """Run the campaign of its hazards against a mutant, until it is found."""
    setup = mutated(mutant)
    found: set[str] = set()
    for number in range(episodes):
        campaign = Campaign(episodes=len(mutant.hazards), seed=seed + number, hazards=mutant.hazards)
        for hazard_rotation in _one_round(campaign, number):
            found |= set(violated(run_campaign(hazard_rotation, setup)))
        if found & set(mutant.found_by):
            break
    return Finding(mutant, tuple(sorted(found)))


def mutated(mutant: Mutant) -> Setup:
    """The reference setup with a broken controller in it."""

    def make(*arguments: Any, config: ControllerConfig, **named: Any) -> Controller:
        changed = config if mutant.config is None else mutant.config(config)
        return Controller(*arguments, config=changed, **named)

    return replace(reference_setup(), controller=make, prepare=mutant.prepare)


def _one_round(campaign: Campaign, number: int) -> list[Campaign]:
    """One episode of each hazard, with the fault whose turn it is."""
    from training.faults.hazards import faults_of

    rounds = []
    for hazard in campaign.hazards:
        own = faults_of(hazard)
        rounds.append(replace(campaign, episodes=1, hazards=(hazard,), fault=own[number % len(own)].name))
    return rounds
