import json

import pytest

from training.candidates import CandidateScorer
from training.demands import DemandConfig, load_demands
from training.heuristics import HEURISTICS
from training.references import BEST_STATIC, TUNED, load_references, reference_policies
from training.search import SearchConfig, run_search, tune

TINY = SearchConfig(population=8, generations=2, static_generations=3, periods=30, every_demand=1)


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
    assert (static["evaluations"], tuned["evaluations"]) == (8 * 4, 8 * 3)
    assert set(static["setting"]) == set(spec.knob_names)
    for heuristic in HEURISTICS:
        assert set(tuned[heuristic.name]["parameters"]) == set(heuristic.ranges)
        assert set(tuned[heuristic.name]["setting"]) == set(spec.knob_names)
    generations = 4 + 3 * len(HEURISTICS)
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
    assert set(references.parameters) == set(references.settings) == {heuristic.name for heuristic in HEURISTICS}
    tuned = json.loads((found[0] / TUNED).read_text())
    assert references.settings["hpa"].tolist() == list(tuned["hpa"]["setting"].values())
    names = {"static", "best_static"} | {heuristic.name for heuristic in HEURISTICS}
    assert set(reference_policies(spec, references)) == names


def test_what_was_found_for_another_spec_is_not_used(spec, found):
    other = spec.model_copy(update={"window_periods": 9})
    references = load_references(other, found[0])
    assert references.best_static.tolist() == spec.default_setting.tolist()
    assert references.parameters == {}


def test_one_of_so_many_demands_is_played(spec):
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1, 2, 3), episode_seconds=60.0), 1.0)
    config = SearchConfig(population=12, generations=0, static_generations=0, periods=5, every_demand=2)
    result = run_search(spec, demands, None, config=config, heuristics=HEURISTICS[:1])
    assert result["best_static"]["demands"] == [demands[0].name, demands[2].name]


def test_tuning_says_what_it_took(spec):
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1,), episode_seconds=60.0), 1.0)
    scorer = CandidateScorer(spec, demands, SearchConfig(population=6, generations=1, periods=20))
    bests = []
    result = tune(HEURISTICS[0], scorer, scorer.default, bests.append)
    assert set(result) == {"score", "published_score", "seconds", "parameters", "setting"}
    assert len(bests) == 2
    assert result["score"] == pytest.approx(max(bests))
