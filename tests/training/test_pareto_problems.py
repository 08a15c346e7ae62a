import numpy as np
import pytest

from envs.spec import Role
from training.config import TrainingConfig
from training.demands import DemandConfig
from training.evolution import SearchConfig
from training.pareto_problems import Conditions, PpoProblem, SearchNameError, problem, reference_points
from training.references import load_references

DEMANDS = {"families": ("smd",), "episode_seconds": 60.0}


@pytest.fixture(scope="module")
def conditions(spec) -> Conditions:
    config = TrainingConfig.load(None, Role.ALLOCATION)
    small = config.ppo.model_copy(update={"n_envs": 16, "batch_size": 64})
    training = TrainingConfig(
        ppo=small,
        demands=DemandConfig(seeds=(1, 2), **DEMANDS),
        validation=DemandConfig(seeds=(1001,), **DEMANDS),
        validation_periods=15,
    )
    return Conditions(spec, SearchConfig(periods=20, every_demand=1), training, steps=256)


@pytest.mark.parametrize("name", ["static", "heuristic:aimd"])
def test_starts_lie_within_the_ranges_and_are_worth_what_their_references_are(conditions, name):
    searched = problem(name, conditions)
    for start in searched.starts:
        assert start.keys() == searched.distributions.keys()
        for key, value in start.items():
            low, high = searched.distributions[key].low, searched.distributions[key].high
            assert low - 1e-9 <= value <= high + 1e-9
    values, references = searched.evaluate(searched.starts), reference_points(conditions)
    last = {"static": "best_static", "heuristic:aimd": "aimd"}[name]
    assert values[1] == pytest.approx(np.array(references[last]), rel=1e-2)


def test_a_trial_is_worth_the_same_alone_and_in_a_batch(conditions):
    searched = problem("static", conditions)
    default, best = searched.starts
    together = searched.evaluate([default, best] * 9)
    np.testing.assert_allclose(together[:2], np.concatenate([searched.evaluate([one]) for one in (default, best)]))
    assert together[1, 0] > together[0, 0]


def test_a_setting_is_told_as_the_host_grants_it(conditions, spec):
    searched = problem("static", conditions)
    greedy = {name: d.high for name, d in searched.distributions.items()}
    granted = searched.setting(greedy)
    assert sum(granted[objective.cpu_knob] for objective in spec.workloads.values()) <= spec.cores + 1e-9
    assert granted["serving_batch_size"] == 64.0


def test_the_start_of_ppo_is_its_shipped_configuration(conditions, spec):
    (start,) = PpoProblem(conditions).starts
    assert start["change_weight"] == TrainingConfig.load(None, Role.ALLOCATION).ppo.change_weight
    assert start["violation_penalty"] == spec.violation_penalty


def test_a_trial_of_ppo_trains_a_policy_with_the_weights_asked_for(conditions):
    searched = PpoProblem(conditions)
    (start,) = searched.starts
    one, again, other = searched.evaluate([start, start, start | {"violation_penalty": 0.5, "learning_rate": 3e-3}])
    assert one.shape == (3,)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_other_parameters_or_lengths_make_another_study(conditions, spec):
    def told(**changes) -> dict:
        return problem("static", Conditions(**(vars(conditions) | changes))).told

    assert told() == told()
    assert told(search=SearchConfig(periods=30, every_demand=1)) != told()
    assert told(spec=spec.model_copy(update={"window_periods": 9})) != told()


def test_another_configuration_of_ppo_makes_another_study_but_not_what_is_searched(conditions):
    def told(**changes) -> dict:
        ppo = conditions.config.ppo.model_copy(update=changes)
        training = conditions.config.model_copy(update={"ppo": ppo})
        return PpoProblem(Conditions(**(vars(conditions) | {"training": training}))).told

    assert told(gamma=0.5) == told()
    assert told(n_epochs=7) != told()


def test_an_unknown_name_lists_the_known_ones(conditions):
    with pytest.raises(SearchNameError, match=r"'heuristic:magic'; allowed are static, heuristic:threshold.*, ppo"):
        problem("heuristic:magic", conditions)


def test_references_are_judged_beside_every_front(conditions, spec):
    points = reference_points(conditions)
    assert {"static", "best_static", "aimd"} <= set(points)
    assert set(load_references(spec).policies) <= set(points)
    assert all(len(figures) == 3 and np.isfinite(figures).all() for figures in points.values())
