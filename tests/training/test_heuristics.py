from dataclasses import fields

import numpy as np
import pytest

from agents.policy import Policy
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role
from training.demands import DemandConfig, load_demands
from training.heuristics import HEURISTICS
from training.rollout import rollout

NAMES = [heuristic.name for heuristic in HEURISTICS]
each_heuristic = pytest.mark.parametrize("heuristic", HEURISTICS, ids=NAMES)


def test_every_published_reference_is_there():
    published = {"hpa", "hpa-fast", "vpa", "autopilot", "captain", "parties", "heracles", "aimd", "gradient2", "pollux"}
    assert published <= set(NAMES)
    assert len(set(NAMES)) == len(NAMES)


@each_heuristic
def test_what_is_searched_are_parameters_of_the_rule_in_ordered_ranges(heuristic):
    assert set(heuristic.ranges) <= {field.name for field in fields(heuristic.defaults)}
    assert all(low < high for low, high in heuristic.ranges.values())


@each_heuristic
def test_the_published_parameters_are_searched_unless_they_are_times(heuristic):
    published = {name: getattr(heuristic.defaults, name) for name in heuristic.ranges}
    for name, (low, high) in heuristic.ranges.items():
        assert low <= published[name] <= high or name.endswith("_seconds")


@each_heuristic
def test_candidates_cover_the_ranges_from_end_to_end(heuristic):
    ends = heuristic.parameters(np.stack([-np.ones(len(heuristic.ranges)), np.ones(len(heuristic.ranges))]))
    for name, bounds in heuristic.ranges.items():
        assert ends[name] == pytest.approx(bounds)


@each_heuristic
def test_the_search_starts_from_what_is_published(heuristic):
    start = heuristic.parameters(heuristic.start)
    for name, bounds in heuristic.ranges.items():
        assert start[name] == pytest.approx(np.clip(getattr(heuristic.defaults, name), *bounds))


def test_a_wide_range_of_times_is_searched_over_its_logarithm():
    vpa = next(heuristic for heuristic in HEURISTICS if heuristic.name == "vpa")
    middle = vpa.parameters(np.zeros(len(vpa.ranges)))
    assert middle["half_life_seconds"] == pytest.approx(np.sqrt(2.0 * 300.0))
    assert middle["serving"] == pytest.approx(1.9)  # half-way from 0.8 to 3


@each_heuristic
def test_parameters_become_the_candidate_that_they_came_from(heuristic):
    candidate = np.linspace(-0.9, 0.8, len(heuristic.ranges))
    parameters = {name: float(value) for name, value in heuristic.parameters(candidate).items()}
    assert heuristic.candidate(parameters) == pytest.approx(candidate)


@each_heuristic
def test_both_roles_have_a_policy(heuristic, spec):
    policies = heuristic.policies(spec, spec.default_setting)
    assert set(policies) == set(Role)
    assert all(isinstance(policy, Policy) for policy in policies.values())


@each_heuristic
def test_a_rule_leaves_alone_what_is_not_its_own(heuristic, spec):
    """At the ends of its ranges, too, and in a plant that starts elsewhere."""
    demands = load_demands(DemandConfig(families=("smd",), seeds=(1,), episode_seconds=60.0), 1.0)
    ends = {name: np.array(ends) for name, ends in heuristic.ranges.items()}
    best = spec.default_setting
    best[spec.knob_index("serving_threads")] = best[spec.knob_index("training_threads")] = 1
    plant = SimulatedPlant(spec, demands, n=2)
    played = rollout(plant, heuristic.policies(spec, best, ends), 30)
    assert np.isfinite(played.values).all()
    assert (played.settings[-1, :, spec.knob_index("serving_threads")] == 1).all()
    assert (played.settings[-1, :, spec.knob_index("training_threads")] == 1).all()


def test_a_parameter_that_a_rule_does_not_have_is_refused(spec):
    with pytest.raises(TypeError, match="wheels"):
        HEURISTICS[0].policies(spec, spec.default_setting, {"wheels": 4.0})
