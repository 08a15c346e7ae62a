"""What a person wants to know of a host first, out of a thousand series."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from telemetry.live_readings import LiveReadings

FOREIGN = {"component", "job", "instance"}
"""Labels of series that do not come from this host."""
BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
"""Modes of a processor that count as used; waiting for storage is idleness."""


@dataclass(frozen=True)
class Traffic:
    """Of one disk or interface: bytes per second in (read, received) and out (written, sent), and how busy it is.

    Attributes:
        device: its name.
        into: bytes per second.
        out: bytes per second.
        busy: share of the time with requests in flight; NaN for an interface.
    """

    device: str
    into: float
    out: float
    busy: float = math.nan


@dataclass(frozen=True)
class HostSummary:
    """One look at a host; NaN is what is not known.

    Attributes:
        processors: one entry each: mode -> share of its time.
        memory_used: bytes that could not be had for new work.
        memory_total: bytes.
        swap_used: bytes.
        load: means over 1, 5 and 15 minutes.
        pressure: resource -> share of the last period in which some and in which all tasks waited for it.
        disks: the busiest first.
        networks: the busiest first.
        uptime: seconds.
    """

    processors: list[dict[str, float]]
    memory_used: float
    memory_total: float
    swap_used: float
    load: tuple[float, float, float]
    pressure: dict[str, tuple[float, float]]
    disks: list[Traffic]
    networks: list[Traffic]
    uptime: float

    @property
    def used(self) -> list[float]:
        """Share of each processor's time that was used."""
        return [sum(modes.get(mode, 0.0) for mode in BUSY) for modes in self.processors]

    @property
    def cpu_used(self) -> float:
        """Share of all processors' time that was used."""
        return sum(self.used) / len(self.used) if self.processors else math.nan


def summarize(readings: LiveReadings) -> HostSummary:
    """The host in the newest sweep, under node_exporter's names."""
    host = _Host(readings)
    total = host.level("node_memory_MemTotal_bytes")
    return HostSummary(
        processors=_processors(host),
        memory_used=total - host.level("node_memory_MemAvailable_bytes"),
        memory_total=total,
        swap_used=host.level("node_memory_SwapTotal_bytes") - host.level("node_memory_SwapFree_bytes"),
        load=(host.level("node_load1"), host.level("node_load5"), host.level("node_load15")),
        pressure={resource: _pressure(host, resource) for resource in ("cpu", "memory", "io")},
        disks=_traffic(host, "node_disk_read_bytes_total", "node_disk_written_bytes_total"),
        networks=_traffic(host, "node_network_receive_bytes_total", "node_network_transmit_bytes_total"),
        uptime=host.level("node_time_seconds") - host.level("node_boot_time_seconds"),
    )


class _Host:
    """The readings of this host alone: scraped and pushed series of another one have the same names, and labels."""

    def __init__(self, readings: LiveReadings) -> None:
        self._readings = readings

    def series(self, name: str, /, **labels: str) -> Iterator[tuple[dict[str, str], float, float]]:
        """Labels, level and rate of each."""
        for has, column in self._readings.columns(name, **labels):
            if not has.keys() & FOREIGN:
                yield has, float(self._readings.row[column]), float(self._readings.rates[column])

    def level(self, name: str) -> float:
        return next((level for _, level, _ in self.series(name)), math.nan)

    def rate(self, name: str, /, **labels: str) -> float:
        return next((rate for _, _, rate in self.series(name, **labels)), math.nan)


def _processors(host: _Host) -> list[dict[str, float]]:
    """Shares of each processor's own sum of times: ticks do not quite add up to the clock's seconds."""
    times: dict[str, dict[str, float]] = {}
    for labels, _, rate in host.series("node_cpu_seconds_total"):
        # The kernel's idle time may step back by a tick; that is none spent, not a reset.
        times.setdefault(labels.get("cpu", ""), {})[labels.get("mode", "")] = 0.0 if math.isnan(rate) else rate
    shares = []
    for modes in times.values():
        total = sum(modes.values())
        shares.append({mode: rate / total if total > 0 else math.nan for mode, rate in modes.items()})
    return shares


def _pressure(host: _Host, resource: str) -> tuple[float, float]:
    some = host.rate(f"node_pressure_{resource}_waiting_seconds_total")
    full = host.rate(f"node_pressure_{resource}_stalled_seconds_total")
    return _share(some), _share(full)


def _traffic(host: _Host, into: str, out: str) -> list[Traffic]:
    found = []
    for labels, _, rate in host.series(into):
        device = labels.get("device", "")
        busy = host.rate("node_disk_io_time_seconds_total", device=device)
        found.append(Traffic(device, rate, host.rate(out, device=device), _share(busy)))
    return sorted(found, key=lambda one: (-_known(one.into + one.out), one.device))


def _share(value: float) -> float:
    """A share of the time, which kernel and clock measure not quite alike; NaN stays NaN."""
    return 1.0 if value > 1.0 else value


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else value
