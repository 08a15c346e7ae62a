"""Forecasters on disk."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from telemetry.boosted_trees import parse
from telemetry.forecast_artifact import CARD, WEIGHTS, ForecastArtifactError, load, save
from telemetry.forecast_features import NAMES

MODEL = "objective=binary sigmoid:1\nmax_feature_idx=40\n\nTree=0\nnum_leaves=1\nleaf_value=0.5\n\nend of trees\n"


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "forecast", {"1h": parse(MODEL)}, {"thresholds": {"1h": {"balanced": 0.1}}})
    return tmp_path / "forecast"


def change_card(folder, **keys):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | keys))


def replace_weights(folder, **arrays):
    """Other trees with the right hash, as somebody would who wants to harm."""
    np.savez(folder / WEIGHTS, **arrays)
    change_card(folder, sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def test_what_was_saved_is_loaded_with_its_card(folder):
    forecaster = load(folder)
    assert list(forecaster.models) == ["1h"]
    assert forecaster.models["1h"].predict(np.zeros((1, len(NAMES)))) == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert forecaster.card["thresholds"]["1h"]["balanced"] == 0.1


def test_the_same_trees_make_the_same_file(folder, tmp_path):
    save(tmp_path / "again", {"1h": parse(MODEL)}, {})
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


def test_trees_that_were_changed_are_refused(folder):
    packed = bytearray((folder / WEIGHTS).read_bytes())
    packed[len(packed) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(packed)
    with pytest.raises(ForecastArtifactError, match="changed or damaged"):
        load(folder)


@pytest.mark.parametrize("content", ["", "[]", "7", "{}", '{"format": 1}'])
def test_a_folder_without_a_card_of_ours_says_how_to_make_one(tmp_path, content):
    if content:
        (tmp_path / CARD).write_text(content)
    with pytest.raises(ForecastArtifactError, match="--train"):
        load(tmp_path)


def test_models_for_other_features_are_refused(folder):
    change_card(folder, features=["level"])
    with pytest.raises(ForecastArtifactError, match="another version"):
        load(folder)


@pytest.mark.parametrize("name", ["../secret", "48h"])
def test_a_card_may_only_name_known_horizons_and_nothing_is_read_before(folder, name):
    (folder / WEIGHTS).unlink()
    change_card(folder, targets=[name])
    with pytest.raises(ForecastArtifactError, match="unknown horizons"):
        load(folder)


def test_objects_are_never_unpickled(folder):
    replace_weights(folder, **{"1h/feature": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ForecastArtifactError, match="damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("array", "value"), [("left", 9), ("right", -2), ("feature", 99), ("roots", 5), ("threshold", None)]
)
def test_trees_that_lead_out_of_their_arrays_are_refused(folder, array, value):
    with np.load(folder / WEIGHTS) as found:
        arrays = dict(found)
    arrays[f"1h/{array}"] = np.full_like(arrays[f"1h/{array}"], value) if value else np.zeros((1, 2))
    replace_weights(folder, **arrays)
    with pytest.raises(ForecastArtifactError, match="damaged"):
        load(folder)


def test_foretelling_loads_neither_lightgbm_nor_torch():
    code = (
        "import sys, telemetry.forecast_artifact, telemetry.foresight;"
        "print([m for m in ('lightgbm', 'torch', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
