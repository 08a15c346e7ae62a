"""Trained forecasters on disk: the trees as npz and one JSON that says how they were made. Loading runs no code.

| file | holds |
|---|---|
| `forecast.npz` | the arrays of each target's trees, as `target/array` |
| `forecast.json` | sha256 of the npz, names of the targets and features, thresholds, and what was learnt from |
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from telemetry.boosted_trees import ARRAYS, Trees, TreesError, from_arrays
from telemetry.forecast import Forecaster
from telemetry.forecast_features import NAMES
from telemetry.issues import TARGETS

FORMAT = 2
CARD, WEIGHTS = "forecast.json", "forecast.npz"
SIZE_LIMIT = 32 * 2**20
"""Bytes, packed and unpacked; the shipped one takes 0.6 MB packed."""
SHIPPED = Path(__file__).resolve().parent.parent / "models" / "forecast"


class ForecastArtifactError(ValueError):
    """A folder that holds no forecaster of ours, or a damaged one; one line."""


def save(folder: Path, models: Mapping[str, Trees], card: Mapping[str, Any]) -> None:
    """Write the trees by target, and the card last: without it the folder is no artifact."""
    packed = io.BytesIO()
    arrays = {f"{target}/{name}": array for target, trees in models.items() for name, array in trees.arrays().items()}
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    header = {
        "format": FORMAT,
        "features": list(NAMES),
        "targets": list(models),
        "sha256": hashlib.sha256(packed.getvalue()).hexdigest(),
        **card,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(packed.getvalue())
    (folder / CARD).write_text(json.dumps(header, indent=1) + "\n")


def load(folder: Path = SHIPPED) -> Forecaster:
    """The forecaster in a folder.

    Raises:
        ForecastArtifactError: nothing there, another format or other features, or a file that was changed.
    """
    try:
        card = json.loads((folder / CARD).read_text())
        targets = _checked_targets(card, folder)
        packed = (folder / WEIGHTS).read_bytes()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ForecastArtifactError):
            raise
        raise ForecastArtifactError(
            f"{folder}: no forecaster ({error}); make one with `trimtab forecast --train`"
        ) from None
    if hashlib.sha256(packed).hexdigest() != card.get("sha256"):
        raise ForecastArtifactError(f"{folder}/{WEIGHTS}: not what {CARD} has the hash of; it was changed or damaged")
    try:
        arrays = _unpacked(packed)
        parts = {target: {name: arrays[f"{target}/{name}"] for name in ARRAYS} for target in targets}
        models = {target: from_arrays(part, len(NAMES)) for target, part in parts.items()}
    except (TreesError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ForecastArtifactError(f"{folder}/{WEIGHTS}: damaged ({error})") from error
    return Forecaster(models, card)


def _checked_targets(card: Mapping[str, Any], folder: Path) -> list[str]:
    if card.get("format") != FORMAT or card.get("features") != list(NAMES):
        raise ForecastArtifactError(f"{folder}: made by another version; make it anew with `forecast --train`")
    targets = [str(name) for name in card["targets"]]
    known = [target.name for target in TARGETS]
    unknown = sorted(set(targets) - set(known))
    if unknown:
        raise ForecastArtifactError(f"{folder}: unknown horizons {', '.join(unknown)}; known are {', '.join(known)}")
    return targets


def _unpacked(packed: bytes) -> dict[str, np.ndarray]:
    """Arrays of an npz, none of which may be an object: those would be pickled."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if max(size, len(packed)) > SIZE_LIMIT:
        raise ValueError(f"{size} bytes unpacked; at most {SIZE_LIMIT} are ours")
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        return dict(arrays)
