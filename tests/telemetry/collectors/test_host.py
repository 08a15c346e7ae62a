from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from telemetry.collectors import procfs
from telemetry.collectors.host import HostSource
from telemetry.exposition import families_of, render


def test_a_bare_host_gives_hundreds_of_series_with_the_usual_names() -> None:
    values = HostSource(wall_clock=lambda: 1234.0).collect()
    assert len(values) > 300
    expected = {
        'node_cpu_seconds_total{cpu="0",mode="user"}',
        "node_context_switches_total",
        "node_load1",
        "node_memory_MemAvailable_bytes",
        'node_network_receive_bytes_total{device="lo"}',
        "node_vmstat_pgfault",
        "node_procs_running",
        "node_boot_time_seconds",
    }
    assert expected <= values.keys()
    assert values["node_time_seconds"] == 1234.0


def test_all_names_are_valid_for_prometheus() -> None:
    values = HostSource().collect()
    read = text_string_to_metric_families(render(families_of(values)).decode())
    assert sum(len(family.samples) for family in read) == len(values)


def test_counters_do_not_fall_between_two_readings() -> None:
    source = HostSource()
    before, after = source.collect(), source.collect()
    # iowait and idle may fall by a tick: the kernel says so in its documentation of /proc/stat.
    falling = [k for k in before if k.endswith("_total") and "mode=" not in k and after[k] < before[k]]
    assert falling == []


def test_missing_and_odd_files_are_absent_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 2 kB\nActive(anon): 1 kB\nHugePages_Free: 3\n")
    (tmp_path / "vmstat").write_text("pgfault many\n")
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/io").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull total=1000000\n")
    assert procfs.ProcfsReader(str(tmp_path)).read() == {
        "node_memory_MemTotal_bytes": 2048.0,
        "node_memory_Active_anon_bytes": 1024.0,
        "node_memory_HugePages_Free": 3.0,
        "node_pressure_io_waiting_seconds_total": 2.5,
        "node_pressure_io_stalled_seconds_total": 1.0,
    }


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 1\n")
    reader = procfs.ProcfsReader(str(tmp_path))
    (tmp_path / "vmstat").write_text("pgfault 2\n")
    assert reader.read() == {"node_vmstat_pgfault": 2.0}


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (procfs.parse_protocols, "Tcp: A B\nTcp: 1 -1\n", {"node_netstat_Tcp_A": 1, "node_netstat_Tcp_B": -1}),
        (procfs.parse_sockstat, "sockets: used 11\nTCP: inuse 1 mem 176\n",
         {"node_sockstat_sockets_used": 11, "node_sockstat_TCP_inuse": 1, "node_sockstat_TCP_mem": 176}),
        (procfs.parse_softnet, "0000000a 00000001 00000000 0\n",
         {'node_softnet_processed_total{cpu="0"}': 10, 'node_softnet_dropped_total{cpu="0"}': 1,
          'node_softnet_times_squeezed_total{cpu="0"}': 0}),
        (procfs.parse_softirqs, "      CPU0 CPU3\n TIMER: 5 7\n",
         {'node_softirqs_functions_total{cpu="0",type="TIMER"}': 5,
          'node_softirqs_functions_total{cpu="3",type="TIMER"}': 7}),
        (procfs.parse_filefd, "390\t0\t2466177\n", {"node_filefd_allocated": 390, "node_filefd_maximum": 2466177}),
    ],
)  # fmt: skip
def test_procfs_formats(parse: procfs.Parser, text: str, expected: dict[str, float]) -> None:
    assert parse(text) == expected
