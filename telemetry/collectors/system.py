"""The files of /proc that describe the whole host, each with its layout and node_exporter's names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from telemetry.collectors.files import Cell, Layout, Rows
from telemetry.collectors.source import series_key

TICK_SECONDS = 1.0 / (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)
SECTOR_BYTES = 512
"""Of /proc/diskstats, whatever the disk's own."""

CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
STAT_ROWS = {
    "ctxt": "node_context_switches_total",
    "intr": "node_intr_total",
    "btime": "node_boot_time_seconds",
    "processes": "node_forks_total",
    "procs_running": "node_procs_running",
    "procs_blocked": "node_procs_blocked",
}
DISK_COLUMNS = (
    ("node_disk_reads_completed_total", 1.0),
    ("node_disk_reads_merged_total", 1.0),
    ("node_disk_read_bytes_total", SECTOR_BYTES),
    ("node_disk_read_time_seconds_total", 0.001),
    ("node_disk_writes_completed_total", 1.0),
    ("node_disk_writes_merged_total", 1.0),
    ("node_disk_written_bytes_total", SECTOR_BYTES),
    ("node_disk_write_time_seconds_total", 0.001),
    ("node_disk_io_now", 1.0),
    ("node_disk_io_time_seconds_total", 0.001),
    ("node_disk_io_time_weighted_seconds_total", 0.001),
    ("node_disk_discards_completed_total", 1.0),
    ("node_disk_discards_merged_total", 1.0),
    ("node_disk_discarded_sectors_total", 1.0),
    ("node_disk_discard_time_seconds_total", 0.001),
    ("node_disk_flush_requests_total", 1.0),
    ("node_disk_flush_requests_time_seconds_total", 0.001),
)
NETWORK_COLUMNS = {
    "receive": ("bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast"),
    "transmit": ("bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed"),
}
SOFTNET_COLUMNS = {0: "processed", 1: "dropped", 2: "times_squeezed", 8: "cpu_collision", 9: "received_rps"}

_not_disks = re.compile(r"(z?ram|loop|fd)\d+")
_protocol6 = re.compile(r"(Ip6|Icmp6|Udp6|UdpLite6)(\w+)")
_punctuation = re.compile(r"\W+")


def _stat(rows: Rows) -> Iterator[Cell]:
    for row, words in enumerate(rows):
        cpu = words[0].removeprefix("cpu")
        if words[0] in STAT_ROWS:
            yield Cell(row, 1, STAT_ROWS[words[0]])
        elif cpu.isdigit():
            for column, mode in enumerate(CPU_MODES, start=1):
                yield Cell(row, column, series_key("node_cpu_seconds_total", cpu=cpu, mode=mode), TICK_SECONDS)
            for column, mode in enumerate(("user", "nice"), start=9):
                yield Cell(row, column, series_key("node_cpu_guest_seconds_total", cpu=cpu, mode=mode), TICK_SECONDS)


def _loadavg(rows: Rows) -> Iterator[Cell]:
    # "0.77 0.56 0.89 2/98 26089": runnable and all threads of the host, and the last process id.
    names = {0: "node_load1", 1: "node_load5", 2: "node_load15", 4: "node_processes_threads"}
    return (Cell(0, column, name) for column, name in names.items() if rows)


def _meminfo(rows: Rows) -> Iterator[Cell]:
    for row, words in enumerate(rows):
        name = _punctuation.sub("_", words[0].rstrip(":").replace(")", ""))
        in_kib = words[-1] == "kB"
        yield Cell(row, 1, f"node_memory_{name}_bytes" if in_kib else f"node_memory_{name}", 1024 if in_kib else 1)


def _vmstat(rows: Rows) -> Iterator[Cell]:
    return (Cell(row, 1, f"node_vmstat_{words[0]}") for row, words in enumerate(rows))


def _diskstats(rows: Rows) -> Iterator[Cell]:
    for row, words in enumerate(rows):
        if len(words) > 2 and not _not_disks.fullmatch(words[2]):
            for column, (name, factor) in enumerate(DISK_COLUMNS, start=3):
                yield Cell(row, column, series_key(name, device=words[2]), factor)


def _network_devices(rows: Rows) -> Iterator[Cell]:
    for row, words in enumerate(rows[2:], start=2):
        columns = [f"node_network_{way}_{what}_total" for way, whats in NETWORK_COLUMNS.items() for what in whats]
        for column, name in enumerate(columns, start=1):
            yield Cell(row, column, series_key(name, device=words[0].rstrip(":")))


def _protocols(rows: Rows) -> Iterator[Cell]:
    for row in range(0, len(rows) - 1, 2):
        protocol, *fields = rows[row]
        for column, name in enumerate(fields, start=1):
            yield Cell(row + 1, column, f"node_netstat_{protocol.rstrip(':')}_{name}")


def _protocols6(rows: Rows) -> Iterator[Cell]:
    for row, words in enumerate(rows):
        match = _protocol6.fullmatch(words[0])
        if match:
            yield Cell(row, 1, f"node_netstat_{match[1]}_{match[2]}")


def _sockets(rows: Rows) -> Iterator[Cell]:
    for row, (protocol, *fields) in enumerate(rows):
        for i in range(0, len(fields), 2):
            yield Cell(row, i + 2, f"node_sockstat_{protocol.rstrip(':')}_{fields[i]}")


def _softnet(rows: Rows) -> Iterator[Cell]:
    for row, words in enumerate(rows):
        # Since Linux 5.10 the line tells its processor; before, it is the row, as long as none is offline.
        cpu = str(int(words[12], 16)) if len(words) > 12 else str(row)
        for column, name in SOFTNET_COLUMNS.items():
            yield Cell(row, column, series_key(f"node_softnet_{name}_total", cpu=cpu))


def _softirqs(rows: Rows) -> Iterator[Cell]:
    cpus = [name.removeprefix("CPU") for name in rows[0]]
    for row, words in enumerate(rows[1:], start=1):
        for column, cpu in enumerate(cpus, start=1):
            yield Cell(row, column, series_key("node_softirqs_functions_total", cpu=cpu, type=words[0].rstrip(":")))


def _interrupts(rows: Rows) -> Iterator[Cell]:
    cpus = [name.removeprefix("CPU") for name in rows[0]]
    for row, words in enumerate(rows[1:], start=1):
        kind, description = words[0].rstrip(":"), words[len(cpus) + 1 :]
        numbered = kind.isdigit() and description
        info = description[0] if numbered else " ".join(description)
        devices = " ".join(description[1:]) if numbered else ""
        for column, cpu in enumerate(cpus, start=1):
            labels = {"cpu": cpu, "type": kind, "info": info, "devices": devices}
            yield Cell(row, column, series_key("node_interrupts_total", **labels))


def _file_handles(rows: Rows) -> Iterator[Cell]:
    names = {0: "node_filefd_allocated", 2: "node_filefd_maximum"}
    return (Cell(0, column, name) for column, name in names.items() if rows)


def _entropy(rows: Rows) -> Iterator[Cell]:
    return (Cell(row, 0, "node_entropy_available_bits") for row in range(len(rows)))


def _buddy(rows: Rows) -> Iterator[Cell]:
    # "Node 0, zone DMA32 5 3 ...": free blocks of 2^size pages.
    for row, words in enumerate(rows):
        for column in range(4, len(words)):
            labels = {"node": words[1].rstrip(","), "zone": words[3], "size": str(column - 4)}
            yield Cell(row, column, series_key("node_buddyinfo_blocks", **labels))


def pressure(prefix: str, **labels: str) -> Callable[[Rows], Iterator[Cell]]:
    """Cells of a pressure file: `PREFIX_waiting_seconds_total`, some task waits, and `..._stalled_...`, all of them do.

    Args:
        prefix: of the names, e.g. `node_pressure_cpu`.
        labels: of the series.
    """

    def cells(rows: Rows) -> Iterator[Cell]:
        for row, words in enumerate(rows):
            kind = {"some": "waiting", "full": "stalled"}.get(words[0])
            if kind:
                yield Cell(row, len(words) - 1, series_key(f"{prefix}_{kind}_seconds_total", **labels), 1e-6)

    return cells


def _hexadecimal(word: bytes) -> float:
    return float(int(word, 16))


FILES: dict[str, Layout] = {
    "stat": Layout(_stat),
    "loadavg": Layout(_loadavg, key=None, separators=b"/"),
    "meminfo": Layout(_meminfo),
    "vmstat": Layout(_vmstat),
    "diskstats": Layout(_diskstats, key=2),
    "net/dev": Layout(_network_devices),
    "net/snmp": Layout(_protocols),
    "net/netstat": Layout(_protocols),
    "net/snmp6": Layout(_protocols6),
    "net/sockstat": Layout(_sockets),
    "net/sockstat6": Layout(_sockets),
    "net/softnet_stat": Layout(_softnet, key=None, number=_hexadecimal),
    "softirqs": Layout(_softirqs),
    "interrupts": Layout(_interrupts),
    "buddyinfo": Layout(_buddy, key=3),
    "sys/fs/file-nr": Layout(_file_handles, key=None),
    "sys/kernel/random/entropy_avail": Layout(_entropy, key=None),
    **{
        f"pressure/{resource}": Layout(pressure(f"node_pressure_{resource}"), separators=b"=")
        for resource in ("cpu", "memory", "io", "irq")
    },
}
