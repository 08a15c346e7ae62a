import numpy as np
import pytest

from testbed import checkpoints, shards
from testbed.component import new_registry
from testbed.model import DigitNetwork
from testbed.trainer import ContinualTraining, TrainingMetrics, training_knobs


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def registry():
    return new_registry()


@pytest.fixture
def training(tmp_path, registry, clock):
    for name in ("models", "shards"):
        (tmp_path / name).mkdir()
    first = checkpoints.Checkpoint(1, checkpoints.file_name(1), trained_timestamp=5.0, samples=0)
    checkpoints.publish(tmp_path / "models", first, DigitNetwork())
    knobs = training_knobs()
    knobs.apply({"training_batch_size": 8, "training_threads": 1})
    return ContinualTraining(tmp_path, knobs, TrainingMetrics(registry), clock)


def samples(count):
    rng = np.random.default_rng(0)
    times = 100.0 + np.arange(count)
    return shards.Samples(rng.random((count, 8, 8), dtype=np.float32), np.arange(count) % 10, times, times)


def test_training_stops_when_every_allowed_use_has_been_made(training, registry):
    training.take_in([samples(16)])
    steps = 0
    while training.train_batch():
        steps += 1
    assert steps == 6  # 16 samples x 3 uses / batch of 8
    assert registry.get_sample_value("training_demand_samples_total") == 48
    assert registry.get_sample_value("training_samples_total") == 48
    assert registry.get_sample_value("training_goodput_samples_total") == 48
    assert registry.get_sample_value("training_backlog_samples") == 0


def test_a_checkpoint_is_published_at_the_interval_and_only_after_learning(training, clock, tmp_path):
    clock.now = 60.0
    assert not training.publish_if_due()
    training.take_in([samples(8)])
    training.train_batch()
    assert training.publish_if_due()
    assert not training.publish_if_due()
    published = checkpoints.newest(tmp_path / "models")
    assert (published.version, published.samples, published.trained_timestamp) == (2, 8, 107.0)


def test_a_trainer_that_starts_again_goes_on_from_its_checkpoint(training, clock, tmp_path):
    training.take_in([samples(8)])
    training.train_batch()
    clock.now = 60.0
    training.publish_if_due()
    again = ContinualTraining(tmp_path, training_knobs(), TrainingMetrics(new_registry()), clock)
    again.take_in([samples(32)])
    again.train_batch()
    clock.now = 120.0
    assert again.publish_if_due()
    published = checkpoints.newest(tmp_path / "models")
    assert (published.version, published.samples) == (3, 40)


def test_there_is_nothing_to_rewind_to_without_a_mark(training):
    assert not training.rewind()
