"""Who gets which piece of the demand when, and what is counted; the components are a small HTTP server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from plants import ToyPlant
from telemetry.sampler import Sweep
from telemetry.workload import Demand
from training.live import Interleaving, LoadError, run_interleaved
from training.live_arms import StaticArm

SETTLE, COUNTED = 2, 3


class Climbing(StaticArm):
    """Sets one more request of batch after each period, as policies do: when the period has been read."""

    moves = True

    def step(self):
        snapshot = self.plant.advance(1.0)
        setting = self.plant.setting
        setting[3] += 1.0
        self.plant.apply(setting)
        return snapshot


class SweptPlant(ToyPlant):
    """A toy plant with the load generator's counters: 10 requests a second, all answered."""

    @property
    def last_sweep(self) -> Sweep:
        counters = {f'load_{name}_total{{component="load"}}': 10.0 * self.clock.now for name in ("answered", "correct")}
        counters['load_requests_sent_total{component="load"}'] = 10.0 * self.clock.now
        buckets = {f'load_latency_seconds_bucket{{component="load",le="{le}"}}': 10.0 * self.clock.now
                   for le in ("0.15", "+Inf")}  # fmt: skip
        return Sweep(self.clock.now, counters | buckets)


@pytest.fixture
def server() -> Iterator[tuple[dict[str, str], list[tuple[str, dict]]]]:
    """URLs of the components, and the paths and bodies of what they were asked."""
    asked: list[tuple[str, dict]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{http.server_address[1]}"
    yield {"training": url, "load": url}, asked
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def plant(spec) -> SweptPlant:
    return SweptPlant(spec)


@pytest.fixture
def arms(spec, plant):
    return [StaticArm(plant, spec.default_setting, "a"), Climbing(plant, spec.default_setting, "b")]


def segments(count: int, periods: int = SETTLE + COUNTED) -> list[Demand]:
    return [Demand(f"s{i}", 1.0, np.full(periods, 10.0 + i), np.full(periods, 5.0), "test") for i in range(count)]


def compare(plant, server, arms, **config):
    config = {"settle_periods": SETTLE, "warm_up_periods": 0} | config
    return run_interleaved(plant, server[0], arms, segments(3), Interleaving(**config))


def test_each_segment_goes_to_each_arm_and_another_begins_each_time(plant, server, arms):
    windows = compare(plant, server, arms)
    assert [(w.segment, w.arm) for w in windows] == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_the_first_of_a_segment_marks_the_model_and_the_others_begin_with_it(plant, server, arms):
    compare(plant, server, arms)
    assert [path for path, _ in server[1] if path != "/replay"] == ["/mark", "/rewind"] * 3


def test_arms_meet_the_same_arrivals_at_the_same_time_of_the_stream_and_segments_others(plant, server, arms):
    compare(plant, server, arms, stream_seconds=100.0)
    replayed = [(body["seed"], body["stream_time_seconds"]) for path, body in server[1] if path == "/replay"]
    assert replayed[0::2] == replayed[1::2]
    assert [stream for _, stream in replayed[0::2]] == [100.0, 105.0, 110.0]
    assert len({seed for seed, _ in replayed}) == 3


def test_two_runs_share_no_arrivals(plant, server, arms):
    compare(plant, server, arms, seed=0)
    first = {body["seed"] for path, body in server[1] if path == "/replay"}
    server[1].clear()
    compare(plant, server, arms, seed=1)
    assert first.isdisjoint(body["seed"] for path, body in server[1] if path == "/replay")


def test_only_arms_that_move_are_warmed_up_and_it_is_not_counted(plant, server, arms):
    seen = []
    config = Interleaving(settle_periods=SETTLE, warm_up_periods=4)
    windows = run_interleaved(plant, server[0], arms, segments(1), config, on_period=seen.append)
    assert [progress.arm for progress in seen[:4]] == ["b"] * 4
    assert len(windows) == 2
    assert seen[-1].done == seen[-1].total == 4 + 2 * (SETTLE + COUNTED)


def test_what_settles_is_left_out(plant, server, arms):
    window = compare(plant, server, arms)[0]
    assert window.times.tolist() == [3.0, 4.0, 5.0]
    assert window.client.sent == pytest.approx(10.0 * COUNTED)


def test_a_period_has_the_setting_that_was_in_force_during_it(plant, server, arms):
    """What a policy sets when it has read a period belongs to the next one."""
    window = compare(plant, server, arms)[1]
    batch = plant.spec.default_setting[3] + np.arange(SETTLE, SETTLE + COUNTED)
    assert window.settings[:, 3].tolist() == batch.tolist()
    assert window.previous[:, 3].tolist() == (batch - 1.0).tolist()


def test_a_segment_that_only_settles_is_refused(plant, server, arms):
    with pytest.raises(LoadError, match="longer than it settles"):
        compare(plant, server, arms, settle_periods=SETTLE + COUNTED)


def test_a_testbed_that_does_not_answer_is_told_in_one_line(plant, arms):
    nobody = {"training": "http://127.0.0.1:9", "load": "http://127.0.0.1:9"}
    with pytest.raises(LoadError, match=r"did not answer POST http://127\.0\.0\.1:9/mark"):
        compare(plant, (nobody,), arms)
