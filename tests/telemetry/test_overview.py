"""What the live view is made of: readings, host, workloads, movers and the line of plain text."""

from __future__ import annotations

import math

import numpy as np
import pytest

from telemetry.host_summary import summarize
from telemetry.live_readings import LiveReadings
from telemetry.movers import Movers
from telemetry.overview import Watcher, line
from telemetry.sweep import RowValues, Sweep
from telemetry.workload_rows import Workloads


def sweep(time: float, errors: dict[str, str] | None = None, /, **values: float) -> Sweep:
    return Sweep(time, RowValues(tuple(values), np.array(list(values.values()), dtype=float)), errors or {})


def readings(*sweeps: Sweep) -> LiveReadings:
    found = LiveReadings()
    for one in sweeps:
        found.update(one)
    return found


def test_rates_are_growth_per_second() -> None:
    x, y = 'c_total{r="x"}', 'c_total{r="y"}'
    found = readings(sweep(10, **{x: 1, y: 5}), sweep(12, **{x: 4, y: 6}))
    assert found.rate("c_total", r="x") == 1.5
    assert found.rate("c_total") == 2.0
    assert found.level("c_total") == 10
    assert math.isnan(found.rate("other"))


def test_a_reset_counter_has_no_rate() -> None:
    found = readings(sweep(0, c_total=5), sweep(1, c_total=4))
    assert math.isnan(found.rate("c_total"))
    assert found.level("c_total") == 4


def test_rates_survive_a_change_of_the_series_set() -> None:
    found = readings(sweep(0, a_total=1, b_total=1), sweep(1, b_total=3, c_total=9))
    assert found.rate("b_total") == 2
    assert math.isnan(found.rate("c_total"))


USER, IDLE = 'node_cpu_seconds_total{cpu="0",mode="user"}', 'node_cpu_seconds_total{cpu="0",mode="idle"}'


def test_the_share_of_a_processor_is_of_its_own_time() -> None:
    found = summarize(readings(sweep(0, **{USER: 0, IDLE: 0}), sweep(1, **{USER: 0.3, IDLE: 0.6})))
    assert found.used == pytest.approx([1 / 3])
    assert found.cpu_used == pytest.approx(1 / 3)


def test_idle_time_that_steps_back_does_not_hide_a_processor() -> None:
    found = summarize(readings(sweep(0, **{USER: 0, IDLE: 5}), sweep(1, **{USER: 1, IDLE: 4.99})))
    assert found.used == [1.0]


def test_the_busiest_devices_come_first() -> None:
    name = 'node_network_{}_bytes_total{{device="{}"}}'.format
    before = {name(way, device): 0.0 for device in ("lo", "eth0") for way in ("receive", "transmit")}
    found = summarize(readings(sweep(0, **before), sweep(1, **before | {name("receive", "eth0"): 10.0})))
    assert [(one.device, one.into, one.out) for one in found.networks] == [("eth0", 10, 0), ("lo", 0, 0)]


def test_another_host_that_is_scraped_is_not_this_one() -> None:
    series = ("node_load1", 'node_load1{component="other"}', 'node_network_receive_bytes_total{device="a",job="x"}')
    found = summarize(readings(sweep(0, **dict.fromkeys(series, 1.0)), sweep(1, **dict.fromkeys(series, 2.0))))
    assert found.load[0] == 2.0
    assert found.networks == []


def test_an_unknown_host_is_unknown_not_zero() -> None:
    found = summarize(readings(sweep(0, x=1)))
    assert math.isnan(found.cpu_used)
    assert math.isnan(found.memory_used)
    assert all(math.isnan(some) for some, _ in found.pressure.values())


def buckets(low: float, high: float) -> dict[str, float]:
    key = 'h_seconds_bucket{{component="serving",le="{}"}}'.format
    return {key("0.1"): low, key("0.2"): high, key("+Inf"): high}


def test_a_workload_is_one_row_out_of_all_its_sources() -> None:
    def at(time: float, cpu: float, requests: float, **values: float) -> Sweep:
        return sweep(
            time,
            **{
                'container_cpu_usage_seconds_total{name="serving"}': cpu,
                'process_cpu_seconds_total{group="serving",mode="user"}': 100 * cpu,
                'process_resident_memory_bytes{group="serving"}': 4096,
                'serving_requests_total{component="serving"}': requests,
            },
            **values,
        )

    workloads, found = Workloads(), LiveReadings()
    for one in (at(0, 0.0, 0, **buckets(0, 0)), at(1, 0.5, 40, **buckets(2, 4))):
        found.update(one)
        (row,) = workloads.update(found)
    assert (row.name, row.cores, row.memory, row.rate, row.counted) == ("serving", 0.5, 4096, 40, "requests")
    assert (row.p50, row.p99) == pytest.approx((0.1, 0.198))
    assert row.rate_past[-1] == 40


def test_percentiles_are_those_of_the_last_periods_and_start_anew_after_a_restart() -> None:
    workloads, found = Workloads(), LiveReadings()
    for time, values in enumerate([(0, 0), (9, 9), (0, 0), (0, 5)]):
        found.update(sweep(time, **buckets(*values)))
        (row,) = workloads.update(found)
    assert row.p50 == pytest.approx(0.15)  # all five lie in the second bucket


def test_a_bucket_that_is_none_is_left_aside() -> None:
    odd = {'x_seconds_bucket{component="a"}': 1.0, 'x_seconds_bucket{component="a",le="odd"}': 1.0}
    workloads, found = Workloads(), LiveReadings()
    for time in range(2):
        found.update(sweep(time, **odd))
        (row,) = workloads.update(found)
    assert math.isnan(row.p99)


def test_a_group_that_vanishes_takes_its_row_along() -> None:
    workloads, found = Workloads(), LiveReadings()
    for time, values in enumerate([{'process_count{group="a"}': 1.0, 'process_count{group="b"}': 1.0}] * 2):
        found.update(sweep(time, **values))
        assert [row.name for row in workloads.update(found)] == ["a", "b"]
    found.update(sweep(2, **{'process_count{group="b"}': 1.0}))
    assert [row.name for row in workloads.update(found)] == ["b"]


def test_the_series_farthest_from_its_usual_moves_most() -> None:
    movers, found = Movers(), LiveReadings()
    for time in range(20):
        found.update(sweep(time, steady=5, jumps=100 if time == 19 else 1, grows_total=10 * time, wobbles=time % 2))
        moved = movers.update(found, 5)
    (one,) = moved
    assert (one.series, one.value, one.usual, one.is_rate) == ("jumps", 100, pytest.approx(1), False)


def test_nothing_is_unusual_before_anything_is_usual() -> None:
    movers, found = Movers(), LiveReadings()
    for time, value in enumerate([1.0, 1000.0, math.nan]):
        found.update(sweep(time, x=value))
        assert movers.update(found, 5) == []


def test_what_is_usual_survives_a_change_of_the_series_set() -> None:
    movers, found = Movers(), LiveReadings()
    for time in range(10):
        found.update(sweep(time, jumps=1, other=1))
        movers.update(found, 5)
    found.update(sweep(10, new=7, jumps=50))
    assert [one.series for one in movers.update(found, 5)] == ["jumps"]


def test_the_plain_line_tells_host_workloads_and_failures() -> None:
    values = {"node_memory_MemTotal_bytes": 2**31, "node_memory_MemAvailable_bytes": 2**30, "node_load1": 0.5}
    watcher = Watcher()
    for time in range(2):
        requests = {'serving_requests_total{component="serving"}': 40.0 * time}
        overview = watcher.look(sweep(time, {"training": "gone"}, **values, **requests))
    text = line(overview)
    assert "memory 1 GiB of 2 GiB" in text
    assert "serving 40 requests/s" in text
    assert "training FAILS (gone)" in text
    assert "\n" not in text
