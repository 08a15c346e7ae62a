"""Counter-based random numbers: plausible, and the same for a system wherever it stands."""

import numpy as np
import pytest

from envs.simulator import noise

KEYS = noise.system_keys(np.arange(4000, dtype=np.uint64))
TICKS = np.arange(4000, dtype=np.uint64) % np.uint64(7)
CHANNELS = np.arange(5, dtype=np.uint64)


def test_uniforms_are_uniform():
    drawn = noise.uniforms(KEYS, TICKS, CHANNELS)
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    np.testing.assert_allclose(
        np.quantile(drawn, [0.1, 0.5, 0.9], axis=1), [[0.1] * 5, [0.5] * 5, [0.9] * 5], atol=0.03
    )


def test_normals_have_mean_zero_and_variance_one_and_a_bounded_tail():
    drawn = noise.normals(KEYS, TICKS, CHANNELS)
    np.testing.assert_allclose(drawn.mean(axis=1), 0.0, atol=0.06)
    np.testing.assert_allclose(drawn.var(axis=1), 1.0, atol=0.08)
    assert np.abs(drawn).max() <= 3.7


@pytest.mark.parametrize("draw", [noise.uniforms, noise.normals])
def test_channels_seeds_and_ticks_are_unrelated(draw):
    across_channels = np.corrcoef(draw(KEYS, TICKS, CHANNELS))
    across_seeds = np.corrcoef(
        draw(KEYS[:-1], TICKS[:-1], CHANNELS[:1])[0], draw(KEYS[1:], TICKS[:-1], CHANNELS[:1])[0]
    )
    across_ticks = np.corrcoef(draw(KEYS, TICKS, CHANNELS)[0], draw(KEYS, TICKS + np.uint64(1), CHANNELS)[0])
    for correlations in (across_channels, across_seeds, across_ticks):
        assert np.abs(correlations - np.eye(len(correlations))).max() < 0.08


def test_a_systems_numbers_do_not_depend_on_its_neighbours():
    together = noise.normals(KEYS, TICKS, CHANNELS)
    assert (noise.normals(KEYS[7:8], TICKS[7:8], CHANNELS) == together[:, 7:8]).all()
