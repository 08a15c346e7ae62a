"""Random numbers without a stream: a hash of (seed, tick, channel).

A generator with a state would hand system i of a batch other numbers than the same system alone. A hash does not: the
number depends on nothing but its own key, so a batch of N equals N batches of one bit for bit.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_PAIRS = np.uint64(0x0000FFFF0000FFFF)
_S11, _S16, _S27, _S30, _S31, _S32 = (np.uint64(shift) for shift in (11, 16, 27, 30, 31, 32))
_SUM = np.uint64(0x3FFFF)


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
    """Hash of every channel of every system.

    Args:
        keys: (N,) uint64 from `system_keys`.
        ticks: (N,) uint64, how far each system is.
        channels: (C,) uint64 below 2**16.

    Returns:
        (C, N) uint64.
    """
    return mixed((channels * _GOLDEN)[:, None] + mixed(keys + (ticks << _S16)))


def uniforms(keys: np.ndarray, ticks: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """(C, N) float64 in [0, 1)."""
    return (bits(keys, ticks, channels) >> _S11) * 2.0**-53


def normals(keys: np.ndarray, ticks: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """(C, N) float64, about normal: the sum of the hash's four 16-bit parts (mean 0, variance 1, within +-3.47).

    The bounded tail is wanted: no period is ever beyond belief.
    """
    hashed = bits(keys, ticks, channels)
    pairs = (hashed & _PAIRS) + ((hashed >> _S16) & _PAIRS)
    total = (pairs + (pairs >> _S32)) & _SUM
    return (total - 2.0 * 65535.0) * (np.sqrt(3.0) / 65536.0)
