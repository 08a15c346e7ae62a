from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from telemetry.collectors.files import KernelFile, NumberFile
from telemetry.collectors.system import FILES


def read(file: NumberFile) -> dict[str, float]:
    """Values by name, after as many readings as it takes to learn the file's shape."""
    row = np.empty(len(file.names))
    while not file.read(row):
        row = np.empty(len(file.names))
    return dict(zip(file.names, row.tolist(), strict=True))


@pytest.fixture
def missing() -> Counter[str]:
    return Counter()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("meminfo", "MemTotal: 2 kB\nActive(anon): 1 kB\nHugePages_Free: 3\n",
         {"node_memory_MemTotal_bytes": 2048, "node_memory_Active_anon_bytes": 1024, "node_memory_HugePages_Free": 3}),
        ("net/snmp", "Tcp: A B\nTcp: 1 -1\n", {"node_netstat_Tcp_A": 1, "node_netstat_Tcp_B": -1}),
        ("net/snmp6", "Ip6InReceives 5\nUdpLite6InDatagrams 6\n",
         {"node_netstat_Ip6_InReceives": 5, "node_netstat_UdpLite6_InDatagrams": 6}),
        ("net/sockstat", "sockets: used 11\nTCP: inuse 1 mem 176\n",
         {"node_sockstat_sockets_used": 11, "node_sockstat_TCP_inuse": 1, "node_sockstat_TCP_mem": 176}),
        ("net/softnet_stat", "0000000a 00000001 00000000\n",
         {'node_softnet_processed_total{cpu="0"}': 10, 'node_softnet_dropped_total{cpu="0"}': 1,
          'node_softnet_times_squeezed_total{cpu="0"}': 0}),
        ("softirqs", "      CPU0 CPU3\n TIMER: 5 7\n",
         {'node_softirqs_functions_total{cpu="0",type="TIMER"}': 5,
          'node_softirqs_functions_total{cpu="3",type="TIMER"}': 7}),
        ("interrupts", "     CPU0\n 24: 9 IO-APIC 5-edge ACPI:Ged\nLOC: 3 Local timer interrupts\nERR: 0\n",
         {'node_interrupts_total{cpu="0",type="24",info="IO-APIC",devices="5-edge ACPI:Ged"}': 9,
          'node_interrupts_total{cpu="0",type="LOC",info="Local timer interrupts",devices=""}': 3,
          'node_interrupts_total{cpu="0",type="ERR",info="",devices=""}': 0}),
        ("loadavg", "0.77 0.56 0.89 2/98 26089\n",
         {"node_load1": 0.77, "node_load5": 0.56, "node_load15": 0.89, "node_processes_threads": 98}),
        ("sys/fs/file-nr", "390\t0\t2466177\n", {"node_filefd_allocated": 390, "node_filefd_maximum": 2466177}),
        ("pressure/io", "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 total=1000000\n",
         {"node_pressure_io_waiting_seconds_total": 2.5, "node_pressure_io_stalled_seconds_total": 1.0}),
        ("buddyinfo", "Node 0, zone DMA 4 2\n",
         {'node_buddyinfo_blocks{node="0",zone="DMA",size="0"}': 4,
          'node_buddyinfo_blocks{node="0",zone="DMA",size="1"}': 2}),
    ],
)  # fmt: skip
def test_formats_of_the_kernel(
    tmp_path: Path, missing: Counter[str], name: str, text: str, expected: dict[str, float]
) -> None:
    (tmp_path / "file").write_text(text)
    assert read(NumberFile(str(tmp_path / "file"), FILES[name], missing)) == pytest.approx(expected)


def test_disks_are_in_base_units_and_loop_devices_are_none(tmp_path: Path, missing: Counter[str]) -> None:
    (tmp_path / "file").write_text("7 0 loop0 1 1 1 1\n254 0 vda 10 2 8 1500 20 3 16 250 0 100 400\n")
    values = read(NumberFile(str(tmp_path / "file"), FILES["diskstats"], missing))
    assert values['node_disk_read_bytes_total{device="vda"}'] == 4096
    assert values['node_disk_read_time_seconds_total{device="vda"}'] == 1.5
    assert values['node_disk_written_bytes_total{device="vda"}'] == 8192
    assert not any("loop" in name for name in values)


def test_a_file_that_shrinks_or_grows_is_told_by_new_names(tmp_path: Path, missing: Counter[str]) -> None:
    (tmp_path / "file").write_text("a 1\nb 2\n")
    file = NumberFile(str(tmp_path / "file"), FILES["vmstat"], missing)
    assert read(file) == {"node_vmstat_a": 1, "node_vmstat_b": 2}
    (tmp_path / "file").write_text("b 3\n")
    assert not file.read(np.empty(2))
    assert read(file) == {"node_vmstat_b": 3}
    (tmp_path / "file").write_text("c 4\n")  # as many words as before, of something else
    assert read(file) == {"node_vmstat_c": 4}


@pytest.mark.parametrize(("text", "reason"), [("", "empty"), ("a many\nb 2\n", "not a number")])
def test_what_cannot_be_read_is_nan_and_counted(tmp_path: Path, missing: Counter[str], text: str, reason: str) -> None:
    (tmp_path / "file").write_text("a 1\nb 2\n")
    file = NumberFile(str(tmp_path / "file"), FILES["vmstat"], missing)
    read(file)
    (tmp_path / "file").write_text(text)
    assert all(np.isnan(value) for value in read(file).values())
    assert missing == {reason: 2}


@pytest.mark.parametrize("name", ["softirqs", "net/softnet_stat", "interrupts", "net/dev", "buddyinfo", "loadavg"])
def test_a_file_in_another_form_has_no_series(tmp_path: Path, missing: Counter[str], name: str) -> None:
    (tmp_path / "file").write_text("1 2 3 4 5 6 7 8 9 10 11 12 odd\n" if "softnet" in name else "\n")
    assert read(NumberFile(str(tmp_path / "file"), FILES[name], missing)) == {}


def test_a_file_longer_than_a_page_is_read_to_its_end(tmp_path: Path) -> None:
    file = KernelFile("/proc/self/smaps")  # made of records, handed out a page at a time
    text = file.read()
    assert len(text) > 20_000
    assert text.rstrip().splitlines()[-1].startswith(b"VmFlags")


def test_files_beyond_half_of_the_descriptors_are_opened_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("1")
    monkeypatch.setattr(KernelFile, "kept", os.sysconf("SC_OPEN_MAX"))
    before = len(os.listdir("/proc/self/fd"))
    file = KernelFile(str(tmp_path / "file"))
    assert file.read() == file.read() == b"1"
    assert len(os.listdir("/proc/self/fd")) == before


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    before = len(os.listdir("/proc/self/fd"))
    files = [KernelFile(str(tmp_path / "file")) for _ in range(5)]
    for file in files:
        file.read()
    assert len(os.listdir("/proc/self/fd")) == before + 5
    del file, files
    assert len(os.listdir("/proc/self/fd")) == before
