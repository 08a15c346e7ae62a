"""The forecaster in use, and the last good one."""

import os

import pytest

from telemetry.boosted_trees import parse
from telemetry.forecast_artifact import WEIGHTS, ForecastArtifactError, save
from telemetry.forecast_versions import Versions

MODEL = "objective=binary sigmoid:1\nmax_feature_idx=40\n\nTree=0\nnum_leaves=1\nleaf_value={}\n\nend of trees\n"


def train(folder, leaf):
    save(folder, {"1h": parse(MODEL.format(leaf))}, {})
    os.utime(folder / WEIGHTS, ns=(int(leaf * 1e9), 0))  # clocks of file systems are coarse


@pytest.fixture
def folders(tmp_path):
    train(tmp_path / "own", 0.5)
    return tmp_path / "own", tmp_path / "ahead.good"


def test_a_model_that_is_trained_anew_is_used_and_the_kept_one_stays(folders):
    own, kept = folders
    versions = Versions(own, kept)
    versions.keep()
    first = versions.ids[0]
    assert versions.ids == (first, "")  # the model itself is the last good one
    train(own, 0.7)
    versions.refresh()
    assert versions.ids[0] != first
    assert versions.ids[1] == first


def test_the_last_good_model_is_there_after_a_restart(folders):
    own, kept = folders
    versions = Versions(own, kept)
    versions.keep()
    train(own, 0.7)
    assert Versions(own, kept).ids[1] == versions.ids[0]


def test_a_damaged_new_model_is_left_out_and_said_once(folders, caplog):
    own, kept = folders
    versions = Versions(own, kept)
    before = versions.ids
    (own / WEIGHTS).write_bytes(b"half")
    versions.refresh()
    versions.refresh()
    assert versions.ids == before
    assert len(caplog.records) == 1


def test_a_model_that_was_replaced_since_it_was_read_is_not_kept_as_good(folders):
    own, kept = folders
    versions = Versions(own, kept)
    train(own, 0.7)
    versions.keep()
    assert not kept.exists()


def test_a_folder_without_a_model_is_refused_at_start(tmp_path):
    with pytest.raises(ForecastArtifactError, match="no forecaster"):
        Versions(tmp_path, tmp_path / "ahead.good")
