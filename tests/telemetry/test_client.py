from __future__ import annotations

import ast
import math
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import telemetry.client
from telemetry.client import ClientError, GradientNoiseScale, Pusher, Registry, Training
from telemetry.collectors.scrape import ScrapeSource, parse_text
from telemetry.http_server import HttpServer
from telemetry.push import PushSource
from telemetry.series_catalogue import describe

PARTS = ("data_wait", "compute", "optimizer")


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def training(clock: Clock) -> Training:
    return Training(Registry(clock), cpu_clock=lambda: 2 * clock())  # two cores busy


def values(training: Training) -> dict[str, float]:
    return parse_text(training.registry.text())


label_text = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), max_size=12)


@given(label_text, st.floats(0, 1e9), st.floats(allow_nan=False))
def test_whatever_is_set_is_read_back_by_prometheus(label: str, grown: float, level: float) -> None:
    registry = Registry()
    registry.counter("a_total", "As.", name=label).inc(grown)
    registry.gauge("b_seconds", 'Two \\ "lines".\nAnd \\n.', name=label).set(level)
    counter, gauge = text_string_to_metric_families(registry.text())
    assert [(s.name, s.labels, s.value) for s in counter.samples] == [("a_total", {"name": label}, grown)]
    assert [(s.name, s.labels, s.value) for s in gauge.samples] == [("b_seconds", {"name": label}, level)]
    assert gauge.documentation == 'Two \\ "lines".\nAnd \\n.'


@given(st.lists(st.floats(0, 100), max_size=20))
def test_a_histogram_counts_every_value_below_its_bounds(seen: list[float]) -> None:
    registry = Registry()
    histogram = registry.histogram("h_seconds", buckets=(0.1, 1.0, 10.0))
    for value in [*seen, math.nan]:
        histogram.observe(value)
    read = parse_text(registry.text())
    for bound in (0.1, 1.0, 10.0, math.inf):
        le = "+Inf" if bound == math.inf else repr(bound)
        assert read[f'h_seconds_bucket{{le="{le}"}}'] == sum(value <= bound for value in seen)
    assert read["h_seconds_count"] == len(seen)
    assert read["h_seconds_sum"] == pytest.approx(sum(seen))


def test_a_gauge_is_absent_until_it_is_set_and_when_it_is_nan() -> None:
    registry = Registry()
    gauge = registry.gauge("x")
    assert registry.text() == ""
    gauge.set(1.0)
    gauge.set(math.nan)
    assert registry.text() == ""


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    import numpy as np
    import torch

    registry = Registry()
    registry.counter("a_total").inc(np.float64(1.5))
    registry.gauge("b").set(torch.tensor(2.5))  # type: ignore[arg-type]
    registry.histogram("c", buckets=(1,)).observe(np.float32(0.5))  # type: ignore[arg-type]
    found = parse_text(registry.text())
    assert (found["a_total"], found["b"], found["c_sum"]) == (1.5, 2.5, 0.5)


def test_the_same_name_and_labels_are_the_same_series() -> None:
    registry = Registry()
    registry.counter("a_total", role="x").inc()
    registry.counter("a_total", role="x").inc(2)
    assert parse_text(registry.text()) == {'a_total{role="x"}': 3.0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda r: r.counter("a"), "must end in _total"),
        (lambda r: r.counter("a_total").inc(-1), "amounts >= 0"),
        (lambda r: r.counter("a_total").set(1), "use inc"),
        (lambda r: (r.gauge("a"), r.histogram("a")), "is a gauge already"),
        (lambda r: r.gauge("a b"), "must match"),
        (lambda r: r.gauge("a", **{"le-le": "1"}), "must match"),
        (lambda r: r.histogram("a", buckets=(2, 1)), "must rise"),
    ],
)
def test_what_prometheus_would_not_understand_is_refused(wrong, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        wrong(Registry())


def test_counting_from_many_threads_loses_nothing() -> None:
    registry = Registry()
    counter = registry.counter("a_total")
    threads = [threading.Thread(target=lambda: [counter.inc() for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value == 8000


def test_a_loop_of_three_lines_is_a_source(training: Training) -> None:
    server = training.registry.serve(0)
    for batch in training.batches([[1, 2], [3, 4]]):
        training.report(samples=len(batch), loss=0.5)
    found = ScrapeSource("s", f"http://127.0.0.1:{server.server_port}/metrics").collect()
    server.shutdown()
    server.server_close()
    assert found["training_samples_total"] == 4
    assert found["training_steps_total"] == 2
    assert found["training_loss"] == 0.5


def test_the_parts_of_a_step_add_up_to_it(training: Training, clock: Clock) -> None:
    def loader() -> Iterator[int]:
        for _ in range(3):
            clock.spend(0.25)
            yield 8

    for samples in training.batches(loader()):
        clock.spend(0.5)
        with training.part("optimizer"):
            clock.spend(0.25)
        training.report(samples=samples)
    found = values(training)
    parts = {part: found[f'training_step_part_seconds_total{{part="{part}"}}'] for part in PARTS}
    assert parts == {"data_wait": 0.75, "compute": 1.5, "optimizer": 0.75}
    assert found["training_step_seconds_sum"] == sum(parts.values())
    assert found["training_data_wait_ratio"] == 0.25
    assert found["training_samples_per_second_per_core"] == 4.0  # 24 samples in 3 s on 2 cores


def test_a_step_that_fails_is_not_counted(training: Training) -> None:
    with pytest.raises(ZeroDivisionError), training.step():
        1 / 0  # noqa: B018
    assert "training_step_seconds_count" not in values(training) or values(training)["training_step_seconds_count"] == 0
    with training.step():
        pass
    assert values(training)["training_step_seconds_count"] == 1


def test_shares_are_those_of_the_last_steps(training: Training, clock: Clock) -> None:
    for _ in range(100):
        with training.step(), training.part("data_wait"):
            clock.spend(1.0)
    for _ in range(100):
        with training.step():
            clock.spend(1.0)
    assert values(training)["training_data_wait_ratio"] == 0.0


def test_all_series_of_the_client_are_described(training: Training, clock: Clock) -> None:
    with training.step():
        clock.spend(1.0)
    training.report(loss=1, accuracy_ratio=1, learning_rate=1, gradient_noise_scale_samples=1)
    for family in text_string_to_metric_families(training.registry.text()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        described = describe(name)
        assert described is not None, name
        assert described.kind == family.type


def test_a_torch_optimizer_is_timed_and_its_learning_rate_shown(training: Training, clock: Clock) -> None:
    import torch

    class Slow(torch.optim.SGD):
        def step(self, closure=None):
            clock.spend(0.5)
            return super().step(closure)

    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = Slow([weight], lr=0.25)
    training.watch(optimizer)
    for batch in training.batches([torch.ones(2)]):
        (weight * batch).sum().backward()
        optimizer.step()
    found = values(training)
    assert found['training_step_part_seconds_total{part="optimizer"}'] == 0.5
    assert found["training_learning_rate"] == 0.25
    assert weight.detach().tolist() == [0.75, 0.75]


def test_the_events_of_transformers_become_steps(training: Training, clock: Clock) -> None:
    callback = training.transformers()
    arguments = SimpleNamespace(train_batch_size=8, gradient_accumulation_steps=2, world_size=1)
    state, control = SimpleNamespace(), SimpleNamespace()
    callback.on_init_end(arguments, state, control)  # an event that is of no interest
    callback.on_train_begin(arguments, state, control)
    for _ in range(2):
        clock.spend(1.0)
        callback.on_step_begin(arguments, state, control)
        clock.spend(2.0)
        callback.on_pre_optimizer_step(arguments, state, control)
        clock.spend(1.0)
        callback.on_optimizer_step(arguments, state, control)
        callback.on_step_end(arguments, state, control)
        callback.on_log(arguments, state, control, logs={"loss": 0.5, "learning_rate": 1e-4, "epoch": 1})
    clock.spend(5.0)
    callback.on_evaluate(arguments, state, control, metrics={"eval_accuracy": 0.75})
    clock.spend(3.0)
    callback.on_save(arguments, state, control)
    callback.on_step_begin(arguments, state, control)
    callback.on_step_end(SimpleNamespace(), state, control)
    found = values(training)
    assert found['training_step_part_seconds_total{part="evaluation"}'] == 5.0
    assert found['training_step_part_seconds_total{part="checkpoint"}'] == 3.0
    assert {p: found[f'training_step_part_seconds_total{{part="{p}"}}'] for p in PARTS} == {
        "data_wait": 2.0,
        "compute": 4.0,
        "optimizer": 2.0,
    }
    assert found["training_samples_total"] == 33
    assert (found["training_loss"], found["training_accuracy_ratio"]) == (0.5, 0.75)
    with pytest.raises(AttributeError):
        callback.no_event  # noqa: B018


def test_stable_baselines3_learning_is_measured() -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    training = Training()
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64, n_epochs=1, device="cpu", seed=0)
    model.learn(192, callback=training.stable_baselines3(BaseCallback))
    found = values(training)
    assert found["training_samples_total"] == 192
    assert found["training_step_seconds_count"] == 3
    assert 0 < found["training_data_wait_ratio"] < 1
    assert found["training_learning_rate"] == pytest.approx(3e-4)
    assert found["training_episode_return"] > 0


def test_the_noise_scale_is_that_of_the_gradients() -> None:
    # Gradient g = (3, 4), noise of variance 100 per sample: |g|^2 = 25, tr(S) = 100, so the scale is 4 samples.
    scale = GradientNoiseScale()
    for small, big in ((1, 4), (2, 8)):
        assert scale.update(small, 25 + 100 / small, big, 25 + 100 / big) == pytest.approx(4.0)


def test_a_noise_scale_that_cannot_be_told_is_nan() -> None:
    assert math.isnan(GradientNoiseScale().update(1, 1.0, 2, 2.0))
    assert math.isnan(GradientNoiseScale().update(1, math.nan, 2, 2.0))
    with pytest.raises(ClientError, match="0 and 2"):
        GradientNoiseScale().update(0, 1.0, 2, 1.0)


def test_pushed_metrics_arrive_with_job_and_instance(training: Training) -> None:
    source = PushSource(token="s3cret")
    server = HttpServer(0, source.answer)
    url = f"http://127.0.0.1:{server.port}"
    training.report(loss=0.5)
    assert Pusher(training.registry, url, "nightly", "host:1", token="s3cret").push()
    assert not Pusher(training.registry, url, "nightly", "host:2", token="wrong").push()
    server.close()
    found = source.collect()
    assert found['training_loss{job="nightly",instance="host:1"}'] == 0.5
    assert source.families["training_loss"].kind == "gauge"
    assert not any("host:2" in series for series in found)


def test_a_monitor_that_is_away_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    pusher = Pusher(Registry(), "http://127.0.0.1:9", "job")
    assert not pusher.push()
    assert not pusher.push()
    assert len(caplog.messages) == 1


def test_closing_a_pusher_pushes_once_more_and_only_once() -> None:
    source = PushSource()
    server = HttpServer(0, source.answer)
    registry = Registry()
    pusher = Pusher(registry, f"http://127.0.0.1:{server.port}", "job", "i")
    registry.gauge("last").set(7)
    pusher.close()
    registry.gauge("last").set(8)
    pusher.close()
    server.close()
    assert source.collect()['last{job="job",instance="i"}'] == 7.0


def test_the_client_serves_its_page_alone() -> None:
    server = Registry().serve(0)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/other", timeout=2)
    server.shutdown()
    server.server_close()


def test_the_client_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(telemetry.client.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert {str(name).partition(".")[0] for name in names} <= sys.stdlib_module_names
