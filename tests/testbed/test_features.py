import numpy as np
import pytest

from testbed import drift
from testbed.digits import Digits, rotate
from testbed.events import EVENT
from testbed.features import FeatureCache, features


class CountedRotation:
    def __init__(self):
        self.calls = []

    def __call__(self, sample, degrees):
        self.calls.append((sample, degrees))
        return np.full((8, 8), sample, dtype=np.float32)


def test_a_feature_in_the_cache_is_not_computed_again():
    compute = CountedRotation()
    cache = FeatureCache(compute)
    for _ in range(3):
        assert cache.get(7, 2, entries=4)[0] == 7
    assert compute.calls == [(7, float(drift.ANGLES[2]))]
    assert (cache.hits, cache.misses) == (2, 1)


def test_the_least_recently_used_feature_leaves_first():
    cache = FeatureCache(CountedRotation())
    for sample in (1, 2, 1, 3):  # 2 is the oldest when 3 needs room
        cache.get(sample, 0, entries=2)
    misses = cache.misses
    cache.get(1, 0, entries=2)
    assert cache.misses == misses
    cache.get(2, 0, entries=2)
    assert cache.misses == misses + 1


@pytest.mark.parametrize("entries", [0, 1, 3])
def test_a_smaller_cache_takes_effect_at_once(entries):
    cache = FeatureCache(CountedRotation())
    for sample in range(10):
        cache.get(sample, 0, entries=10)
    cache.get(0, 0, entries=entries)
    assert len(cache) == entries


def test_features_equal_what_the_load_generator_renders():
    rng = np.random.default_rng(0)
    image = rng.random((8, 8), dtype=np.float32)
    angle = len(drift.ANGLES) - 3
    unit_images = np.eye(64, dtype=np.float32).reshape(64, 8, 8)
    matrix = np.array([rotate(unit, float(drift.ANGLES[angle])).ravel() for unit in unit_images])
    digits = Digits(image[None], np.array([4]), np.broadcast_to(matrix, (len(drift.ANGLES), 64, 64)))
    events = np.zeros(1, dtype=EVENT)
    events["angle_bucket"], events["contrast"], events["noise"], events["noise_row"] = angle, 0.8, 0.2, 17
    made = features(events, FeatureCache(lambda sample, degrees: rotate(digits.images[sample], degrees)), entries=8)
    rendered = drift.finish(digits.clean(np.array([0]), angle), 0.8, 0.2, np.array([17]))
    np.testing.assert_allclose(made, rendered, atol=1e-5)
