"""The world that the learning system must follow: digits whose look, mix and meaning change with time.

Everything here is a pure function of the stream time, so requests and labelled events come from the same world, and two
runs that start at the same stream time see the same one.

    what changes    how                                                  period, seconds
    rotation        swings between -35 and +35 degrees                   150
    contrast        0.6 to 1.0 of full                                   97
    noise           standard deviation 0.05 to 0.20 of full contrast     61
    class mix       the commonest digit moves round from 0 to 9          210
    meaning         3 and 5 trade labels, and so do 1 and 7              160 and 220

The change of meaning is what makes freshness worth something: a network could learn all rotations for good, but none
knows which of two meanings is in force without having seen recent labels.
"""

import math
from dataclasses import dataclass

import numpy as np

PIXELS = 64
CLASSES = 10
ANGLE_STEP_DEGREES = 2
ANGLES = np.arange(-35, 36, ANGLE_STEP_DEGREES)
"""The centres of the angle buckets in degrees, (n_angles,)."""

TRADES = ((3, 5, 160.0), (1, 7, 220.0))
"""Pairs of digits that trade labels during the second half of each period, in seconds."""

ZIPF_EXPONENT = 1.2
"""How unequal the samples are in use. At 1.2 a cache of 512 features answers about 45 % and one of 8192 about 65 %."""

NOISE = np.random.default_rng(20240229).standard_normal((4096, PIXELS)).astype(np.float32)
"""Rows of unit noise, drawn once: a row number says which noise an event has, so that no image needs to be sent."""

PerImage = np.ndarray | float
"""One value for each image, (n,), or one for all."""


@dataclass(frozen=True)
class Conditions:
    """The state of the world at one stream time.

    Attributes:
        angle_bucket: index into `ANGLES`.
        contrast: factor on the clean image.
        noise: standard deviation of the added noise.
        class_weights: (10,) probabilities of the digits.
        labels: (10,) the label that each digit has now.
    """

    angle_bucket: int
    contrast: float
    noise: float
    class_weights: np.ndarray
    labels: np.ndarray


def conditions(stream_time: float) -> Conditions:
    """The state of the world at `stream_time` seconds."""

    def swing(period: float) -> float:
        return math.sin(2 * math.pi * stream_time / period)

    angle = 35 * swing(150)
    common = CLASSES * (stream_time / 210 % 1)
    distance = np.abs((np.arange(CLASSES) - common + CLASSES / 2) % CLASSES - CLASSES / 2)  # (10,) in [0, 5]
    weights = np.exp(-0.3 * distance)
    labels = np.arange(CLASSES)
    for first, second, period in TRADES:
        if stream_time / period % 1 >= 0.5:
            labels[[first, second]] = labels[[second, first]]
    return Conditions(
        angle_bucket=round((angle - ANGLES[0]) / ANGLE_STEP_DEGREES),
        contrast=0.8 + 0.2 * swing(97),
        noise=0.125 + 0.075 * swing(61),
        class_weights=weights / weights.sum(),
        labels=labels,
    )


class SampleDraw:
    """Draws sample ids: the digit by the class mix of the moment, the sample within it by Zipf's law.

    Args:
        digits: (n_samples,) the digit that each sample shows.
    """

    def __init__(self, digits: np.ndarray) -> None:
        self._members = [np.flatnonzero(digits == digit) for digit in range(CLASSES)]
        ranks = [np.arange(1, len(members) + 1) ** -ZIPF_EXPONENT for members in self._members]
        self._popularity = [np.cumsum(rank) / rank.sum() for rank in ranks]

    def draw(self, rng: np.random.Generator, world: Conditions, count: int) -> np.ndarray:
        """Sample ids, (count,)."""
        drawn = rng.choice(CLASSES, size=count, p=world.class_weights)  # (count,)
        chance = rng.random(count)
        samples = np.empty(count, dtype=np.int64)
        for digit in np.unique(drawn):
            chosen = drawn == digit
            rank = np.searchsorted(self._popularity[digit], chance[chosen])
            samples[chosen] = self._members[digit][rank]
        return samples


def finish(clean: np.ndarray, contrast: PerImage, noise: PerImage, noise_row: np.ndarray) -> np.ndarray:
    """What the camera sees of clean, rotated images.

    Args:
        clean: (n, 64) float32 in about [0, 1].
        contrast: factor on the clean images.
        noise: standard deviation of the added noise.
        noise_row: (n,) index into `NOISE`.

    Returns:
        (n, 64) float32.
    """
    contrast, noise = np.atleast_1d(contrast)[:, None], np.atleast_1d(noise)[:, None]  # (n or 1, 1)
    return (contrast * clean + noise * NOISE[noise_row]).astype(np.float32)
