import json

import numpy as np
import pytest

from training.demands import DemandConfig, load_demands
from training.references import BEST_STATIC, HEURISTICS, load_references, reference_policies
from training.search import AIMD_BOUNDS, THRESHOLD_BOUNDS, SearchConfig, evolve, run_search

TINY = SearchConfig(population=8, generations=2, periods=30)


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
    static, heuristics = (json.loads((out / name).read_text()) for name in (BEST_STATIC, HEURISTICS))
    assert static["fingerprint"] == heuristics["fingerprint"] == spec.fingerprint
    assert static["evaluations"] == TINY.evaluations
    assert set(static["setting"]) == set(spec.knob_names)
    assert set(heuristics["threshold"]["parameters"]) == set(THRESHOLD_BOUNDS)
    assert set(heuristics["aimd"]["parameters"]) == set(AIMD_BOUNDS)
    assert set(heuristics["aimd+batch"]["parameters"]) == {*AIMD_BOUNDS, "increase_batch", "decrease_batch"}
    assert [done for done, _, _ in calls] == list(range(1, 13))
    assert calls[-1][1] == 12


def test_what_was_found_is_read_again(spec, found):
    references = load_references(spec, found[0])
    static = json.loads((found[0] / BEST_STATIC).read_text())
    assert references.best_static.tolist() == list(static["setting"].values())
    assert references.best_static[:3].sum() <= spec.cores + 1e-9
    assert set(reference_policies(spec, references)) == {"static", "best_static", "threshold", "aimd", "aimd+batch"}


def test_what_was_found_for_another_spec_is_not_used(spec, found):
    other = spec.model_copy(update={"window_periods": 9})
    assert load_references(other, found[0]).best_static.tolist() == spec.default_setting.tolist()
