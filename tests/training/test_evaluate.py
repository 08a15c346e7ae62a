import json

import pytest

from agents.heuristics.static import StaticPolicy
from agents.oracle import OracleConfig, OraclePolicy
from envs.spec import Role
from envs.task import JOINT, Task
from training.demands import DemandConfig, load_demands
from training.evaluate import Contestant, EvaluationConfig, EvaluationError, run_evaluate

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


def planner(spec):
    config = OracleConfig(candidates=4, rounds=1, elite=2)
    known = spec.default_setting[None]
    return lambda plant: {JOINT: OraclePolicy(Task(spec, JOINT), plant, known, config)}


def demands(*families):
    return load_demands(DemandConfig(families=families, seeds=(5,), episode_seconds=60.0), 1.0)


@pytest.fixture(scope="module")
def result(spec):
    contestants = {
        "static": Contestant("static", (held(spec),)),
        "best_static": Contestant("static", (held(spec),), obtained_seconds=7.0),  # equal by construction
        "threshold": Contestant("rule", (held(spec, ingest_cpu_cores=0.55),)),  # reserves more for nothing
        "frugal": Contestant("search", (held(spec, ingest_cpu_cores=0.2),)),  # better than the rule, but no rule
        "oracle": Contestant("oracle", (held(spec, ingest_cpu_cores=0.18),)),
        "ppo": Contestant(
            "learned", tuple(held(spec, ingest_cpu_cores=cores) for cores in (0.2, 0.21))
        ),  # the same work for less
    }
    config = EvaluationConfig(seeds=(0, 1, 2), episode_seconds=60.0, peak_share=0.3)
    return run_evaluate(spec, contestants, demands("smd", "servegen"), config=config)


def test_keys_are_the_stable_ones_and_everything_is_json(result):
    assert len(result["rows"]) == 6 * 2
    assert all(set(row) >= ROW_KEYS for row in result["rows"])
    assert {"vs_static", "vs_best_static", "vs_best_heuristic", "vs_oracle", "vs_threshold"} <= set(result["summary"])
    assert all(set(line) >= LINE_KEYS for line in result["summary"].values())
    assert "share_of_gain" in result["summary"]["vs_oracle"]
    assert json.loads(json.dumps(result)) == result


def test_the_policy_that_all_are_relative_to_has_efficiency_one(result):
    assert [row["efficiency"] for row in result["rows"] if row["policy"] == "static"] == pytest.approx([1.0, 1.0])


def test_a_policy_that_is_better_by_construction_wins(result):
    line = result["summary"]["vs_static"]
    assert line["efficiency_gain_ci"][0] > 0.0
    assert line["efficiency_gain"] > 0.0
    assert result["aggregate"]["probability_of_improvement"]["static"]["probability"] == 1.0
    assert result["rank"].index("ppo") < result["rank"].index("best_static") < result["rank"].index("threshold")


def test_an_equal_policy_ties(spec):
    contestants = {name: Contestant("static", (held(spec),)) for name in ("static", "ppo")}
    config = EvaluationConfig(seeds=(0, 1), episode_seconds=60.0)
    tie = run_evaluate(spec, contestants, demands("smd"), config=config)
    line = tie["summary"]["vs_static"]
    assert line["efficiency_gain_ci"] == [0.0, 0.0]
    assert line["counts"] is True
    assert line["intervals_overlap"] is True
    assert tie["aggregate"]["probability_of_improvement"]["static"] == {"probability": 0.5, "ci": [0.5, 0.5]}


def test_every_training_seed_counts_in_the_rows(result):
    row = next(row for row in result["policies"] if row["policy"] == "ppo")
    assert row["training_seed_count"] == 2
    assert row["reserved_by_resource"]["cpu_cores"] == pytest.approx(0.5 + 0.5 + 0.205, abs=1e-3)


def test_what_a_search_found_is_compared_with_but_is_no_heuristic(result):
    assert result["summary"]["vs_best_heuristic"]["name"] == "threshold"
    assert result["summary"]["vs_frugal"]["efficiency_gain"] < 0.01
    assert result["summary"]["vs_best_by_efficiency_at_slo"]["name"] == "frugal"


def test_headroom_tells_how_much_of_the_oracles_lead_is_had(result):
    headroom = result["headroom"]["efficiency"]
    assert result["headroom"]["over"] == "threshold"
    assert headroom["lead"] > 0.0
    assert 0.5 < headroom["share_ci"][0] <= headroom["share"] <= headroom["share_ci"][1] < 1.0


def test_time_to_obtain_a_policy_stands_in_its_rows(result):
    spent = {row["policy"]: row["obtained_seconds"] for row in result["policies"]}
    assert (spent["best_static"], spent["ppo"]) == (7.0, None)


def test_the_verdict_is_shown_for_each_weight_halved_and_doubled(result):
    assert len(result["weights"]) == 14
    assert all(set(gains) == set(result["summary"]) for gains in result["weights"].values())
    plain = result["summary"]["vs_static"]["efficiency_gain"]
    assert any(abs(gains["vs_static"] - plain) > 1e-3 for gains in result["weights"].values())


def test_an_episode_does_not_depend_on_the_others_of_its_evaluation(spec):
    contestants = {"static": Contestant("static", (held(spec),))}
    both, one = (
        run_evaluate(spec, contestants, demands("smd"), config=EvaluationConfig(seeds=seeds, episode_seconds=30.0))
        for seeds in ((3, 4), (4,))
    )
    alone = run_evaluate(spec, contestants, demands("smd"), config=EvaluationConfig(seeds=(3,), episode_seconds=30.0))
    rewards = [run["policies"][0]["reward"] for run in (alone, one)]
    assert both["policies"][0]["reward"] == pytest.approx(sum(rewards) / 2, rel=1e-12)


def test_the_same_evaluation_gives_the_same_figures(spec):
    config = EvaluationConfig(seeds=(0,), episode_seconds=30.0)
    contestants = {"static": Contestant("static", (held(spec),))}
    first, again = (run_evaluate(spec, contestants, demands("smd"), config=config) for _ in range(2))
    assert first == again


def test_an_oracle_passed_off_as_a_policy_is_refused(spec):
    contestants = {"static": Contestant("static", (held(spec),)), "ppo": Contestant("learned", (planner(spec),))}
    with pytest.raises(EvaluationError, match="still to come"):
        run_evaluate(spec, contestants, demands("smd"), config=EvaluationConfig(seeds=(0,), episode_seconds=30.0))


def test_a_reference_that_knows_the_future_is_flagged_and_left_out_of_the_ranking(spec):
    contestants = {
        "static": Contestant("static", (held(spec),)),
        "prophet": Contestant("rule", (planner(spec),)),
        "ppo": Contestant("learned", (held(spec),)),
    }
    config = EvaluationConfig(seeds=(0,), episode_seconds=30.0)
    found = run_evaluate(spec, contestants, demands("smd"), config=config)
    assert {row["policy"]: row["leaks_future"] for row in found["rows"]} == {
        "static": False,
        "prophet": True,
        "ppo": False,
    }
    assert "prophet" not in found["rank"]
    assert set(found["summary"]) == {"vs_static"}


@pytest.mark.parametrize("names", [[], ["ppo"]])
def test_an_evaluation_without_static_default_is_refused(spec, names):
    contestants = {name: Contestant("learned", (held(spec),)) for name in names}
    with pytest.raises(EvaluationError, match="static"):
        run_evaluate(spec, contestants, demands("smd"))


def test_an_evaluation_without_demand_is_refused(spec):
    with pytest.raises(EvaluationError, match="0 demands"):
        run_evaluate(spec, {"static": Contestant("static", (held(spec),))}, [])
