import io
import json

import pytest
from rich.console import Console

from agents.heuristics.static import StaticPolicy
from envs.spec import Role
from envs.task import Task
from training.demands import DemandConfig, load_demands
from training.evaluate import EvaluationConfig, evaluation_table, run_evaluate, summary_table

ROW_KEYS = {
    "policy", "trace", "seed_count", "efficiency", "efficiency_ci", "slo_attainment", "reserved", "used", "changes",
    "flaps",
}  # fmt: skip
LINE_KEYS = {"name", "efficiency_gain", "efficiency_gain_ci", "reserved_saving", "slo_attainment_delta"}


def held(spec, **knobs):
    setting = spec.default_setting
    for name, value in ({"serving_threads": 1, "training_threads": 1} | knobs).items():
        setting[spec.knob_index(name)] = value
    return {role: StaticPolicy(Task(spec, role), setting) for role in Role}


@pytest.fixture(scope="module")
def result(spec):
    demands = load_demands(DemandConfig(families=("smd", "servegen"), seeds=(5,), episode_seconds=60.0), 1.0)
    policies = {
        "static": held(spec),
        "best_static": held(spec),  # equal by construction
        "threshold": held(spec, ingest_cpu_cores=0.55),  # reserves more for nothing
        "ppo": held(spec, ingest_cpu_cores=0.2),  # the same work for less
    }
    return run_evaluate(
        spec, policies, demands, config=EvaluationConfig(seeds=(0, 1, 2), episode_seconds=60.0, peak_share=0.3)
    )


def test_keys_are_the_stable_ones_and_everything_is_json(result):
    assert len(result["rows"]) == 4 * 2
    assert all(set(row) >= ROW_KEYS for row in result["rows"])
    assert {"vs_static", "vs_best_static", "vs_best_heuristic", "vs_threshold"} == set(result["summary"])
    assert all(set(line) >= LINE_KEYS for line in result["summary"].values())
    assert json.loads(json.dumps(result)) == result


def test_the_policy_that_all_are_relative_to_has_efficiency_one(result):
    assert [row["efficiency"] for row in result["rows"] if row["policy"] == "static"] == pytest.approx([1.0, 1.0])


def test_a_policy_that_is_better_by_construction_wins(result):
    line = result["summary"]["vs_static"]
    assert line["efficiency_gain_ci"][0] > 0.0
    assert line["efficiency_gain"] > 0.0


def test_an_equal_policy_ties(spec, result):
    demands = load_demands(DemandConfig(families=("smd",), seeds=(5,), episode_seconds=60.0), 1.0)
    policies = {"static": held(spec), "ppo": held(spec)}
    tie = run_evaluate(spec, policies, demands, config=EvaluationConfig(seeds=(0, 1), episode_seconds=60.0))
    line = tie["summary"]["vs_static"]
    assert line["efficiency_gain_ci"] == [0.0, 0.0]
    assert line["counts"] is True


def test_the_verdict_is_shown_for_each_weight_halved_and_doubled(result):
    assert len(result["weights"]) == 14
    assert all(set(gains) == set(result["summary"]) for gains in result["weights"].values())
    plain = result["summary"]["vs_static"]["efficiency_gain"]
    assert any(abs(gains["vs_static"] - plain) > 1e-3 for gains in result["weights"].values())


def test_the_same_evaluation_gives_the_same_figures(spec):
    demands = load_demands(DemandConfig(families=("smd",), seeds=(5,), episode_seconds=30.0), 1.0)
    config = EvaluationConfig(seeds=(0,), episode_seconds=30.0)
    first, again = (run_evaluate(spec, {"static": held(spec)}, demands, config=config) for _ in range(2))
    assert first == again


def test_tables_name_every_policy_and_reference(result):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(evaluation_table(result))
    console.print(summary_table(result))
    text = console.export_text()
    for word in ("static", "best_static", "threshold", "ppo", "vs_best_heuristic"):
        assert word in text


@pytest.mark.parametrize("policies", [{}, {"ppo": {}}])
def test_an_evaluation_without_static_default_is_refused(spec, policies):
    with pytest.raises(ValueError, match="static"):
        run_evaluate(spec, policies, load_demands(DemandConfig(families=("smd",), seeds=(5,)), 1.0))
