"""What the simulated system does when a knob is turned: the directions that every real one shows."""

from itertools import pairwise

import pytest


@pytest.fixture
def mean(steady):
    """Mean of a metric over the second half of a run."""

    def measured(metric, *, periods=120, **options):
        return getattr(steady(**options).run(periods), metric)[periods // 2 :].mean()

    return measured


@pytest.fixture
def capacity(mean):
    """Requests answered per second when far more arrive."""
    return lambda **knobs: 3000.0 - mean("serving_failed_per_second", requests=3000.0, **knobs)


def rises(values: list[float], by: float = 0.0) -> bool:
    return all(later >= earlier - 1e-9 * abs(earlier) + by for earlier, later in pairwise(values))


@pytest.mark.parametrize("threads", [1.0, 2.0])
def test_more_cpu_never_lowers_capacity(capacity, threads):
    grants = (0.1, 0.3, 0.5, 0.8, 1.0, 1.3)
    assert rises([capacity(serving_cpu_cores=cores, serving_threads=threads) for cores in grants])


def test_a_larger_batch_raises_capacity(capacity):
    assert rises([capacity(serving_batch_size=size) for size in (1.0, 4.0, 16.0, 64.0)], by=1.0)


def test_two_threads_under_half_a_core_are_much_slower(capacity):
    one, two = (capacity(serving_cpu_cores=0.5, serving_threads=threads) for threads in (1.0, 2.0))
    assert two < one / 2


def test_the_cliff_of_the_second_thread_flattens_as_cores_are_granted(capacity):
    grants = (0.2, 0.5, 0.8, 1.3)
    shares = [
        capacity(serving_cpu_cores=cores, serving_threads=2.0) / capacity(serving_cpu_cores=cores, serving_threads=1.0)
        for cores in grants
    ]
    assert rises(shares, by=0.03)


def test_a_longer_batch_timeout_makes_larger_batches_and_an_idle_service_slower(mean):
    sizes = [mean("serving_batch_mean_size", serving_batch_timeout_seconds=s, requests=30.0) for s in (0.0, 0.02, 0.05)]
    latency = [
        mean("serving_latency_p50_seconds", serving_batch_timeout_seconds=s, requests=30.0) for s in (0.0, 0.02, 0.05)
    ]
    assert rises(sizes, by=0.1)
    assert rises(latency, by=0.001)


def test_latency_grows_and_the_share_within_the_slo_falls_with_load(mean):
    loads = (10.0, 50.0, 150.0, 250.0, 400.0, 800.0)
    assert rises([mean("serving_latency_p99_seconds", requests=load) for load in loads])
    assert rises([-mean("serving_within_slo_ratio", requests=load) for load in loads])


def test_an_overload_fills_the_queue_and_fails_requests(mean):
    assert mean("serving_queue_requests", requests=2000.0) > 100
    assert mean("serving_failed_per_second", requests=2000.0) > 500
    assert mean("serving_within_slo_ratio", requests=2000.0) < 0.3


def test_nothing_failed_when_nothing_arrives(mean):
    assert mean("serving_within_slo_ratio", requests=0.0) == 1.0
    assert mean("serving_failed_per_second", requests=0.0) == 0.0


def test_training_never_trains_on_more_than_is_asked_for(mean):
    assert mean("training_samples_per_second", training_cpu_cores=1.0) <= mean("training_demand_per_second") * 1.001
    assert mean("training_samples_per_second", events=0.0) < 1.0


def test_a_larger_training_batch_is_faster_and_less_efficient(mean):
    sizes = (16.0, 64.0, 256.0)
    samples = [mean("training_samples_per_second", training_batch_size=size, events=1000.0) for size in sizes]
    goodput = [mean("training_goodput_per_second", training_batch_size=size, events=1000.0) for size in sizes]
    share = [g / s for g, s in zip(goodput, samples, strict=True)]
    assert rises(samples, by=10.0)
    assert share == pytest.approx([1.0, 160.0 / 192.0, 160.0 / 384.0])


def test_starving_training_lowers_accuracy(mean):
    fed, starved = (mean("serving_accuracy_ratio", training_cpu_cores=cores) for cores in (0.6, 0.05))
    assert starved < fed - 0.05


def test_rare_checkpoints_make_the_model_old_and_less_accurate_and_save_storage(mean):
    intervals = (5.0, 20.0, 60.0)
    age, accuracy, written = (
        [mean(metric, training_checkpoint_interval_seconds=i, periods=360) for i in intervals]
        for metric in ("serving_model_age_seconds", "serving_accuracy_ratio", "storage_written_bytes_per_second")
    )
    assert rises(age, by=3.0)
    assert rises([-a for a in accuracy], by=0.005)
    assert rises([-w for w in written], by=1e5)


def test_larger_chunks_cost_less_cpu_and_more_lag(mean):
    sizes = (8.0, 32.0, 128.0)
    cpu = [mean("ingest_cpu_used_cores", ingest_chunk_events=size) for size in sizes]
    lag = [mean("ingest_lag_seconds", ingest_chunk_events=size) for size in sizes]
    assert rises([-c for c in cpu], by=0.001)
    assert rises(lag, by=0.01)


def test_a_larger_cache_saves_cpu_and_takes_memory(mean):
    sizes = (16.0, 512.0, 8192.0)
    assert rises([-mean("ingest_cpu_used_cores", ingest_cache_entries=size) for size in sizes], by=0.001)
    assert rises([mean("ingest_memory_bytes", ingest_cache_entries=size) for size in sizes], by=1.0)


def test_too_little_cpu_for_ingest_builds_a_backlog(mean):
    assert mean("ingest_backlog_events", ingest_cpu_cores=0.03, events=400.0) > 1000
    assert mean("ingest_lag_seconds", ingest_cpu_cores=0.03, events=400.0) > 3


def test_a_busy_host_slows_everybody_down(mean):
    greedy = {"training_cpu_cores": 1.0, "ingest_cpu_cores": 0.6}
    quiet = mean("training_samples_per_second", requests=0.0, events=400.0, **greedy)
    busy = mean("training_samples_per_second", requests=900.0, events=400.0, serving_cpu_cores=1.3, **greedy)
    assert busy < 0.95 * quiet
