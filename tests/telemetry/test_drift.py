"""Guards against what training has not seen."""

import json

import numpy as np
import pytest

from telemetry.drift import Guard, GuardError, KOfN, PageHinkley, reading_faults

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(6, 6))
NORMAL = RNG.normal(size=(3000, 6)) @ MIXING
GUARD = Guard.fit(NORMAL)


def test_unseen_observations_of_the_same_law_are_rarely_strange():
    assert GUARD.is_strange(RNG.normal(size=(5000, 6)) @ MIXING).mean() < 0.01


def test_a_broken_joint_law_is_seen_although_each_value_is_usual():
    shuffled = np.stack([RNG.permutation(column) for column in NORMAL.T], axis=1)
    assert np.median(GUARD.distance(shuffled)) > 1.5 * np.median(GUARD.distance(NORMAL))
    assert GUARD.is_strange(shuffled).mean() > 0.2


def test_what_is_not_finite_is_strange():
    assert GUARD.is_strange(np.full(6, np.nan))


def test_a_dimension_that_never_moved_may_not_move():
    observations = NORMAL.copy()
    observations[:, 2] = 1.0
    guard = Guard.fit(observations)
    moved = observations[-1].copy()
    moved[2] = 1.1
    assert not guard.is_strange(observations[-1])
    assert guard.is_strange(moved)


def test_a_guard_survives_its_artifact():
    again = Guard.from_json(json.loads(json.dumps(GUARD.to_json())))
    np.testing.assert_array_equal(again.distance(NORMAL[:5]), GUARD.distance(NORMAL[:5]))


def test_a_damaged_guard_is_refused():
    stored = GUARD.to_json()
    with pytest.raises(GuardError, match="needed is"):
        Guard.from_json(stored | {"whitening": [[1.0]]})
    with pytest.raises(GuardError, match="damaged"):
        Guard.from_json({"mean": [0.0]})


def test_too_few_observations_are_refused():
    with pytest.raises(GuardError, match="needed are 22 or more"):
        Guard.fit(NORMAL[:20])


def test_three_of_five_act_and_two_do_not():
    votes = KOfN(3, 5)
    assert [votes.update(alarm) for alarm in (True, False, True, False, True, False)] == [
        False, False, False, False, True, False,
    ]  # fmt: skip
    with pytest.raises(GuardError):
        KOfN(6, 5)


def test_a_mean_that_rises_for_good_is_found_and_a_steady_one_is_not():
    rng = np.random.default_rng(0)
    steady, shifted = PageHinkley(), PageHinkley()
    assert not any(steady.update(score) for score in rng.normal(size=3000))
    alarms = [shifted.update(score) for score in np.r_[rng.normal(size=1500), rng.normal(1.5, 1.0, size=500)]]
    assert not any(alarms[:1500])
    assert any(alarms[1500:1800])


def test_forgetting_begins_anew_and_missing_scores_do_not_count():
    drift = PageHinkley(threshold=5.0, at_least=2)
    for _ in range(5):
        drift.update(0.0)
    assert any(drift.update(10.0) for _ in range(3))
    drift.reset()
    assert not drift.update(float("nan"))
    assert not drift.update(10.0)


@pytest.mark.parametrize(
    ("values", "age", "word"),
    [
        ([1.0, np.nan], 0.0, "missing"),
        ([1.0, 12.0], 0.0, "outside"),
        ([1.0, 2.0], 3.0, "old"),
        ([1.0, 1.0], 0.0, "stuck"),
    ],
)
def test_each_fault_of_a_reading_is_named(values, age, word):
    assert word in reading_faults(np.array(values), (0.0, 10.0), age)[0]


def test_a_sound_reading_has_no_fault_and_a_quiet_metric_may_stand_still():
    assert reading_faults(np.array([1.0, 2.0]), (0.0, 10.0), 1.0) == []
    assert reading_faults(np.array([1.0, 1.0]), (0.0, 10.0), 1.0, moves=False) == []
