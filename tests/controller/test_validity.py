"""Readings that are not believed: absent, impossible, frozen, or in contradiction with others."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.laws import WINDOW
from controller.validity import FROZEN_PERIODS, HELD_PERIODS, LEARNING_PERIODS, Fault, Finding, Validity, doubts
from envs.spec import SystemSpec
from plants import HEALTHY
from telemetry.metrics import Snapshot

REFERENCE = SystemSpec.load("reference")
NAMES = REFERENCE.catalogue.names


class Host:
    """Feeds healthy readings that vary a little, with changes on top, into the checks."""

    def __init__(self, **options: object) -> None:
        self.checks, self.period = Validity(REFERENCE, **options), 0
        self.random = np.random.default_rng(0)
        self.setting = REFERENCE.default_setting
        cpu = {o.cpu_used: 0.2 for o in REFERENCE.workloads.values()}
        self.usual = np.array([(HEALTHY | cpu).get(name, 0.0) for name in NAMES])

    def read(self, **changes: float) -> tuple[np.ndarray, list[Finding]]:
        """One period: the values that are believed, and the findings."""
        self.period += 1
        values = self.usual * (1.0 + 0.01 * self.random.random(len(NAMES)))
        values[[NAMES.index(n) for n in ("serving_within_slo_ratio", "training_goodput_per_second")]] *= 0.95
        for name, value in changes.items():
            values[NAMES.index(name)] = value
        snapshot, findings = self.checks.check(Snapshot(float(self.period), values), self.setting)
        return snapshot.values, findings

    def live(self, periods: int, **changes: float) -> list[Finding]:
        """Several periods; the findings of the last one."""
        for _ in range(periods):
            _, findings = self.read(**changes)
        return findings


def faults(findings: list[Finding]) -> dict[str, Fault]:
    return {finding.metric: finding.fault for finding in findings}


def test_healthy_readings_are_all_believed():
    assert Host(host_cores=2.0, limits_hold=True).live(400) == []


@pytest.mark.clause("O2")
@pytest.mark.parametrize(
    ("metric", "value", "fault"),
    [
        ("serving_arrivals_per_second", np.nan, Fault.MISSING),
        ("serving_arrivals_per_second", np.inf, Fault.NOT_FINITE),
        ("serving_arrivals_per_second", -np.inf, Fault.NOT_FINITE),
        ("serving_arrivals_per_second", -1.0, Fault.BELOW_RANGE),
        ("serving_within_slo_ratio", 1.2, Fault.ABOVE_RANGE),
        ("host_cpu_used_ratio", 97.0, Fault.ABOVE_RANGE),
        ("serving_memory_bytes", 1e308, Fault.ABOVE_RANGE),
    ],
)
def test_a_reading_that_cannot_be_true_is_dropped_and_counted_by_reason(metric, value, fault):
    host = Host()
    values, findings = host.read(**{metric: value})
    assert faults(findings) == {metric: fault}
    assert np.flatnonzero(np.isnan(values)).tolist() == [NAMES.index(metric)]
    series = f'trimtab_controller_invalid_readings_total{{reason="{fault}",metric="{metric}"}}'
    assert host.checks.metrics()[series] == 1.0


@pytest.mark.clause("O2")
@pytest.mark.parametrize("metric", ["serving_queue_requests", "serving_model_age_seconds", "ingest_backlog_events"])
def test_a_level_beyond_what_is_told_apart_is_still_a_reading(metric):
    high = REFERENCE.catalogue[metric].high
    assert Host().read(**{metric: 3.0 * high})[1] == []


@pytest.mark.clause("O2")
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=27, max_size=27))
def test_whatever_is_read_what_is_left_is_finite_in_range_and_as_it_was(values):
    read = np.array(values)
    snapshot, findings = Validity(REFERENCE).check(Snapshot(1.0, read), REFERENCE.default_setting)
    left = np.isfinite(snapshot.values)
    assert (snapshot.values[left] == read[left]).all()
    assert (snapshot.values[left] >= -1e-9).all()
    assert {finding.metric for finding in findings} == set(np.array(NAMES)[~left])


@pytest.mark.clause("O3")
def test_a_restless_sensor_that_stands_still_is_frozen_and_believed_again_when_it_moves():
    host = Host()
    host.live(LEARNING_PERIODS + 10)
    assert host.live(FROZEN_PERIODS - 1, serving_accuracy_ratio=0.9001) == []
    assert faults(host.live(1, serving_accuracy_ratio=0.9001)) == {"serving_accuracy_ratio": Fault.FROZEN}
    assert host.live(1) == []


@pytest.mark.clause("O3")
def test_a_sensor_that_was_frozen_once_in_half_an_hour_is_caught_again():
    host = Host()
    host.live(1800)
    host.live(300, serving_accuracy_ratio=0.9001)
    host.live(FROZEN_PERIODS)
    assert faults(host.live(FROZEN_PERIODS, serving_accuracy_ratio=0.9002)) == {"serving_accuracy_ratio": Fault.FROZEN}


@pytest.mark.clause("O3")
def test_what_rests_by_nature_is_never_frozen():
    host = Host()
    for step in range(40):
        findings = host.live(20, ingest_memory_bytes=1e8 + step)
    findings += host.live(500, ingest_memory_bytes=2e8)
    assert findings == []


@pytest.mark.clause("O3")
def test_a_workload_that_nobody_asks_for_may_stand_still():
    host = Host()
    host.live(LEARNING_PERIODS + 10)
    idle = {name: 0.0 for name in NAMES if name.startswith("serving_") and name.endswith("per_second")}
    latency = dict.fromkeys(("serving_latency_p50_seconds", "serving_latency_p99_seconds"), 0.0)
    assert host.live(200, **idle, **latency, serving_accuracy_ratio=0.9) == []


@pytest.mark.clause("O3")
def test_a_value_at_the_end_of_its_range_may_stand_still():
    host = Host()
    host.live(LEARNING_PERIODS + 10)
    assert host.live(200, serving_within_slo_ratio=1.0) == []


@pytest.mark.clause("O4")
@pytest.mark.parametrize(
    ("changes", "suspects"),
    [
        ({"serving_goodput_per_second": 250.0}, "serving_goodput_per_second"),
        ({"serving_latency_p50_seconds": 5.0, "serving_latency_p99_seconds": 5.5}, "serving_latency_p50_seconds"),
        ({"serving_queue_requests": 200.0}, "serving_queue_requests"),
        ({"serving_latency_p50_seconds": 0.5}, "serving_latency_p99_seconds"),
        ({"training_goodput_per_second": 900.0}, "training_samples_per_second"),
        ({"ingest_written_per_second": 400.0}, "ingest_written_per_second"),
        ({"serving_within_slo_ratio": 0.0}, "serving_goodput_per_second"),
        ({"serving_cpu_used_cores": 1.9, "training_cpu_used_cores": 1.9}, "ingest_cpu_used_cores"),
    ],
)
def test_readings_that_contradict_each_other_are_suspect(changes, suspects):
    host = Host(host_cores=2.0)
    host.live(WINDOW + HELD_PERIODS)
    findings = host.live(WINDOW, **changes)
    assert faults(findings)[suspects] is Fault.SUSPECT
    assert "contradicts others" in doubts(findings)


def test_a_law_that_never_held_says_nothing_against_a_reading():
    assert Host().live(200, serving_goodput_per_second=250.0) == []


@pytest.mark.clause("O4")
def test_more_used_than_granted_is_suspect_where_grants_are_limits_and_only_there():
    used = {"training_cpu_used_cores": 0.75}
    limited, weighted = Host(limits_hold=True), Host()
    for host in (limited, weighted):
        host.live(WINDOW + HELD_PERIODS)
    assert faults(limited.live(4, **used)) == {"training_cpu_used_cores": Fault.SUSPECT}
    assert weighted.live(4, **used) == []


@pytest.mark.clause("O4")
def test_a_limit_that_was_just_lowered_is_not_held_against_the_use_before():
    host = Host(limits_hold=True)
    host.live(WINDOW + HELD_PERIODS, training_cpu_used_cores=0.45)
    host.setting = host.setting.copy()
    host.setting[REFERENCE.knob_index("training_cpu_cores")] = 0.2
    assert host.live(1, training_cpu_used_cores=0.45) == []


@pytest.mark.clause("O4")
def test_a_burst_that_fills_the_queue_and_is_worked_off_contradicts_nothing():
    host = Host()
    host.live(WINDOW + HELD_PERIODS)
    slow = {"serving_latency_p50_seconds": 0.5, "serving_latency_p99_seconds": 1.1}
    findings = [host.read(serving_arrivals_per_second=200.0, serving_queue_requests=100.0, **slow)[1]]
    findings += [host.read(serving_goodput_per_second=200.0, **slow)[1] for _ in range(1)]
    findings += [host.read()[1] for _ in range(WINDOW)]
    assert not any(findings)


def test_the_valid_share_is_told():
    host = Host()
    host.read(**dict.fromkeys(NAMES[:9], np.nan))
    assert host.checks.valid_share == pytest.approx(18 / 27)
    assert host.checks.metrics()["trimtab_controller_valid_readings_ratio"] == pytest.approx(18 / 27)


def test_what_is_missing_is_no_doubt_and_many_doubts_are_one_line():
    host = Host()
    assert doubts(host.read(serving_queue_requests=np.nan)[1]) == ""
    assert doubts(host.read(**dict.fromkeys(NAMES[:2], np.inf))[1]) == f"{NAMES[0]}, {NAMES[1]} is inf"
    line = doubts(host.read(**{name: -1.0 - i for i, name in enumerate(NAMES[:6])})[1])
    assert line.startswith("serving_arrivals_per_second is -1, its least is 0; ")
    assert line.endswith("; and 3 more")


def test_a_period_takes_less_than_a_thousandth_of_it():
    host, spent = Host(host_cores=2.0, limits_hold=True), []
    for _ in range(200):
        begin = time.perf_counter()
        host.read()
        spent.append(time.perf_counter() - begin)
    assert min(spent) < 1e-3
