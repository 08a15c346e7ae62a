from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from telemetry.collectors.host import HostSource
from telemetry.collectors.source import SourceError

EXPECTED = {
    'node_cpu_seconds_total{cpu="0",mode="user"}',
    "node_context_switches_total",
    "node_load1",
    "node_memory_MemAvailable_bytes",
    'node_network_receive_bytes_total{device="lo"}',
    "node_boot_time_seconds",
}


def test_a_bare_host_gives_hundreds_of_series_with_the_usual_names() -> None:
    values = HostSource(wall_clock=lambda: 1234.0).collect()
    assert len(values) > 500
    assert values.keys() >= EXPECTED | {"node_vmstat_pgfault", "node_procs_running", "node_netstat_Tcp_RetransSegs"}
    assert values["node_time_seconds"] == 1234.0


def test_without_procfs_psutil_gives_the_same_names() -> None:
    source = HostSource(proc="/nowhere", wall_clock=lambda: 1234.0)
    values = source.collect()
    assert values.keys() >= EXPECTED
    ours = HostSource().collect()
    assert {
        name for name in EXPECTED if values[name] > 1.1 * ours[name] + 5 or values[name] < 0.9 * ours[name] - 5
    } == set()


def test_counters_do_not_fall_between_two_readings() -> None:
    source = HostSource()
    before, after = source.collect(), source.collect()
    # iowait and idle may fall by a tick: the kernel says so in its documentation of /proc/stat.
    falling = [k for k in before if k.endswith("_total") and "mode=" not in k and after[k] < before[k]]
    assert falling == []


def test_the_names_stay_the_same_object_while_nothing_changes() -> None:
    source = HostSource()
    source.collect()
    names = source.series()
    assert source.read(np.empty(len(names)))
    assert source.series() is names


def test_a_new_device_is_told_and_the_next_reading_has_it(tmp_path: Path) -> None:
    header = "Inter-| Receive\n face |bytes\n"
    (tmp_path / "net").mkdir()
    (tmp_path / "net/dev").write_text(f"{header}  lo: 1 2\n")
    source = HostSource(str(tmp_path))
    assert source.collect()['node_network_receive_bytes_total{device="lo"}'] == 1
    names = source.series()
    (tmp_path / "net/dev").write_text(f"{header}  lo: 1 2\n  eth0: 3 4\n")
    assert not source.read(np.empty(len(names)))
    assert source.collect()['node_network_receive_packets_total{device="eth0"}'] == 4


def test_nothing_readable_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("a 1\n")
    source = HostSource(str(tmp_path))
    source.collect()
    (tmp_path / "vmstat").write_text("")
    with pytest.raises(SourceError, match="empty"):
        source.collect()
