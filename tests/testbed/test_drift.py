import numpy as np
import pytest

from testbed import drift


@pytest.mark.parametrize("stream_time", [0.0, 37.5, 1_700_000_000.25])
def test_the_world_is_a_function_of_the_stream_time_alone(stream_time):
    first, second = drift.conditions(stream_time), drift.conditions(stream_time)
    assert first.angle_bucket == second.angle_bucket
    assert first.contrast == second.contrast
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.class_weights, second.class_weights)


def test_conditions_stay_within_their_ranges():
    for stream_time in np.linspace(0, 2000, 4001):
        world = drift.conditions(float(stream_time))
        assert 0 <= world.angle_bucket < len(drift.ANGLES)
        assert 0.6 <= world.contrast <= 1.0
        assert 0.05 <= world.noise <= 0.2
        assert world.class_weights.sum() == pytest.approx(1.0)
        assert sorted(world.labels) == list(range(10))


def test_the_whole_swing_of_the_rotation_is_used():
    buckets = {drift.conditions(t).angle_bucket for t in np.arange(0, 150, 0.25)}
    assert buckets == set(range(len(drift.ANGLES)))


def test_three_and_five_trade_labels_for_half_of_the_time():
    traded = [drift.conditions(t).labels[3] == 5 for t in np.arange(0, 160, 1.0)]
    assert sum(traded) == 80


def test_the_same_seed_draws_the_same_samples():
    draw = drift.SampleDraw(np.repeat(np.arange(10), 20))
    world = drift.conditions(10.0)
    first, second = (draw.draw(np.random.default_rng(3), world, 100) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_samples_follow_the_class_mix_and_zipf():
    digits = np.repeat(np.arange(10), 20)
    world = drift.conditions(10.0)
    samples = drift.SampleDraw(digits).draw(np.random.default_rng(0), world, 50_000)
    shares = np.bincount(digits[samples], minlength=10) / len(samples)
    np.testing.assert_allclose(shares, world.class_weights, atol=0.01)
    ranks = np.bincount(samples % 20, minlength=20)
    assert ranks[0] / ranks[1] == pytest.approx(2**drift.ZIPF_EXPONENT, rel=0.1)


def test_noise_and_contrast_may_differ_for_each_image():
    clean = np.ones((2, 64), dtype=np.float32)
    images = drift.finish(clean, np.array([0.5, 1.0]), np.array([0.0, 0.1]), np.array([0, 1]))
    assert images.dtype == np.float32
    np.testing.assert_allclose(images[0], 0.5)
    np.testing.assert_allclose(images[1], 1.0 + 0.1 * drift.NOISE[1], rtol=1e-5)
