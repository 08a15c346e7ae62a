import asyncio

import numpy as np
import pytest

from testbed import checkpoints
from testbed.component import new_registry
from testbed.model import DigitNetwork
from testbed.serving import Predictor, ServingMetrics, application, serving_knobs


@pytest.fixture
def models(tmp_path):
    directory = tmp_path / "models"
    directory.mkdir()
    publish(directory, 1)
    return directory


def publish(directory, version):
    checkpoint = checkpoints.Checkpoint(version, checkpoints.file_name(version), float(version), samples=0)
    checkpoints.publish(directory, checkpoint, DigitNetwork())


@pytest.fixture
def registry():
    return new_registry()


@pytest.fixture
def predictor(models, registry):
    knobs = serving_knobs()
    knobs.apply({"serving_threads": 1})
    return Predictor(models, knobs, ServingMetrics(registry))


def test_a_published_model_is_served_once_it_is_seen(predictor, models, registry):
    predictor.refresh()
    publish(models, 2)
    assert predictor.refresh()
    assert not predictor.refresh()
    answers = asyncio.run(predictor.forward(np.zeros((3, 8, 8), dtype=np.float32)))
    assert [version for _, version in answers] == [2, 2, 2]
    assert registry.get_sample_value("serving_model_version") == 2
    assert registry.get_sample_value("serving_model_trained_timestamp_seconds") == 2.0
    assert registry.get_sample_value("serving_model_swaps_total") == 1
    assert registry.get_sample_value("serving_batched_requests_total") == 3


def test_a_damaged_checkpoint_is_logged_once_and_the_old_model_stays(predictor, models, caplog):
    publish(models, 2)
    (models / checkpoints.file_name(2)).write_bytes(b"torn")
    assert not predictor.refresh()
    assert not predictor.refresh()
    assert len(caplog.records) == 1
    assert asyncio.run(predictor.forward(np.zeros((1, 8, 8), dtype=np.float32)))[0][1] == 1


@pytest.mark.parametrize("body", [b"", b"x" * 255, b"x" * 257, np.full(64, np.nan, dtype="<f4").tobytes()])
def test_a_body_that_is_no_image_is_refused(client_of, tmp_path, models, body):
    client = client_of(application(tmp_path))
    status, answer = client.request("POST", "/predict", body)
    assert status == 422
    assert answer["error"]
    metrics = client.request("GET", "/metrics")[1]
    assert 'serving_responses_total{outcome="error"} 1.0' in metrics
    assert 'serving_latency_seconds_bucket{le="+Inf"} 1.0' in metrics


def test_a_state_directory_without_a_model_is_an_error_that_says_so(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="manifest"):
        application(tmp_path)
