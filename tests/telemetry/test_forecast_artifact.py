"""Forecasters on disk."""

import json
import subprocess
import sys

import pytest

from telemetry.forecast_artifact import CARD, ForecastArtifactError, load, save

MODEL = "objective=binary sigmoid:1\nmax_feature_idx=40\n\nTree=0\nnum_leaves=1\nleaf_value=0.5\n\nend of trees\n"


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "forecast", {"1h": MODEL}, {"thresholds": {"1h": {"balanced": 0.1}}})
    return tmp_path / "forecast"


def test_what_was_saved_is_loaded_with_its_card(folder):
    forecaster = load(folder)
    assert list(forecaster.models) == ["1h"]
    assert forecaster.card["thresholds"]["1h"]["balanced"] == 0.1


def test_a_model_that_was_changed_is_refused(folder):
    (folder / "1h.txt").write_text(MODEL.replace("0.5", "0.6"))
    with pytest.raises(ForecastArtifactError, match="changed or damaged"):
        load(folder)


def test_an_empty_folder_says_how_to_make_one(tmp_path):
    with pytest.raises(ForecastArtifactError, match="--train"):
        load(tmp_path)


def test_models_for_other_features_are_refused(folder):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"features": ["level"]}))
    with pytest.raises(ForecastArtifactError, match="another version"):
        load(folder)


@pytest.mark.parametrize("name", ["../secret", "48h"])
def test_a_card_may_only_name_known_horizons(folder, name):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"sha256": {name: ""}}))
    with pytest.raises(ForecastArtifactError):
        load(folder)



def test_foretelling_loads_neither_lightgbm_nor_torch():
    code = (
        "import sys, telemetry.forecast_artifact, telemetry.foresight;"
        "print([m for m in ('lightgbm', 'torch', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
