"""Controllers that are broken on purpose: the campaign must find each of them, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from controller.config import ControllerConfig
from controller.loop import Controller
from training.faults import breakages
from training.faults.campaign import Campaign, run_campaign, violated
from training.faults.hazards import faults_of
from training.faults.world import Setup, reference_setup


@dataclass(frozen=True)
class Mutant:
    """One way to break the controller.

    Attributes:
        title: one line.
        found_by: invariants of which at least one must be violated.
        hazards: under which it shows.
        faults: of those, the ones that show it soonest; empty for all.
        prepare: breaks a world's controller.
        config: changes the limits of the controller behind the monitors' back.
    """

    title: str
    found_by: tuple[str, ...]
    hazards: tuple[str, ...]
    prepare: breakages.Prepare = lambda world: None
    faults: tuple[str, ...] = ()
    config: Callable[[ControllerConfig], ControllerConfig] | None = None


MUTANTS = (
    Mutant(
        "the shield lets everything through",
        ("reversals_within_budget", "cpu_grants_within_the_host"),
        ("H6", "H8"),
        breakages.shield_lets_all_through,
        faults=("policy_oscillates", "policy_is_random"),
    ),
    Mutant(
        "the shield exaggerates", ("setting_within_bounds", "steps_within_limit"), ("H6",), breakages.shield_exaggerates
    ),
    Mutant(
        "the shield undoes nothing",
        ("a_rollback_is_in_force", "pins_are_never_fought"),
        ("H10", "H15"),
        breakages.shield_undoes_nothing,
        faults=("tuning_breaks_an_slo", "operator_pins"),
    ),
    Mutant(
        "a missing reading counts as zero",
        ("nothing_taken_while_blind",),
        ("H1", "H2", "H3"),
        breakages.missing_counts_as_zero,
        faults=("one_reading_missing", "not_a_number", "component_killed"),
    ),
    Mutant(
        "no flap budget",
        ("reversals_within_budget",),
        ("H8",),
        config=lambda c: replace(c, shield=replace(c.shield, reversals_per_hour=1e6, reversal_burst=1e6)),
        faults=("policy_oscillates",),
    ),
    Mutant(
        "no change is found harmful",
        ("a_bad_change_is_taken_back_at_once",),
        ("H10",),
        breakages.judge_finds_nothing,
        faults=("tuning_breaks_an_slo",),
    ),
    Mutant(
        "missing readings count as good ones",
        ("no_success_without_data",),
        ("H1",),
        breakages.missing_counts_as_good,
        faults=("readings_missing_at_random", "one_reading_missing"),
    ),
    Mutant(
        "the arbiter does not see running trials",
        ("one_change_of_a_workload_at_a_time",),
        ("H6", "H21"),
        breakages.arbiter_sees_no_trials,
    ),
    Mutant(
        "no number of rollbacks is too many",
        ("rollbacks_within_budget",),
        ("H20",),
        config=lambda c: replace(c, rollbacks_per_hour=10**6),
    ),
    Mutant(
        "blindness never ends in a restoration",
        ("long_blindness_restores_what_was_found",),
        ("H1",),
        config=lambda c: replace(c, blind_seconds=1e9),
        faults=("all_readings_missing",),
    ),
    Mutant(
        "nothing is yielded to another hand",
        ("what_others_set_is_left_alone",),
        ("H9", "H15"),
        config=lambda c: replace(c, yield_seconds=0.0),
        faults=("second_writer_fights", "operator_edits"),
    ),
    Mutant(
        "writes without comparing",
        ("what_others_set_is_left_alone",),
        ("H9",),
        breakages.no_compare_and_set,
        faults=("second_writer_fights", "second_writer"),
    ),
    Mutant(
        "does not see who sets what is in force already",
        ("what_others_set_is_left_alone",),
        ("H9",),
        breakages.compares_values_alone,
        faults=("second_writer_agrees",),
    ),
    Mutant(
        "the warden takes nothing back",
        ("a_dead_controller_leaves_nothing",),
        ("H12", "H9"),
        breakages.warden_only_beats,
    ),
    Mutant("no lease", ("lease_before_every_write",), ("H12",), breakages.no_lease),
    Mutant(
        "acts without a warden",
        ("nothing_new_without_a_warden",),
        ("H12",),
        breakages.guard_never_objects,
        faults=("warden_killed_for_good",),
    ),
    Mutant("no lock", ("one_controller_at_a_time",), ("H9",), breakages.no_lock, faults=("second_controller",)),
    Mutant(
        "everybody is let in",
        ("the_face_obeys_nobody_without_a_token",),
        ("H19",),
        breakages.face_is_open,
        faults=("attack_over_http",),
    ),
    Mutant("no intent in the journal", ("intent_before_every_write",), ("H6",), breakages.journal_drops("intent")),
    Mutant(
        "decisions are not written down", ("the_journal_is_complete",), ("H6",), breakages.journal_drops("decision")
    ),
    Mutant(
        "operators are not heard",
        ("the_kill_switch_holds", "paused_means_no_change", "pins_are_never_fought", "nothing_goes_beyond_the_modes"),
        ("H15",),
        breakages.deaf,
    ),
    Mutant(
        "workloads have no mode of their own",
        ("nothing_goes_beyond_the_modes",),
        ("H15",),
        breakages.modes_of_workloads_are_nothing,
        faults=("operator_switches_modes_of_workloads",),
    ),
    Mutant(
        "a decision hangs on something that the journal does not hold",
        ("the_journal_replays_bit_for_bit",),
        ("H6",),
        breakages.decides_by_chance,
    ),
    Mutant(
        "tells what was asked for, not what is in force",
        ("what_is_reported_is_in_force",),
        ("H6",),
        breakages.tells_what_was_asked,
    ),
    Mutant(
        "a policy's failure ends the period",
        ("every_period_ends_with_a_decision",),
        ("H5",),
        breakages.policies_may_raise,
    ),
)


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


def try_mutant(mutant: Mutant, *, seed: int = 0, rounds: int = 20) -> Finding:
    """Run the campaign of its hazards against a mutant, until it is found.

    Args:
        mutant: to be found.
        seed: of the first episode.
        rounds: at most so many episodes of each hazard.
    """
    setup, found = mutated(mutant), set()
    for number in range(rounds):
        for hazard in mutant.hazards:
            own = [one.name for one in faults_of(hazard) if not mutant.faults or one.name in mutant.faults]
            campaign = Campaign(1, seed + number, (hazard,), fault=own[number % len(own)])
            found |= set(violated(run_campaign(campaign, setup)))
        if found & set(mutant.found_by):
            break
    return Finding(mutant, tuple(sorted(found)))


def mutated(mutant: Mutant) -> Setup:
    """The reference setup with a broken controller in it."""

    def make(*arguments: Any, config: ControllerConfig, **named: Any) -> Controller:
        changed = config if mutant.config is None else mutant.config(config)
        return Controller(*arguments, config=changed, **named)

    return replace(reference_setup(), controller=make, prepare=mutant.prepare)
