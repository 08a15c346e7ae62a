"""Features of events: the costly part from a cache where possible, the cheap part always anew."""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from testbed.drift import ANGLES, PIXELS, finish


class FeatureCache:
    """The least recently used rotated images, by sample and angle bucket.

    Args:
        compute: the rotated image (8, 8) of a sample at an angle in degrees; called on a miss.
    """

    def __init__(self, compute: Callable[[int, float], np.ndarray]) -> None:
        self._compute = compute
        self._entries: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, sample: int, angle_bucket: int, entries: int) -> np.ndarray:
        """The rotated image (64,), keeping at most `entries` images afterwards."""
        key = (sample, angle_bucket)
        image = self._entries.pop(key, None)
        if image is None:
            self.misses += 1
            image = self._compute(sample, float(ANGLES[angle_bucket])).ravel()
        else:
            self.hits += 1
        self._entries[key] = image
        while len(self._entries) > entries:
            self._entries.popitem(last=False)
        return image


def features(events: np.ndarray, cache: FeatureCache, entries: int) -> np.ndarray:
    """Images (n, 64) float32 of events (n,), with a cache of at most `entries` images."""
    clean = np.empty((len(events), PIXELS), dtype=np.float32)
    for row, (sample, bucket) in enumerate(
        zip(events["sample"].tolist(), events["angle_bucket"].tolist(), strict=True)
    ):
        clean[row] = cache.get(sample, bucket, entries)
    return finish(clean, events["contrast"], events["noise"], events["noise_row"])
