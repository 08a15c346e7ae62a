import numpy as np
import pytest

from agents.heuristics.static import StaticPolicy
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role
from envs.task import Task
from training.candidates import CandidateScorer
from training.demands import DemandConfig, load_demands
from training.evolution import SearchConfig
from training.heuristics import HEURISTICS
from training.rollout import rollout
from training.scores import price, score_rollout, useful_work

CONFIG = SearchConfig(periods=30)


@pytest.mark.parametrize("heuristic", HEURISTICS, ids=lambda heuristic: heuristic.name)
def test_a_candidate_scores_the_same_alone_and_in_a_generation(spec, heuristic):
    demands = load_demands(DemandConfig(families=("smd", "servegen"), seeds=(1,), episode_seconds=60.0), 1.0)
    scorer = CandidateScorer(spec, demands, CONFIG)
    score = scorer.of(heuristic)
    own = np.stack([heuristic.start, -0.9 * np.ones_like(heuristic.start), 0.9 * np.ones_like(heuristic.start)])
    settings = np.stack([scorer.default, -0.5 * scorer.default, 0.5 * scorer.default])
    candidates = np.concatenate([own, settings], axis=1)
    together = score(candidates)
    assert together == pytest.approx([float(score(one[None])[0]) for one in candidates], abs=1e-3)


def test_the_score_of_a_static_setting_is_its_mean_reward(spec):
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1, 2), episode_seconds=60.0), 1.0)
    scorer = CandidateScorer(spec, demands, CONFIG)
    plant = SimulatedPlant(spec, demands, n=2, randomize=True, peak_share=CONFIG.peak_share)
    plant.reset(seed=np.arange(2), demand_indices=np.arange(2))
    held = {role: StaticPolicy(Task(spec, role), spec.default_setting) for role in Role}
    played = rollout(plant, held, CONFIG.periods)
    expected = score_rollout(spec, played).reward.mean()
    assert scorer.statics(scorer.default[None])[0] == pytest.approx(expected, rel=1e-9)


def test_trade_offs_are_useful_work_price_and_slo_attainment_of_each_candidate(spec):
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1, 2), episode_seconds=60.0), 1.0)
    scorer = CandidateScorer(spec, demands, CONFIG)
    candidates = np.stack([scorer.default, -0.5 * scorer.default])
    together = scorer.trade_offs(scorer.policies(candidates), 2)
    held = {role: StaticPolicy(Task(spec, role), spec.default_setting) for role in Role}
    plant = SimulatedPlant(spec, demands, n=2, randomize=True, peak_share=CONFIG.peak_share)
    plant.reset(seed=np.arange(2), demand_indices=np.arange(2))
    scores = score_rollout(spec, rollout(plant, held, CONFIG.periods))
    expected = [useful_work(spec, scores), price(spec, scores.reserved), scores.slo_attainment]
    assert together[0] == pytest.approx([figure.mean() for figure in expected])
    assert together[1] != pytest.approx(together[0])


def test_a_named_setting_becomes_the_candidate_again(spec):
    scorer = CandidateScorer(spec, load_demands(DemandConfig(families=("smd",), seeds=(1,)), 1.0), CONFIG)
    assert scorer.scaled(scorer.named(scorer.default)) == pytest.approx(scorer.default)
