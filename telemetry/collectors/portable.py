"""The host by psutil, where there is no procfs: fewer series, at some eight microseconds each instead of one."""

from __future__ import annotations

import numpy as np
import psutil

from telemetry.collectors.source import series_key
from telemetry.collectors.system import CPU_MODES

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

MEMORY_FIELDS = {
    "total": "node_memory_MemTotal_bytes",
    "available": "node_memory_MemAvailable_bytes",
    "free": "node_memory_MemFree_bytes",
    "active": "node_memory_Active_bytes",
    "inactive": "node_memory_Inactive_bytes",
    "wired": "node_memory_wired_bytes",
}


class PortableHost:
    """What psutil tells of the host, by node_exporter's names; a part that it does not know here is left out."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()

    def read(self, out: np.ndarray) -> bool:
        """Write the values in the order of `names`.

        Args:
            out: (len(names),) float64.

        Returns:
            False if other series are there than before: `names` are new, `out` is worth nothing.
        """
        values: dict[str, float] = {}
        for part in (_processors, _load, _memory, _disks, _networks):
            try:
                values.update(part())
            except (OSError, psutil.Error, RuntimeError):
                continue  # RuntimeError: psutil's word for a counter that this system does not have
        if tuple(values) != self.names:
            self.names = tuple(values)
            return False
        out[:] = list(values.values())
        return True


def _processors() -> dict[str, float]:
    values: dict[str, float] = {}
    for cpu, times in enumerate(psutil.cpu_times(percpu=True)):
        for mode in CPU_MODES:
            if hasattr(times, mode):
                values[series_key("node_cpu_seconds_total", cpu=str(cpu), mode=mode)] = getattr(times, mode)
    stats = psutil.cpu_stats()
    values["node_context_switches_total"] = float(stats.ctx_switches)
    values["node_intr_total"] = float(stats.interrupts)
    values["node_boot_time_seconds"] = psutil.boot_time()
    return values


def _load() -> dict[str, float]:
    return dict(zip(("node_load1", "node_load5", "node_load15"), psutil.getloadavg(), strict=True))


def _memory() -> dict[str, float]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    values = {name: float(getattr(memory, field)) for field, name in MEMORY_FIELDS.items() if hasattr(memory, field)}
    return values | {
        "node_memory_SwapTotal_bytes": float(swap.total),
        "node_memory_SwapFree_bytes": float(swap.free),
    }


def _disks() -> dict[str, float]:
    found = psutil.disk_io_counters(perdisk=True) or {}
    return _by_device(found, DISK_COUNTERS)


def _networks() -> dict[str, float]:
    return _by_device(psutil.net_io_counters(pernic=True), {field: (n, 1.0) for field, n in NETWORK_COUNTERS.items()})


def _by_device(found: dict[str, tuple], counters: dict[str, tuple[str, float]]) -> dict[str, float]:
    return {
        series_key(name, device=device): getattr(fields, field) * factor
        for device, fields in found.items()
        for field, (name, factor) in counters.items()
        if hasattr(fields, field)
    }
