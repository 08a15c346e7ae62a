import json

import numpy as np
import pytest

from agents.artifact import ArtifactError
from agents.heuristics.static import StaticPolicy
from envs.spec import Role
from envs.task import JOINT, Task
from training.config import TrainingConfig
from training.demands import DemandConfig
from training.policy_search import (
    PLANS,
    LinearPolicies,
    Plan,
    PolicySearchConfig,
    run_policy_search,
    score_lines,
    search_policy,
)
from training.practice import Practice
from training.references import POLICY_SEARCH, POLICY_WEIGHTS, load_references, reference_policies
from training.strategies import OnePlusOne

DEMANDS = {"families": ("smd",), "episode_seconds": 60.0}
TRAINING = TrainingConfig(
    demands=DemandConfig(seeds=(1,), **DEMANDS),
    validation=DemandConfig(seeds=(1001,), **DEMANDS),
    validation_periods=15,
)
TINY = PolicySearchConfig(steps=8_000, periods=5, evaluations=2)


@pytest.fixture(scope="module")
def found(spec, tmp_path_factory):
    out, calls = tmp_path_factory.mktemp("policies"), []
    result = run_policy_search(spec, out, config=TINY, training=TRAINING, on_progress=lambda *call: calls.append(call))
    return out, result, calls


def test_every_strategy_is_searched_with_the_budget_and_written(found, spec):
    out, result, calls = found
    assert json.loads((out / POLICY_SEARCH).read_text()) == json.loads(json.dumps(result))
    assert result["fingerprint"] == spec.fingerprint
    assert set(result["policies"]) == set(PLANS) == {"random-search", "one-plus-one-es", "cma-es"}
    for told in result["policies"].values():
        one = told["candidates"] * told["episodes"] * TINY.periods
        assert told["steps"] == told["generations"] * one
        assert TINY.steps - one < told["steps"] <= TINY.steps
    done = [done for done, _, _ in calls]
    assert done == sorted(done)
    assert {total for _, total, _ in calls} == {3 * TINY.steps}


def test_an_answer_is_never_worse_on_validation_than_its_start(found):
    _, result, _ = found
    for told in result["policies"].values():
        assert told["score"] == max(score for _, score in told["curve"])
        assert told["score"] >= told["curve"][0][1] == result["references"]["best_static"]


def test_what_was_found_is_read_as_references_that_score_the_same(found, spec):
    out, result, _ = found
    policies = reference_policies(spec, load_references(spec, out))
    practice = Practice(spec, TRAINING)
    for name, told in result["policies"].items():
        assert {role: policy.name for role, policy in policies[name].items()} == dict.fromkeys(Role, name)
        assert practice.validate(policies[name]) == pytest.approx(told["score"], abs=1e-3)


def test_policies_for_another_spec_are_not_used(found, spec):
    other = spec.model_copy(update={"window_periods": 9})
    assert load_references(other, found[0]).policies == {}


def test_weights_that_do_not_belong_to_the_description_are_refused(found, spec, tmp_path):
    (tmp_path / POLICY_SEARCH).write_bytes((found[0] / POLICY_SEARCH).read_bytes())
    (tmp_path / POLICY_WEIGHTS).write_bytes((found[0] / POLICY_WEIGHTS).read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"policy_search\.npz does not belong"):
        load_references(spec, tmp_path)


def test_the_same_seed_finds_the_same_weights(spec, tmp_path):
    plan, start = Plan(4, lambda start, seed: OnePlusOne(start, 0.05, seed)), spec.default_setting
    config, practice = PolicySearchConfig(steps=400, periods=5, evaluations=1), Practice(spec, TRAINING)
    weights = [
        search_policy(plan, Task(spec, JOINT), practice, start, config, lambda *_: None).policy.layers[0][0]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*weights)


def test_a_linear_policy_without_weights_holds_its_setting(spec):
    task = Task(spec, JOINT)
    policies = LinearPolicies(task)
    policy = policies.policy(policies.holding(spec.default_setting), "held")
    observation = np.random.default_rng(0).uniform(-1.0, 1.0, (3, task.n_observation)).astype(np.float32)
    expected = StaticPolicy(task, spec.default_setting).act(observation)
    np.testing.assert_allclose(policy.act(observation), expected, atol=1e-6)


def test_candidates_meet_the_same_episodes(spec):
    task = Task(spec, JOINT)
    policies = LinearPolicies(task)
    held = policies.holding(spec.default_setting)
    env = Practice(spec, TRAINING).environment(task, 6, episode_steps=9, stagger=False)
    scores = policies.scores(np.stack([held, held, -held]), env, 8, np.array([3, 4]))
    assert scores[0] == scores[1] != scores[2]


def test_the_lines_name_references_and_strategies(found):
    lines = "\n".join(score_lines(found[1]))
    assert all(name in lines for name in ("best_static", *PLANS))
