import json

import numpy as np
import pytest

from agents.heuristics.static import StaticPolicy
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role
from envs.task import Task
from training.demands import DemandConfig, load_demands
from training.heuristics import HEURISTICS
from training.references import BEST_STATIC, TUNED, load_references, reference_policies
from training.rollout import rollout
from training.scores import score_rollout
from training.search import SearchConfig, Trial, evolve, run_search, tune

TINY = SearchConfig(population=8, generations=2, periods=30, every_demand=1)


def paraboloid(candidates: np.ndarray) -> np.ndarray:
    return -((candidates - np.array([0.3, -2.0])) ** 2).sum(axis=-1)


def test_evolution_finds_the_top_of_a_paraboloid():
    config = SearchConfig(population=24, generations=40)
    best, score = evolve(paraboloid, {"x": (-1.0, 1.0), "y": (-5.0, 5.0)}, config, lambda best: None)
    assert best == pytest.approx([0.3, -2.0], abs=0.05)
    assert score == pytest.approx(0.0, abs=0.01)


def test_every_search_tries_as_many_candidates_as_its_budget_says():
    tried = []

    def counting(candidates):
        tried.append(len(candidates))
        return np.zeros(len(candidates))

    evolve(counting, {"x": (0.0, 1.0), "y": (0.0, 1.0)}, TINY, lambda best: None)
    assert sum(tried) == TINY.evaluations


def test_the_start_is_one_of_the_candidates():
    start = np.array([0.3, -2.0])
    config = SearchConfig(population=6, generations=0)
    best, _ = evolve(paraboloid, {"x": (-1.0, 1.0), "y": (-5.0, 5.0)}, config, lambda best: None, start=start)
    assert best == pytest.approx(start)


@pytest.fixture(scope="module")
def found(spec, tmp_path_factory):
    out = tmp_path_factory.mktemp("found")
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1, 2), episode_seconds=60.0), 1.0)
    calls = []
    run_search(spec, demands, out, config=TINY, on_progress=lambda *call: calls.append(call))
    return out, calls


def test_what_was_found_is_written_with_how_it_was_found(spec, found):
    out, calls = found
    static, tuned = (json.loads((out / name).read_text()) for name in (BEST_STATIC, TUNED))
    assert static["fingerprint"] == tuned["fingerprint"] == spec.fingerprint
    assert static["evaluations"] == tuned["evaluations"] == TINY.evaluations
    assert set(static["setting"]) == set(spec.knob_names)
    for heuristic in HEURISTICS:
        assert set(tuned[heuristic.name]["parameters"]) == set(heuristic.ranges)
    generations = 3 * (1 + len(HEURISTICS))
    assert [done for done, _, _ in calls] == list(range(1, generations + 1))
    assert calls[-1][1] == generations
    assert calls[-1][2].startswith(HEURISTICS[-1].name)


def test_tuned_is_never_worse_than_published(found):
    tuned = json.loads((found[0] / TUNED).read_text())
    assert all(tuned[h.name]["score"] >= tuned[h.name]["published_score"] - 1e-9 for h in HEURISTICS)


def test_what_was_found_is_within_the_ranges(found):
    tuned = json.loads((found[0] / TUNED).read_text())
    for heuristic in HEURISTICS:
        for name, (low, high) in heuristic.ranges.items():
            assert low <= tuned[heuristic.name]["parameters"][name] <= high


def test_what_was_found_is_read_again(spec, found):
    references = load_references(spec, found[0])
    static = json.loads((found[0] / BEST_STATIC).read_text())
    assert references.best_static.tolist() == list(static["setting"].values())
    assert references.best_static[:3].sum() <= spec.cores + 1e-9
    assert set(references.parameters) == {heuristic.name for heuristic in HEURISTICS}
    names = {"static", "best_static"} | {heuristic.name for heuristic in HEURISTICS}
    assert set(reference_policies(spec, references)) == names


def test_what_was_found_for_another_spec_is_not_used(spec, found):
    other = spec.model_copy(update={"window_periods": 9})
    references = load_references(other, found[0])
    assert references.best_static.tolist() == spec.default_setting.tolist()
    assert references.parameters == {}


def test_one_of_so_many_demands_is_played(spec):
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1, 2, 3), episode_seconds=60.0), 1.0)
    config = SearchConfig(population=8, generations=0, periods=5, every_demand=2)
    result = run_search(spec, demands, None, config=config, heuristics=HEURISTICS[:1])
    assert result["best_static"]["demands"] == [demands[0].name, demands[2].name]


@pytest.mark.parametrize("heuristic", HEURISTICS, ids=lambda heuristic: heuristic.name)
def test_a_candidate_scores_the_same_alone_and_in_a_generation(spec, heuristic):
    demands = load_demands(DemandConfig(families=("smd", "servegen"), seeds=(1,), episode_seconds=60.0), 1.0)
    score = Trial(spec, demands, TINY).of(heuristic, spec.default_setting)
    low, high = np.array(list(heuristic.ranges.values())).T
    candidates = np.stack([low, heuristic.start, high])
    together = score(candidates)
    assert together == pytest.approx([float(score(one[None])[0]) for one in candidates], abs=1e-3)


def test_the_score_of_a_static_setting_is_its_mean_reward(spec):
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1, 2), episode_seconds=60.0), 1.0)
    trial = Trial(spec, demands, TINY)
    plant = SimulatedPlant(spec, demands, n=2, randomize=True, peak_share=TINY.peak_share)
    plant.reset(seed=np.arange(2), demand_indices=np.arange(2))
    held = {role: StaticPolicy(Task(spec, role), spec.default_setting) for role in Role}
    played = rollout(plant, held, TINY.periods)
    expected = score_rollout(spec, played).reward.mean()
    assert trial.statics(trial.default[None])[0] == pytest.approx(expected, rel=1e-9)


def test_tuning_says_what_it_took(spec):
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1,), episode_seconds=60.0), 1.0)
    trial = Trial(spec, demands, SearchConfig(population=6, generations=1, periods=20))
    bests = []
    result = tune(HEURISTICS[0], trial, spec.default_setting, bests.append)
    assert set(result) == {"score", "published_score", "seconds", "parameters"}
    assert len(bests) == 2
    assert result["score"] == pytest.approx(max(bests))
