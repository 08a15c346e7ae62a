"""The campaign finds nothing in the controller as it is, is repeatable, and says how to see a violation again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.faults.campaign import Campaign, CampaignError, Outcome, as_json, plan, quiet, run_campaign, run_episode
from training.faults.hazards import HAZARDS, Fault, faults_of
from training.faults.mutants import MUTANTS, mutated
from training.faults.pairs import fault_named
from training.faults.world import reference_setup

ALL = [fault for hazard in HAZARDS for fault in faults_of(hazard)]
FOUND_ONCE = [
    ("actuator_sets_another_value", 90270),
    ("second_writer+component_killed", 804),
    ("second_writer+host_restarted", 832),
    ("host_suspended+own_cost_under_churn", 402),
    ("warden_killed+old_leader_wakes", 130165),
    ("tuning_breaks_an_slo+all_zero", 130273),
    ("torn_journal+second_writer_fights", 130324),
    ("operator_edits+operator_takes_everything_back", 130542),
    ("second_controller+killed_between_periods", 151988),
    ("tuning_breaks_an_slo+load_at_the_loops_period", 104),
    ("policy_takes_everything", 160093),
    ("load_rises_after_a_taking", 161087),
]
"""Faults and seeds of violations that longer campaigns found."""


def broken(outcome: Outcome) -> list[str]:
    """What an episode broke, besides the promise about our own CPU: on a busy host that is the host's doing."""
    return [str(one) for one in outcome.violations if one.invariant != "own_cpu_within_one_percent"]


@pytest.mark.parametrize("fault", ALL, ids=[f"{fault.hazard}-{fault.name}" for fault in ALL])
def test_no_invariant_breaks_whatever_goes_wrong(fault: Fault) -> None:
    with quiet():
        outcome = run_episode(reference_setup(), fault, seed=11)
    assert broken(outcome) == []


@pytest.mark.parametrize(("name", "seed"), FOUND_ONCE, ids=[f"{name}-{seed}" for name, seed in FOUND_ONCE])
def test_what_a_campaign_once_found_stays_mended(name: str, seed: int) -> None:
    fault = fault_named(name, tuple(HAZARDS))
    assert fault is not None
    with quiet():
        outcome = run_episode(reference_setup(), fault, seed)
    assert broken(outcome) == []


def test_every_hazard_of_the_contract_has_a_fault() -> None:
    assert [hazard for hazard in HAZARDS if not faults_of(hazard)] == []
    assert list(HAZARDS) == [f"H{number}" for number in range(1, 23)]


def test_names_of_faults_are_used_once() -> None:
    names = [fault.name for fault in ALL]
    assert len(set(names)) == len(names)


def test_the_same_seed_gives_the_same_episode() -> None:
    campaign = Campaign(episodes=2, seed=3, hazards=("H3", "H12"))
    first, second = (as_json(run_campaign(campaign)) for _ in range(2))
    assert {**first, "own_cpu_ratio": 0} == {**second, "own_cpu_ratio": 0}


def test_hazards_and_their_faults_take_turns() -> None:
    episodes = plan(Campaign(episodes=2 * len(HAZARDS), pairs=0.0))
    assert [fault.hazard for fault, _ in episodes] == 2 * list(HAZARDS)
    assert [seed for _, seed in episodes] == list(range(2 * len(HAZARDS)))


def test_a_violation_tells_how_to_see_it_again() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.title == "no lease")
    outcome = run_campaign(Campaign(episodes=1, seed=5, hazards=("H12",), pairs=0.0), mutated(mutant))
    violation = next(one for one in outcome.violations if one.invariant == "lease_before_every_write")
    assert violation.reproduce == (
        f"trimtab bench faults --hazards H12 --fault {violation.fault} --seed {violation.seed} --episodes 1"
    )
    again = Campaign(episodes=1, seed=violation.seed, hazards=("H12",), fault=violation.fault)
    assert replace(violation) in run_campaign(again, mutated(mutant)).violations


@pytest.mark.parametrize("campaign", [Campaign(1, hazards=("H99",)), Campaign(1, hazards=("H1",), fault="no_such")])
def test_an_unknown_hazard_or_fault_is_refused(campaign: Campaign) -> None:
    with pytest.raises(CampaignError, match=r"no (hazard|fault) '(H99|no_such)'"):
        plan(campaign)
