"""One host where workloads contend: CPU by weight, memory, storage and network."""

import numpy as np
import pytest

MEGABYTE = 1e6
GIB = 2.0**30


def test_a_memory_limit_below_its_use_kills_training_and_costs_its_progress(steady):
    fed = steady("host").run(60)
    starved = steady("host", training_memory_limit_bytes=0.5 * GIB).run(60)
    assert fed.training_oom_kills_per_second.sum() == 0
    assert starved.training_oom_kills_per_second.sum() > 5
    assert starved.training_samples_per_second.mean() < 0.5 * fed.training_samples_per_second.mean()
    assert starved.serving_model_age_seconds[-1] > 55 > 15 > fed.serving_model_age_seconds[-1]
    assert starved.serving_accuracy_ratio[-1] < fed.serving_accuracy_ratio[-1] - 0.05


def test_a_killed_trainer_is_away_for_the_time_of_a_restart_and_then_uses_memory_again(steady):
    system = steady("host", training_memory_limit_bytes=0.5 * GIB).run(15)
    there = system.training_memory_bytes > 0
    assert there.tolist() == [True] + 6 * [False] + [True] + 6 * [False] + [True]


def test_a_memory_limit_below_its_use_fails_servings_requests(steady):
    system = steady("host", serving_memory_limit_bytes=0.125 * GIB).run(30)
    assert system.serving_failed_per_second.mean() > 20
    assert system.serving_within_slo_ratio.mean() < 0.5


def test_a_memory_limit_just_above_the_use_slows_training_down_without_killing_it(steady):
    roomy = steady("host", events=400.0).run(60)
    tight = steady("host", events=400.0, training_memory_limit_bytes=1.02 * roomy.training_memory_bytes[-1]).run(60)
    assert tight.training_oom_kills_per_second.sum() == 0
    assert tight.host_memory_pressure_ratio[-1] > 0.1 > roomy.host_memory_pressure_ratio[-1] == 0
    assert tight.training_samples_per_second[-1] < 0.9 * roomy.training_samples_per_second[-1]


def test_a_storage_limit_makes_checkpoints_longer_and_the_model_older(steady):
    knobs = {"events": 200.0, "ingest_cpu_cores": 0.6, "training_checkpoint_interval_seconds": 5.0}
    fast = steady("host", **knobs).run(120)
    slow = steady("host", **knobs, training_storage_limit_bytes_per_second=5 * MEGABYTE).run(120)
    assert slow.training_samples_per_second.mean() < 0.5 * fast.training_samples_per_second.mean()
    assert slow.serving_model_age_seconds.mean() > fast.serving_model_age_seconds.mean() + 3
    assert slow.storage_written_bytes_per_second.max() < 5.5 * MEGABYTE < fast.storage_written_bytes_per_second.max()


def test_a_slow_checkpoint_is_written_to_its_last_byte(steady):
    knobs = {"training_checkpoint_interval_seconds": 30.0}
    fast = steady("host", **knobs).run(115)
    slow = steady("host", **knobs, training_storage_limit_bytes_per_second=10 * MEGABYTE).run(115)
    shards = (fast.ingest_written_per_second - slow.ingest_written_per_second).sum() * 150.0
    written = [system.storage_written_bytes_per_second.sum() for system in (fast, slow)]
    assert written[1] == pytest.approx(written[0], abs=abs(shards) + 1e4)


def test_a_storage_limit_builds_ingests_backlog(steady):
    system = steady("host", ingest_storage_limit_bytes_per_second=1e4).run(60)
    assert system.ingest_written_per_second[-1] < 60
    assert (np.diff(system.ingest_backlog_events) > 0).all()


def test_a_network_limit_bounds_what_serving_answers(steady):
    limit, request = 5e4, 900.0
    system = steady("host", serving_network_limit_bytes_per_second=limit).run(60)
    answered = 100.0 - system.serving_failed_per_second[-1]
    assert 0.0 < answered < 1.05 * limit / request
    assert system.serving_latency_p50_seconds[-1] > 1.0


def test_a_network_limit_bounds_what_ingest_receives(steady):
    system = steady("host", ingest_network_limit_bytes_per_second=9e3).run(60)
    assert system.ingest_written_per_second[-1] == pytest.approx(9e3 / 300.0, rel=1e-6)


CROWDED = {"requests": 900.0, "events": 1000.0, "serving_cpu_cores": 1.3, "training_cpu_cores": 1.0}


def test_a_heavier_workload_gets_more_of_a_crowded_host_at_the_cost_of_the_others(steady):
    even = steady("host", **CROWDED).run(60)
    favoured = steady("host", **CROWDED, training_cpu_weight=400.0).run(60)
    assert favoured.training_samples_per_second[-1] > 1.1 * even.training_samples_per_second[-1]
    assert favoured.serving_goodput_per_second[-1] <= even.serving_goodput_per_second[-1]
    assert favoured.serving_cpu_used_cores[-1] < even.serving_cpu_used_cores[-1]


def test_weights_leave_no_core_idle_while_anybody_wants_it(steady):
    for weight in (10.0, 100.0, 1000.0):
        system = steady("host", **CROWDED, training_cpu_weight=weight).run(60)
        assert system.host_cpu_used_ratio[-1] == pytest.approx(1.0, abs=0.01)


def test_weights_do_nothing_while_there_are_cores_for_all(steady):
    even, heavy = (steady("host", training_cpu_weight=weight).run(30) for weight in (100.0, 1000.0))
    assert (even.training_samples_per_second == heavy.training_samples_per_second).all()


def test_limits_that_nobody_reaches_leave_the_reference_system_bit_for_bit(steady):
    reference, limited = steady().run(80), steady("host").run(80)
    for metric in reference.spec.catalogue.names:
        assert (getattr(reference, metric) == getattr(limited, metric)).all(), metric
