"""What the controller itself costs, process by process, and the limits that it must keep to."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from telemetry.processes import boot_seconds, read_file

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True)
class Limits:
    """What the controller may cost; beyond it stands a condition in status, log and metrics."""

    cpu_cores: float = 0.05
    """Of all its processes over `window_seconds`. Default: five times the 1 % of a core that is promised, so that a
    minute of restarts is no alarm."""
    window_seconds: float = 60.0
    """Over which processor time is averaged."""
    resident_bytes: int = 256 << 20
    """Of all its processes together. Default: twice what a controller with its policy process takes at rest."""


@dataclass(frozen=True)
class Usage:
    """What one process has used.

    Attributes:
        cpu_seconds: of processor time since `OwnCost` first saw a process of this name.
        resident_bytes: of memory now; 0 if it is gone.
    """

    cpu_seconds: float
    resident_bytes: int


class OwnCost:
    """Measures some processes of ours, once per period.

    Args:
        processes: name -> process id, asked anew each time, since warden and policies may be restarted; 0 for none.
        limits: to be kept.
        clock: seconds since the host was started.
    """

    def __init__(
        self,
        processes: Callable[[], Mapping[str, int]],
        limits: Limits | None = None,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self._processes, self.limits, self._clock = processes, limits or Limits(), clock
        self.usage: dict[str, Usage] = {}
        self._last: dict[str, tuple[int, float]] = {}
        self._totals: deque[tuple[float, float]] = deque()  # (time, CPU seconds of all)

    def measure(self) -> None:
        """Read all processes; a few file reads."""
        for name, pid in self._processes().items():
            cpu, resident = _read(pid)
            former_pid, former = self._last.get(name, (pid, cpu))
            # A new process begins at zero again; all that it has used is growth.
            growth = cpu - former if pid == former_pid else cpu
            used = self.usage[name].cpu_seconds if name in self.usage else 0.0
            self.usage[name] = Usage(used + max(0.0, growth), resident)
            self._last[name] = (pid, cpu)
        now = self._clock()
        self._totals.append((now, sum(usage.cpu_seconds for usage in self.usage.values())))
        while len(self._totals) > 2 and self._totals[1][0] <= now - self.limits.window_seconds:
            self._totals.popleft()

    @property
    def cpu_cores(self) -> float:
        """Processor time per second over the window, or since the start if that is less; 0 with one measurement."""
        if len(self._totals) < 2:
            return 0.0
        (begin, before), (end, after) = self._totals[0], self._totals[-1]
        return (after - before) / (end - begin) if end > begin else 0.0

    @property
    def resident_bytes(self) -> int:
        """Memory of all processes together."""
        return sum(usage.resident_bytes for usage in self.usage.values())

    def problem(self) -> str | None:
        """Which limit is not kept; None if all are. Processor time is judged when a whole window was seen."""
        limits, found = self.limits, []
        whole = bool(self._totals) and self._totals[-1][0] - self._totals[0][0] >= limits.window_seconds
        if whole and self.cpu_cores > limits.cpu_cores:
            found.append(f"{self.cpu_cores:.3f} cores over {limits.window_seconds:.0f} s, at most {limits.cpu_cores:g}")
        if self.resident_bytes > limits.resident_bytes:
            found.append(f"{self.resident_bytes >> 20} MiB resident, at most {limits.resident_bytes >> 20}")
        return "; ".join(found) or None


def _read(pid: int) -> tuple[float, int]:
    """Processor seconds and resident bytes of a process; zeros if it is gone."""
    try:
        fields = read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return 0.0, 0
    return (int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE_BYTES
