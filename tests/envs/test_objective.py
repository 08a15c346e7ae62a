"""Objective: the terms against hand calculations."""

import numpy as np
import pytest

from envs.objective import Objective
from envs.spec import SystemSpec

SPEC = SystemSpec.load("reference")
OBJECTIVE = Objective(SPEC)


def period(**metrics: float) -> np.ndarray:
    """(n_metrics,): 100 of everything wanted and done, SLOs met, no resources used; then what is given."""
    values = dict.fromkeys(SPEC.catalogue.names, 0.0)
    for workload in SPEC.workloads.values():
        values[workload.done] = values[workload.wanted] = 100.0
    values |= {"serving_within_slo_ratio": 1.0, "serving_accuracy_ratio": 0.9, "ingest_lag_seconds": 1.0}
    return np.array([(values | metrics)[name] for name in SPEC.catalogue.names])


def test_the_default_with_all_work_done_has_efficiency_one():
    default = SPEC.default_setting
    terms = OBJECTIVE.score(period(), default, default)
    assert terms == {"efficiency": pytest.approx(1.0), "slo": 0.0, "change": 0.0}


def test_value_is_weighted_and_catching_up_counts_to_its_limit():
    # serving 50 of 100 (0.5 x 0.5), training 300 of 100 clipped at 1.5 (0.35 x 1.5), ingest nothing wanted (0.15 x 1)
    values = period(serving_goodput_per_second=50.0, training_goodput_per_second=300.0, ingest_written_per_second=0.0,
                    ingest_arrivals_per_second=0.0)  # fmt: skip
    assert OBJECTIVE.value(values) == pytest.approx(0.25 + 0.525 + 0.15)


def test_cost_is_the_larger_of_granted_and_used_at_public_prices():
    setting = SPEC.default_setting  # three times 0.5 cores
    values = period(serving_cpu_used_cores=0.8, training_memory_bytes=2.0 * 2**30, storage_written_bytes_per_second=1e7,
                    network_moved_bytes_per_second=5e6)  # fmt: skip
    expected = 0.8 + 0.5 + 0.5 + 2.0 * 0.13 + 10.0 * 0.002 + 5.0 * 0.01
    assert OBJECTIVE.cost(values, setting) == pytest.approx(expected / 1.5)
    np.testing.assert_allclose(OBJECTIVE.reserved(values, setting), [1.8, 2.0, 10.0, 5.0])
    np.testing.assert_allclose(OBJECTIVE.used(values), [0.8, 2.0, 10.0, 5.0])


@pytest.mark.parametrize(
    ("metrics", "broken"),
    [
        ({}, {}),
        ({"serving_within_slo_ratio": 0.95}, {}),
        ({"serving_within_slo_ratio": 0.0}, {"latency": 1.0}),
        ({"serving_accuracy_ratio": 0.325}, {"accuracy": 0.75}),
        ({"ingest_lag_seconds": 4.5}, {"ingest_freshness": 0.75}),
        (
            {"ingest_lag_seconds": 60.0, "serving_model_age_seconds": 30.0},
            {"ingest_freshness": 1.0, "model_freshness": 1.0},
        ),
    ],
)
def test_a_breach_begins_at_a_half_and_grows_with_the_excess(metrics, broken):
    expected = [broken.get(slo.name, 0.0) for slo in SPEC.slos]
    np.testing.assert_allclose(OBJECTIVE.breaches(period(**metrics)), expected)


def test_penalties_are_weighted_means():
    default = SPEC.default_setting
    moved = default.copy()
    moved[SPEC.knob_index("serving_threads")] = 1.0  # the whole of its range
    terms = OBJECTIVE.score(period(serving_within_slo_ratio=0.0), moved, default)
    assert terms["slo"] == pytest.approx(-SPEC.violation_penalty * 3.0 / sum(slo.weight for slo in SPEC.slos))
    assert terms["change"] == pytest.approx(-SPEC.change_penalty)


@pytest.mark.parametrize("metric", ["serving_goodput_per_second", "training_memory_bytes", "ingest_lag_seconds"])
def test_a_missing_reading_is_never_a_good_result(metric):
    values, default = period(**{metric: np.nan}), SPEC.default_setting
    assert np.isnan(sum(OBJECTIVE.score(values, default, default).values()))


def test_slos_are_not_met_without_a_reading():
    assert OBJECTIVE.slo_met(period())
    assert not OBJECTIVE.slo_met(period(serving_accuracy_ratio=np.nan))


def test_a_batch_scores_as_its_rows_do():
    batch = np.stack([period(), period(serving_goodput_per_second=7.0, ingest_lag_seconds=9.0)])
    settings = np.stack([SPEC.default_setting, SPEC.default_setting * 1.1])
    together = OBJECTIVE.score(batch, settings, settings[::-1])
    for i in range(2):
        alone = OBJECTIVE.score(batch[i], settings[i], settings[1 - i])
        assert all(together[name][i] == alone[name] for name in together)


def test_a_pool_reserves_all_of_its_hosts_and_uses_what_each_of_them_uses():
    pool = SystemSpec.load("pool")
    objective, setting = Objective(pool), pool.default_setting
    setting[pool.knob_index("pool_hosts")] = 8.0
    readings = {"pool_ready_hosts": 6.0, "serving_cpu_used_cores": 0.5, "storage_written_bytes_per_second": 1e6}
    values = np.array([readings.get(name, 0.0) for name in pool.catalogue.names])
    np.testing.assert_allclose(objective.used(values), [3.0, 0.0, 6.0, 0.0])
    np.testing.assert_allclose(objective.reserved(values, setting), [8 * pool.cores, 8 * 4.0, 6.0, 0.0])
