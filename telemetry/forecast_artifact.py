"""Trained forecasters on disk: a text model for each target and one JSON with hashes. Loading runs no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from telemetry.boosted_trees import TreesError, parse
from telemetry.forecast import Forecaster
from telemetry.forecast_features import NAMES
from telemetry.issues import TARGETS

FORMAT = 1
CARD = "forecast.json"
SHIPPED = Path(__file__).resolve().parent.parent / "models" / "forecast"


class ForecastArtifactError(ValueError):
    """A folder that holds no forecaster of ours, or a damaged one; one line."""


def save(folder: Path, models: Mapping[str, str], card: Mapping[str, Any]) -> None:
    """Write text models by target, and the card last: without it the folder is no artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in models.items():
        (folder / f"{name}.txt").write_text(text)
    header = {
        "format": FORMAT,
        "features": list(NAMES),
        "sha256": {name: _sha256(text) for name, text in models.items()},
        **card,
    }
    (folder / CARD).write_text(json.dumps(header, indent=1) + "\n")


def load(folder: Path = SHIPPED) -> Forecaster:
    """The forecaster in a folder.

    Raises:
        ForecastArtifactError: nothing there, another format or other features, or a file that was changed.
    """
    try:
        card = json.loads((folder / CARD).read_text())
        texts = {name: (folder / f"{name}.txt").read_text() for name in card["sha256"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForecastArtifactError(
            f"{folder}: no forecaster ({error}); make one with `trimtab forecast --train`"
        ) from None
    if card.get("format") != FORMAT or card.get("features") != list(NAMES):
        raise ForecastArtifactError(f"{folder}: made by another version; make it anew with `forecast --train`")
    unknown = set(texts) - {target.name for target in TARGETS}
    if unknown:
        raise ForecastArtifactError(f"{folder}: unknown horizons {', '.join(sorted(unknown))}; see TARGETS")
    for name, text in texts.items():
        if _sha256(text) != card["sha256"][name]:
            raise ForecastArtifactError(
                f"{folder}/{name}.txt: not what {CARD} has the hash of; it was changed or damaged"
            )
    try:
        return Forecaster({name: parse(text) for name, text in texts.items()}, card)
    except TreesError as error:
        raise ForecastArtifactError(f"{folder}: {error}") from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
