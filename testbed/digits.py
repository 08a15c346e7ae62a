"""The base samples: scikit-learn's 8x8 digits, and what a rotation does to them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from testbed.drift import ANGLES, PIXELS
from testbed.files import write_atomically

UPSCALE = 8
"""Rotations are done on 64x64 pixels, which costs about 0.5 ms an image: the price of one feature."""

FILE_NAME = "digits.npz"


@dataclass(frozen=True)
class Digits:
    """Base samples.

    Attributes:
        images: (n_samples, 8, 8) float32 in [0, 1].
        labels: (n_samples,) the digit shown.
        rotations: (n_angles, 64, 64) float32; `image @ rotations[bucket]` is the rotated image.
    """

    images: np.ndarray
    labels: np.ndarray
    rotations: np.ndarray

    def clean(self, samples: np.ndarray, angle_bucket: int) -> np.ndarray:
        """Rotated images of the samples, (n, 64).

        The shortcut for whoever must render many images at no cost, such as the load generator: the transform of
        `rotate` is linear, so one matrix per angle says it all. A real feature pipeline has no such shortcut, hence
        ingest calls `rotate`.
        """
        return self.images[samples].reshape(len(samples), PIXELS) @ self.rotations[angle_bucket]


def rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """One (8, 8) image rotated at eight times the resolution and brought back to (8, 8) without aliasing."""
    from scipy import ndimage  # only ingest and the preparation need it, and it costs 40 MiB

    large = ndimage.zoom(image, UPSCALE, order=3, mode="grid-constant", grid_mode=True)  # (64, 64)
    large = ndimage.rotate(large, degrees, reshape=False, order=3)
    large = ndimage.gaussian_filter(large, UPSCALE / 3)
    return large.reshape(8, UPSCALE, 8, UPSCALE).mean((1, 3)).astype(np.float32)  # (8, 8)


def load(state_dir: Path) -> Digits:
    """The digits kept in `state_dir`; the first call makes them, which takes about two seconds."""
    path = state_dir / FILE_NAME
    if not path.exists():
        _make(path)
    with np.load(path, allow_pickle=False) as arrays:
        return Digits(**{name: arrays[name] for name in ("images", "labels", "rotations")})


def _make(path: Path) -> None:
    from sklearn.datasets import load_digits  # slow to import, and needed once per state directory

    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)  # (1797, 8, 8)
    unit_images = np.eye(PIXELS, dtype=np.float32).reshape(PIXELS, 8, 8)
    rotations = np.array([[rotate(unit, float(angle)).ravel() for unit in unit_images] for angle in ANGLES])
    labels = bunch.target.astype(np.int64)
    write_atomically(path, lambda file: np.savez(file, images=images, labels=labels, rotations=rotations))
