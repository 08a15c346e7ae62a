"""What the controller may spend in an hour before it trusts itself less: rollbacks, and periods with broken SLOs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable
from typing import NamedTuple

HOUR = 3600.0
MINUTE = 60.0


class Spent(NamedTuple):
    """A budget that is spent.

    Attributes:
        why: one line.
        workload: whose doing it is; empty where it is nobody's alone.
    """

    why: str
    workload: str = ""


class Budgets:
    """Counts over the last hour. When a budget is spent, a mode falls by one rung and counting begins anew.

    A rollback is its workload's doing: where one has more than half of those that are too many, its own mode falls. A
    broken SLO is nobody's: what one workload was given is what the others share, so that the system's mode falls.

    Args:
        rollbacks: most rollbacks in an hour.
        least_attainment: least share of the hour's periods in which every SLO held.
        least_seconds: shortest time from which the share is told.
    """

    STATE = ("_rolled_back_at", "_minutes")
    BUDGETS = ("_rolled_back_at",)  # not what changes in every period: the disk would be written to for ever

    def __init__(self, rollbacks: int, least_attainment: float, least_seconds: float) -> None:
        self._rollbacks, self._least, self._least_seconds = rollbacks, least_attainment, least_seconds
        self._rolled_back_at: deque[tuple[float, str]] = deque()  # (seconds, workload)
        self._minutes: deque[list[float]] = deque(maxlen=int(HOUR / MINUTE))  # [begin, periods, with all SLOs held]

    def count(self, now: float, rolled_back: Iterable[str], held: bool | None) -> None:
        """Take notice of a period in which the controller was acting.

        Args:
            now: seconds on the loop's clock.
            rolled_back: workload of each change that was found harmful.
            held: whether every SLO held; None where that could not be seen.
        """
        # Files of before there were modes of workloads hold the time alone.
        known = [entry if isinstance(entry, tuple) else (entry, "") for entry in self._rolled_back_at]
        self._rolled_back_at = deque(known + [(now, workload) for workload in rolled_back])
        while self._rolled_back_at and not self._rolled_back_at[0][0] > now - HOUR:
            self._rolled_back_at.popleft()
        while self._minutes and not self._minutes[0][0] > now - HOUR:
            self._minutes.popleft()
        if held is None:
            return
        if not self._minutes or not now < self._minutes[-1][0] + MINUTE:
            self._minutes.append([now, 0.0, 0.0])
        self._minutes[-1][1] += 1.0
        self._minutes[-1][2] += held

    def spent(self, now: float, idle: Collection[str] = ()) -> Spent | None:
        """Which budget is spent; None if none is.

        Args:
            now: seconds on the loop's clock.
            idle: workloads that are not changed any more, so that their rollbacks say nothing about the others.
        """
        counted = Counter(workload for _, workload in self._rolled_back_at if workload not in idle)
        if counted.total() > self._rollbacks:
            worst, share = max(counted.items(), key=lambda entry: entry[1])
            of_whom = worst if 2 * share > counted.total() else ""
            whose = f", {share} of them of {of_whom}" if of_whom else ""
            why = f"{counted.total()} rollbacks within an hour{whose}, {self._rollbacks} are allowed"
            return Spent(why, of_whom)
        attainment = self.attainment(now)
        if attainment is not None and attainment < self._least:
            return Spent(f"all SLOs held in {attainment:.0%} of the last periods, {self._least:.0%} is the least")
        return None

    def attainment(self, now: float) -> float | None:
        """Share of the last hour's periods in which every SLO held; None while that is too short a time."""
        periods = sum(minute[1] for minute in self._minutes)
        if not periods or now - self._minutes[0][0] < self._least_seconds:
            return None
        return sum(minute[2] for minute in self._minutes) / periods

    def clear(self, workload: str = "") -> None:
        """Begin anew; with a workload, count only its rollbacks anew."""
        others = [(at, other) for at, other in self._rolled_back_at if workload and other != workload]
        self._rolled_back_at = deque(others)
        if not workload:
            self._minutes.clear()
