import math

import numpy as np
import pytest

from testbed.digits import Digits
from testbed.drift import ANGLES
from testbed.replay import Replay, ReplayError, parse_replay, slices

GOOD = {"step_seconds": 1.0, "requests_per_second": [50, 0], "events_per_second": [20, 5], "seed": 3}


@pytest.fixture
def digits():
    rng = np.random.default_rng(0)
    images = rng.random((40, 8, 8), dtype=np.float32)
    return Digits(images, np.arange(40) % 10, np.broadcast_to(np.eye(64, dtype=np.float32), (len(ANGLES), 64, 64)))


def test_a_good_replay_is_understood():
    assert parse_replay(GOOD) == Replay(1.0, (50.0, 0.0), (20.0, 5.0), 3)


@pytest.mark.parametrize(
    "change",
    [
        {"step_seconds": 0},
        {"step_seconds": math.nan},
        {"step_seconds": "1"},
        {"requests_per_second": []},
        {"requests_per_second": [1, -1]},
        {"requests_per_second": [1, math.inf]},
        {"requests_per_second": [1, 2, 3]},
        {"events_per_second": 5},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": True},
        {"stream_time_seconds": -1},
        {"rps": [1]},
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(change):
    with pytest.raises(ReplayError):
        parse_replay({**GOOD, **change})


@pytest.mark.parametrize("missing", ["step_seconds", "requests_per_second", "events_per_second"])
def test_a_replay_that_lacks_something_names_it(missing):
    with pytest.raises(ReplayError, match=missing):
        parse_replay({key: value for key, value in GOOD.items() if key != missing})


def test_the_same_seed_sends_the_same_requests_and_events(digits):
    first, second = (list(slices(parse_replay(GOOD), digits, 100.0)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.request_times, other.request_times)
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.events, other.events)


def test_another_seed_sends_others(digits):
    first, second = (list(slices(parse_replay({**GOOD, "seed": seed}), digits, 100.0)) for seed in (1, 2))
    assert first[0].request_times.tolist() != second[0].request_times.tolist()


def test_arrivals_are_in_order_within_their_slice_and_as_many_as_the_rate_says(digits):
    replay = Replay(10.0, (200.0,), (100.0,), seed=1)
    parts = list(slices(replay, digits, 0.0))
    times = np.concatenate([part.request_times for part in parts])
    assert (np.diff(times) >= 0).all()
    assert 0 <= times[0] < times[-1] <= 10.0
    assert len(times) == pytest.approx(2000, abs=4 * math.sqrt(2000))
    assert sum(len(part.events) for part in parts) == pytest.approx(1000, abs=4 * math.sqrt(1000))


def test_a_rate_of_zero_sends_nothing(digits):
    parts = list(slices(Replay(1.0, (0.0,), (0.0,)), digits, 0.0))
    assert sum(len(part.request_times) + len(part.events) for part in parts) == 0
