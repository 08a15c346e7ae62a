"""Memory limit of a workload by control group, never set so low that it kills."""

from __future__ import annotations

import contextlib

from controller.actuators.actuator import ActuatorError
from controller.actuators.hierarchy import write_text
from controller.actuators.limits import CgroupLimit

HEADROOM_BYTES, HEADROOM_SHARE = 16 << 20, 0.05
"""Kept free above what cannot be reclaimed: the larger of both. What grows into a limit is killed (v1) or hangs."""
RECLAIM_STEP_BYTES, RECLAIM_STEPS = 32 << 20, 4
"""Per call: a step of so much takes about 10 ms for clean page cache, so a call stays well within a period."""
MOST_PRESSURE = 5.0
"""Percent of the last 10 s in which all of the workload waited for memory; with more, a limit is not lowered."""


class Memory(CgroupLimit):
    """Bytes. Version 1: a hard limit, which the kernel refuses where it cannot reclaim down to it. Version 2:
    `memory.high`, above which the workload is slowed down and not killed; `memory.max`, which kills at once, is not
    touched. What a process had allocated before it was moved to a group of ours is charged to the group it came from.
    """

    NAMES, FILE = ("memory", "memory"), ("memory.limit_in_bytes", "memory.high")
    WHAT = "memory"

    def describe(self) -> tuple[bool, str]:
        """Whether all of the workload's memory counts."""
        way = "slowed down above it, not killed" if self.v2 else "hard limit"
        counts = "" if self._group.in_place else "; counts what is allocated from now on"
        return self._group.in_place, f"{self._group.kind}: memory, {way}{counts}"

    def check(self, value: float) -> None:
        """Refuse to lower the limit below what cannot be reclaimed, or under pressure."""
        if not self._group.in_use or not (self._group.folder / self.file).exists() or value >= self._value():
            return
        used = self._used()
        floor = used + max(HEADROOM_BYTES, HEADROOM_SHARE * used)
        if value < floor:
            raise ActuatorError(
                f"{self.workload} holds {used / 2**20:.0f} MiB that cannot be reclaimed: the least limit is "
                f"{floor / 2**20:.0f} MiB, {value / 2**20:.0f} MiB was asked for"
            )
        pressure = self._pressure()
        if pressure > MOST_PRESSURE:
            raise ActuatorError(
                f"{self.workload} waits for memory ({pressure:.0f} % of 10 s); its limit is not lowered"
            )

    def put(self, value: float) -> None:
        """Version 2: page cache is taken back in steps first, and the limit follows as far as that led."""
        amount = self.amount(value)
        if amount is not None and self.v2:
            amount = int(max(amount, self._reclaim(amount)))
        self._group.write(self.file, str(amount) if amount is not None else ("max" if self.v2 else "-1"))

    def _reclaim(self, target: float) -> float:
        """Bring the usage below the target, as far as a few steps lead; returns the usage."""
        for _ in range(RECLAIM_STEPS):
            current = float(self._group.read("memory.current"))
            if current <= target:
                break
            step = int(min(RECLAIM_STEP_BYTES, current - target))
            with contextlib.suppress(ActuatorError):  # EAGAIN: less than asked for could be reclaimed
                if (self._group.folder / "memory.reclaim").exists():
                    write_text(self._group.folder / "memory.reclaim", str(step))
                else:  # before Linux 5.19: a limit a little below the usage does the same
                    self._group.write(self.file, str(int(current - step)))
            if self._pressure() > MOST_PRESSURE:
                break
        return float(self._group.read("memory.current"))

    def _used(self) -> float:
        """Bytes that cannot be reclaimed: all but the page cache."""
        statistics = dict(line.split() for line in self._group.read("memory.stat").splitlines())
        prefix = "" if self.v2 else "total_"
        cache = sum(int(statistics.get(f"{prefix}{name}", 0)) for name in ("inactive_file", "active_file"))
        current = float(self._group.read("memory.current" if self.v2 else "memory.usage_in_bytes"))
        return max(0.0, current - cache)

    def _pressure(self) -> float:
        """Percent of the last 10 s in which all waited; 0 where groups tell no pressure (version 1)."""
        if not (self._group.folder / "memory.pressure").exists():
            return 0.0
        for line in self._group.read("memory.pressure").splitlines():
            if line.startswith("full avg10="):
                return float(line.split()[1].partition("=")[2])
        return 0.0
