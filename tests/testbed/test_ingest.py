import numpy as np
import pytest

from testbed import shards
from testbed.component import new_registry
from testbed.digits import Digits
from testbed.drift import ANGLES
from testbed.events import EVENT
from testbed.ingest import KNOBS, Ingest, IngestMetrics
from testbed.knobs import Knobs


@pytest.fixture
def registry():
    return new_registry()


@pytest.fixture
def ingest(tmp_path, registry):
    images = np.random.default_rng(0).random((20, 8, 8), dtype=np.float32)
    digits = Digits(images, np.arange(20) % 10, np.zeros((len(ANGLES), 64, 64), dtype=np.float32))
    return Ingest(digits, tmp_path, Knobs(*KNOBS), IngestMetrics(registry))


def events(count):
    result = np.zeros(count, dtype=EVENT)
    result["sample"], result["label"], result["contrast"] = np.arange(count) % 20, np.arange(count) % 10, 1.0
    result["sent_time"] = 1000.0
    return result


def test_every_event_is_published_once_in_chunks_of_the_knob(ingest, registry, tmp_path):
    ingest.receive(events(70))
    ingest.stop()
    ingest.run()  # stopped already: publishes what is left and returns
    published = [shards.read(path) for path in shards.published(tmp_path)]
    assert [len(samples) for samples in published] == [32, 32, 6]
    np.testing.assert_array_equal(np.concatenate([samples.labels for samples in published]), np.arange(70) % 10)
    assert registry.get_sample_value("ingest_events_received_total") == 70
    assert registry.get_sample_value("ingest_events_written_total") == 70
    assert registry.get_sample_value("ingest_cache_misses_total") == 20
    assert registry.get_sample_value("ingest_cache_hits_total") == 50
    assert registry.get_sample_value("ingest_backlog_events") == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample", 20),
        ("angle_bucket", 255),
        ("label", 10),
        ("noise", np.nan),
        ("noise_row", 5000),
        ("sent_time", np.inf),
    ],
)
def test_an_event_that_makes_no_sense_is_dropped_and_the_others_live(ingest, registry, tmp_path, field, value):
    received = events(3)
    received[field][1] = value
    ingest.receive(received)
    ingest.publish()
    assert len(shards.read(shards.published(tmp_path)[0])) == 2
    assert registry.get_sample_value("ingest_events_dropped_total") == 1


def test_lag_is_the_age_of_the_oldest_event_and_zero_without_one(ingest):
    assert ingest.lag_seconds() == 0.0
    ingest.receive(events(1))
    assert ingest.lag_seconds() > 1e6  # sent in 1970
    ingest.publish()
    assert ingest.lag_seconds() == 0.0
