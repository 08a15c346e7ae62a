"""The host: processors, load, memory, disks, network, pressure; with node_exporter's names for the same quantities."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from telemetry.collectors.procfs import ProcfsReader
from telemetry.collectors.source import SourceError, series_key

CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")

DISK_COUNTERS = {
    # psutil field: (name, factor to base units); psutil gives times in ms
    "read_count": ("node_disk_reads_completed_total", 1.0),
    "write_count": ("node_disk_writes_completed_total", 1.0),
    "read_merged_count": ("node_disk_reads_merged_total", 1.0),
    "write_merged_count": ("node_disk_writes_merged_total", 1.0),
    "read_bytes": ("node_disk_read_bytes_total", 1.0),
    "write_bytes": ("node_disk_written_bytes_total", 1.0),
    "read_time": ("node_disk_read_time_seconds_total", 0.001),
    "write_time": ("node_disk_write_time_seconds_total", 0.001),
    "busy_time": ("node_disk_io_time_seconds_total", 0.001),
}

NETWORK_COUNTERS = {
    "bytes_recv": "node_network_receive_bytes_total",
    "bytes_sent": "node_network_transmit_bytes_total",
    "packets_recv": "node_network_receive_packets_total",
    "packets_sent": "node_network_transmit_packets_total",
    "errin": "node_network_receive_errs_total",
    "errout": "node_network_transmit_errs_total",
    "dropin": "node_network_receive_drop_total",
    "dropout": "node_network_transmit_drop_total",
}


class HostSource:
    """Some 700 series of a Linux host for about a thousandth of a core at one sweep a second.

    Args:
        proc: where procfs is mounted, for what psutil does not give.
        wall_clock: seconds since 1970.
    """

    name = "host"

    def __init__(self, proc: str = "/proc", wall_clock: Callable[[], float] = time.time) -> None:
        self._procfs = ProcfsReader(proc)
        self._wall_clock = wall_clock
        self._keys: dict[tuple[str, str, str], str] = {}

    def collect(self) -> dict[str, float]:
        """Current values; a part of the host that cannot be read is absent.

        Raises:
            SourceError: if no part could be read.
        """
        values: dict[str, float] = {}
        refused = []
        for part in (_processors, _load, self._disks, self._networks, self._procfs.read):
            try:
                values.update(part())
            except (OSError, psutil.Error, RuntimeError) as error:  # psutil: RuntimeError where a counter is unknown
                refused.append(str(error))
        if not values:
            raise SourceError(f"nothing of the host could be read: {'; '.join(refused)}")
        values["node_time_seconds"] = self._wall_clock()
        return values

    def _disks(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for device, counters in (psutil.disk_io_counters(perdisk=True) or {}).items():
            for field, (name, factor) in DISK_COUNTERS.items():
                if hasattr(counters, field):
                    values[self._key(name, "device", device)] = getattr(counters, field) * factor
        return values

    def _networks(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for device, counters in psutil.net_io_counters(pernic=True).items():
            for field, name in NETWORK_COUNTERS.items():
                values[self._key(name, "device", device)] = float(getattr(counters, field))
        return values

    def _key(self, name: str, label: str, value: str) -> str:
        found = self._keys.get((name, label, value))
        if found is None:
            found = self._keys[name, label, value] = series_key(name, **{label: value})
        return found


def _processors() -> dict[str, float]:
    values: dict[str, float] = {}
    for cpu, times in enumerate(psutil.cpu_times(percpu=True)):
        for mode in CPU_MODES:
            if hasattr(times, mode):
                values[f'node_cpu_seconds_total{{cpu="{cpu}",mode="{mode}"}}'] = getattr(times, mode)
    stats = psutil.cpu_stats()
    values["node_context_switches_total"] = float(stats.ctx_switches)
    values["node_intr_total"] = float(stats.interrupts)
    return values


def _load() -> dict[str, float]:
    return dict(zip(("node_load1", "node_load5", "node_load15"), psutil.getloadavg(), strict=True))
