"""All that the live view shows, out of one sweep and what came before it."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from telemetry import live_format as fmt
from telemetry.host_summary import HostSummary, summarize
from telemetry.live_readings import LiveReadings
from telemetry.movers import Mover, Movers
from telemetry.sweep import Sweep
from telemetry.workload_rows import SPARK, WorkloadRow, Workloads


@dataclass(frozen=True)
class OwnUse:
    """What watching costs.

    Attributes:
        series: that were read.
        core_share: of one processor, since the sweep before.
        sweep_seconds: that the sweep before took.
        missed_periods: since the start.
        memory: bytes resident.
    """

    series: int
    core_share: float
    sweep_seconds: float
    missed_periods: float
    memory: float


@dataclass(frozen=True)
class Overview:
    """One look at everything.

    Attributes:
        host: summary.
        cpu_past: shares of all processors' time, oldest first, up to a minute.
        workloads: one row each.
        movers: what is unusual, most unusual first.
        errors: failing source -> reason.
        own: what watching costs.
    """

    host: HostSummary
    cpu_past: tuple[float, ...]
    workloads: list[WorkloadRow]
    movers: list[Mover]
    errors: Mapping[str, str]
    own: OwnUse


@dataclass
class Watcher:
    """Makes an overview of each sweep."""

    movers: int = 12
    """How many are looked for."""
    readings: LiveReadings = field(default_factory=LiveReadings)
    _workloads: Workloads = field(default_factory=Workloads)
    _movers: Movers = field(default_factory=Movers)
    _cpu: deque[float] = field(default_factory=lambda: deque(maxlen=SPARK))

    def look(self, sweep: Sweep) -> Overview:
        """The overview of this sweep, which must be later than the last."""
        self.readings.update(sweep)
        host = summarize(self.readings)
        self._cpu.append(host.cpu_used)
        own = OwnUse(
            series=int((self.readings.row == self.readings.row).sum()),
            core_share=self.readings.rate("trimtab_process_cpu_seconds_total"),
            sweep_seconds=self.readings.level("trimtab_sampler_sweep_seconds"),
            missed_periods=self.readings.level("trimtab_sampler_missed_periods_total"),
            memory=_own_memory(),
        )
        workloads, movers = self._workloads.update(self.readings), self._movers.update(self.readings, self.movers)
        return Overview(host, tuple(self._cpu), workloads, movers, sweep.errors, own)


def line(overview: Overview) -> str:
    """The overview in one line of plain text, for logs and pipes."""
    host = overview.host
    parts = [
        f"cpu {fmt.share(host.cpu_used)}",
        f"memory {fmt.size(host.memory_used)} of {fmt.size(host.memory_total)}",
        f"load {host.load[0]:.2f}",
        "pressure " + " ".join(f"{name} {fmt.share(some)}" for name, (some, _) in host.pressure.items()),
    ]
    for row in overview.workloads:
        shown = [f"{fmt.cores(row.cores)} cores"] if row.cores == row.cores else []
        shown += [f"{fmt.amount(row.rate)} {row.counted}/s"] if row.rate == row.rate else []
        shown += [f"p99 {fmt.seconds(row.p99)}"] if row.p99 == row.p99 else []
        parts += [f"{row.name} {' '.join(shown)}"] if shown else []
    parts += [f"{name} FAILS ({reason})" for name, reason in overview.errors.items()]
    return " | ".join(parts)


def _own_memory() -> float:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return math.nan  # no procfs here
