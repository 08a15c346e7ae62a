import numpy as np
import pytest

from controller.competence import Competence, CompetenceConfig

CONFIG = CompetenceConfig(holdout_share=0.3, turn_periods=10, settle_periods=2)


def lived(competence, policy, fallback, periods, begin=0, noise=0.05, seed=0):
    """Share of the periods in which the fallback acted."""
    rng, relieved = np.random.default_rng(seed), 0
    for now in range(begin, begin + periods):
        acts = bool(competence.relieved(float(now)))
        relieved += acts
        competence.observe((fallback if acts else policy) + noise * rng.normal(), float(now))
    return relieved / periods


@pytest.mark.clause("D8")
def test_a_policy_that_is_worse_than_its_fallback_is_relieved():
    competence = Competence(CONFIG)
    lived(competence, 1.0, 2.0, 600)
    assert "worse than its fallback" in competence.relieved(300.0)


@pytest.mark.clause("D8")
@pytest.mark.parametrize("seed", range(5))
def test_a_policy_as_good_as_its_fallback_stays_in_charge(seed):
    share = lived(Competence(CONFIG, seed), 1.0, 1.0, 5000, seed=seed)
    assert 0.1 < share < 0.3


@pytest.mark.clause("D8")
def test_a_policy_that_was_relieved_is_tried_again_later_and_later():
    competence, ends = Competence(CONFIG), []
    last = False
    for now in range(6000):
        out = "worse" in competence.relieved(float(now))
        if last and not out:
            ends.append(now)
        last = out
        competence.observe(2.0 if competence.relieved(float(now)) else 1.0 + 0.01 * (now % 3), float(now))
    assert len(ends) >= 2
    assert ends[1] - ends[0] > 1200


def test_by_default_nothing_is_compared():
    assert lived(Competence(CompetenceConfig()), 0.0, 1.0, 500) == 0.0


def test_missing_scores_are_left_out():
    competence = Competence(CONFIG)
    lived(competence, float("nan"), 1.0, 2000)
    assert competence.advantages == []


@pytest.mark.clause("D8")
def test_the_fallback_acts_where_the_policies_are_relieved(controller, policy, fallback, allocator, plant, spec):
    policy.wanted, fallback.wanted = {"serving_batch_size": 16}, {"serving_batch_size": 32}
    controller.competence.relieved = lambda now: "worse than its fallback"
    decision = controller.step()
    assert set(decision.policies.values()) == {"fallback"}
    assert plant.setting[spec.knob_index("serving_batch_size")] == 32
    assert any("worse than its fallback" in refusal.detail for refusal in decision.reasons)
