import numpy as np
import pytest

from controller.config import ControllerConfig
from controller.trial import Outcome
from envs.spec import Role
from training.protocol import load_protocol
from training.references import load_references
from training.verdict_episodes import Bench, Judged, Scenario


@pytest.fixture(scope="module")
def bench(spec):
    return Bench(spec, load_protocol().demands("validation", 1.0)[:4], ControllerConfig())


@pytest.fixture(scope="module")
def best(spec):
    return load_references(spec).best_static


def judged(bench, best, scenario, seeds):
    found = [bench.scripted(best, seed, scenario) for seed in seeds]
    return [change for change in found if change is not None]


def test_a_change_without_effect_truly_has_none(bench, best):
    changes = judged(bench, best, Scenario(move=False), range(6))
    assert len(changes) >= 5
    assert max(abs(change.effect) for change in changes) < 0.02


@pytest.mark.clause("E2")
def test_a_change_that_ruins_serving_is_rolled_back_within_two_periods_of_its_effect(bench, best):
    changes = judged(bench, best, Scenario(slowed=3.0, move=False), range(8))
    back = [change for change in changes if change.outcome is Outcome.ROLLED_BACK]
    assert np.mean([change.effect for change in changes]) < -1.0
    assert len(back) >= 0.6 * len(changes)
    assert np.median([change.seconds for change in back]) <= 3.0


def test_the_same_seed_gives_the_same_change(bench, best):
    scenario = Scenario(burst=0.5)
    assert bench.scripted(best, 3, scenario) == bench.scripted(best, 3, scenario)


def test_an_episode_counts_what_the_policies_changed(bench, spec):
    from agents.artifact import load_shipped

    episode = bench.shipped({role: load_shipped(role, spec) for role in Role}, 0, 60)
    assert episode.changes
    assert all(isinstance(change, Judged) and np.isfinite(change.effect) for change in episode.changes)
    assert episode.efficiency > 0.5
