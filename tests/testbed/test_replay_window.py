import numpy as np
import pytest

from testbed.replay_window import ReplayWindow, statistical_efficiency
from testbed.shards import Samples


def samples(count, first_label=0):
    times = np.arange(count, dtype=float)
    labels = (first_label + np.arange(count)) % 10
    return Samples(np.zeros((count, 8, 8), dtype=np.float32), labels, times, times)


@pytest.mark.parametrize(
    ("batch", "expected"), [(8, 1.0), (32, 1.0), (64, 160 / 192), (128, 160 / 256), (256, 160 / 384)]
)
def test_statistical_efficiency_falls_with_the_batch_and_never_exceeds_one(batch, expected):
    assert statistical_efficiency(batch) == pytest.approx(expected)


def test_each_sample_is_used_exactly_as_often_as_allowed():
    window = ReplayWindow(capacity=100, replay=3)
    assert window.add(samples(40)) == 120
    rng = np.random.default_rng(0)
    firsts = 0
    for _ in range(12):
        _, first_use = window.draw(rng, 10)
        firsts += int(first_use.sum())
    assert firsts == 40
    assert window.backlog == 0
    assert window.draw(rng, 1) is None


def test_too_few_samples_make_no_batch():
    window = ReplayWindow(capacity=100)
    window.add(samples(31))
    assert window.draw(np.random.default_rng(0), 32) is None
    assert window.backlog == 93


def test_samples_never_used_come_first():
    window = ReplayWindow(capacity=100)
    window.add(samples(20))
    rng = np.random.default_rng(0)
    window.draw(rng, 20)
    window.add(samples(10))
    _, first_use = window.draw(rng, 15)
    assert first_use.sum() == 10


def test_old_samples_expire_with_the_uses_they_had_left():
    window = ReplayWindow(capacity=50, replay=3)
    window.add(samples(50))
    assert window.add(samples(30)) == 90
    assert window.backlog == 150


def test_a_shard_larger_than_the_window_leaves_its_newest_samples():
    window = ReplayWindow(capacity=10, replay=1)
    window.add(samples(25))
    drawn, _ = window.draw(np.random.default_rng(0), 10)
    assert sorted(drawn.sent_time) == list(range(15, 25))
