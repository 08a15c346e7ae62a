"""Two faults at once: which ones, drawn how, with which configuration."""

from __future__ import annotations

import pytest

from controller.config import ControllerConfig
from training.faults.campaign import Campaign, CampaignError, as_json, plan, quiet, run_campaign, run_episode
from training.faults.hazards import HAZARDS, Fault, faults_of
from training.faults.pairs import drawn_partner, fault_named, is_paired, paired
from training.faults.world import World, reference_setup

ALL = {fault.name: fault for hazard in HAZARDS for fault in faults_of(hazard)}


def test_a_pair_lets_both_faults_happen() -> None:
    happened: list[str] = []

    def told(name: str) -> Fault:
        return Fault(name.upper(), name, name, lambda world: happened.append(name))

    with quiet():
        outcome = run_episode(reference_setup(), paired(told("h1"), told("h2")), seed=3, periods=2)
    assert happened == ["h1", "h2"]
    assert (outcome.pairs, dict(outcome.episodes)) == (1, {"H1": 1})


def test_the_second_fault_is_of_another_hazard_and_the_same_for_the_same_seed() -> None:
    first = ALL["actuator_fails"]
    partners = [drawn_partner(first, seed) for seed in range(50)]
    assert "H7" not in {partner.hazard for partner in partners}
    assert len({partner.name for partner in partners}) > 20
    assert partners == [drawn_partner(first, seed) for seed in range(50)]


def test_a_pair_has_what_either_fault_sets_of_the_configuration() -> None:
    few_reversals, few_rollbacks, blind = (
        ALL["policy_oscillates"],
        ALL["every_change_looks_bad"],
        ALL["one_reading_missing"],
    )
    for one in (paired(few_reversals, few_rollbacks), paired(few_rollbacks, few_reversals)):
        assert one.config is not None
        assert (one.config.shield.reversal_burst, one.config.rollbacks_per_hour) == (2.0, 4)
        assert one.config.blind_seconds == ControllerConfig().blind_seconds
    assert paired(blind, blind).config is None
    assert paired(blind, few_rollbacks).config == few_rollbacks.config


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (1.0, 400, 400), (1.0 / 3.0, 100, 170)])
def test_the_share_of_pairs_is_as_asked_for(share: float, least: int, most: int) -> None:
    assert least <= sum(is_paired(seed, share) for seed in range(400)) <= most


def test_a_pair_is_found_by_its_two_names() -> None:
    found = fault_named("actuator_fails+second_writer", tuple(HAZARDS))
    assert found is not None
    assert (found.hazard, found.name) == ("H7+H9", "actuator_fails+second_writer")
    assert fault_named("actuator_fails+nothing", tuple(HAZARDS)) is None
    assert fault_named("actuator_fails+second_writer", ("H7",)) is None


def test_a_pair_that_is_named_is_the_one_that_was_drawn() -> None:
    drawn = Campaign(episodes=1, seed=8, hazards=("H12",), pairs=1.0)
    fault, seed = plan(drawn)[0]
    named = Campaign(episodes=1, seed=seed, hazards=tuple(fault.hazard.split("+")), fault=fault.name)
    first, second = (as_json(run_campaign(campaign)) for campaign in (drawn, named))
    assert first["pairs"] == 1
    assert {**first, "own_cpu_ratio": 0} == {**second, "own_cpu_ratio": 0}


def test_three_faults_at_once_are_refused() -> None:
    with pytest.raises(CampaignError, match=r"no fault 'actuator_fails\+actuator_fails\+actuator_fails'"):
        plan(Campaign(1, fault="actuator_fails+actuator_fails+actuator_fails"))


def test_a_fault_draws_the_same_alone_and_as_the_first_of_two() -> None:
    spells: list[range] = []

    def note(world: World) -> None:
        spells.append(world.spell())

    one, two = Fault("H1", "one", "", note), Fault("H2", "two", "", lambda world: None)
    for fault in (one, paired(one, two)):
        run_episode(reference_setup(), fault, seed=5, periods=1)
    assert spells[0] == spells[1]
