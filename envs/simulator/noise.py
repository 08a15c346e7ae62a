"""Random numbers without a stream: a hash of (seed, tick, channel).

A generator with a state would hand system i of a batch other numbers than the same system alone. A hash does not: the
number depends on nothing but its own key, so a batch of N equals N batches of one bit for bit.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_GOLDEN_TICK = np.uint64(0x9E3779B97F4A7C15 * 2**16 % 2**64)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S11, _S27, _S30, _S31 = (np.uint64(shift) for shift in (11, 27, 30, 31))
_QUARTERS = np.array([[0], [16], [32], [48]], dtype=np.uint64)
_LEVELS = 4096
_LOW_12, _LOW_16 = np.uint64(_LEVELS - 1), np.uint64(0xFFFF)


def mixed(keys: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014): uint64 -> uint64, every bit in moves every bit out."""
    z = keys ^ (keys >> _S30)
    z *= _FIRST
    z ^= z >> _S27
    z *= _SECOND
    z ^= z >> _S31
    return z


def system_keys(seeds: np.ndarray) -> np.ndarray:
    """Keys (N,) uint64 of seeds (N,) uint64; neighbouring seeds give unrelated keys."""
    return mixed(mixed(seeds * _GOLDEN + _GOLDEN))


def bits(keys: np.ndarray, ticks: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Hash of every channel of every system: numbers tick * 2**16 + channel of the splitmix64 stream of its key.

    Args:
        keys: (N,) uint64 from `system_keys`.
        ticks: (N,) uint64, how far each system is.
        channels: (C,) uint64 below 2**16.

    Returns:
        (C, N) uint64.
    """
    return mixed((channels * _GOLDEN)[:, None] + (keys + ticks * _GOLDEN_TICK))


def uniforms(keys: np.ndarray, ticks: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """(C, N) float64 in [0, 1)."""
    return (bits(keys, ticks, channels) >> _S11) * 2.0**-53


def coarse_uniforms(keys: np.ndarray, ticks: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """(4 C, N) float64 in [0, 1), multiples of 2**-16: four from each hash, where that is fine enough."""
    return _quarters(bits(keys, ticks, channels), _LOW_16) * 2.0**-16


def normals(keys: np.ndarray, ticks: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """(4 C, N) float64, normal with mean 0 and variance 1, but for a tail that ends at 3.7: four from each hash.

    The bounded tail is wanted: no period is ever beyond belief.
    """
    return NORMAL.take(_quarters(bits(keys, ticks, channels), _LOW_12))


def _quarters(hashed: np.ndarray, mask: np.uint64) -> np.ndarray:
    """The 16-bit parts of (C, N) uint64, each under a mask: (4 C, N) int64."""
    parts = hashed[:, None, :] >> _QUARTERS  # (C, 4, N)
    parts &= mask
    return parts.reshape(-1, hashed.shape[1]).view(np.int64)


def _normal_quantiles() -> np.ndarray:
    """The normal distribution in `_LEVELS` equally likely numbers: 32 KiB, which stay in the fastest cache."""
    half = [NormalDist().inv_cdf((i + 0.5) / _LEVELS) for i in range(_LEVELS // 2)]
    table = np.concatenate([half, -np.array(half[::-1])])  # (_LEVELS,)
    return table / table.std()


NORMAL = _normal_quantiles()
