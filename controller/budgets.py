"""What the controller may spend in an hour before it trusts itself less: rollbacks, and periods with broken SLOs."""

from __future__ import annotations

from collections import deque

HOUR = 3600.0
MINUTE = 60.0


class Budgets:
    """Counts over the last hour. When a budget is spent, the mode falls by one rung and counting begins anew.

    Args:
        rollbacks: most rollbacks in an hour.
        least_attainment: least share of the hour's periods in which every SLO held.
        least_seconds: shortest time from which the share is told.
    """

    STATE = ("_rolled_back_at", "_minutes")
    BUDGETS = ("_rolled_back_at",)  # not what changes in every period: the disk would be written to for ever

    def __init__(self, rollbacks: int, least_attainment: float, least_seconds: float) -> None:
        self._rollbacks, self._least, self._least_seconds = rollbacks, least_attainment, least_seconds
        self._rolled_back_at: deque[float] = deque()
        self._minutes: deque[list[float]] = deque(maxlen=int(HOUR / MINUTE))  # [begin, periods, with all SLOs held]

    def count(self, now: float, rollbacks: int, held: bool | None) -> None:
        """Take notice of a period in which the controller was acting.

        Args:
            now: seconds on the loop's clock.
            rollbacks: of changes that were found harmful.
            held: whether every SLO held; None where that could not be seen.
        """
        self._rolled_back_at.extend([now] * rollbacks)
        while self._rolled_back_at and not self._rolled_back_at[0] > now - HOUR:
            self._rolled_back_at.popleft()
        while self._minutes and not self._minutes[0][0] > now - HOUR:
            self._minutes.popleft()
        if held is None:
            return
        if not self._minutes or not now < self._minutes[-1][0] + MINUTE:
            self._minutes.append([now, 0.0, 0.0])
        self._minutes[-1][1] += 1.0
        self._minutes[-1][2] += held

    def spent(self, now: float) -> str:
        """Which budget is spent, in one line; empty if none is."""
        if len(self._rolled_back_at) > self._rollbacks:
            return f"{len(self._rolled_back_at)} rollbacks within an hour, {self._rollbacks} are allowed"
        attainment = self.attainment(now)
        if attainment is not None and attainment < self._least:
            return f"all SLOs held in {attainment:.0%} of the last periods, {self._least:.0%} is the least"
        return ""

    def attainment(self, now: float) -> float | None:
        """Share of the last hour's periods in which every SLO held; None while that is too short a time."""
        periods = sum(minute[1] for minute in self._minutes)
        if not periods or now - self._minutes[0][0] < self._least_seconds:
            return None
        return sum(minute[2] for minute in self._minutes) / periods

    def clear(self) -> None:
        """Begin anew."""
        self._rolled_back_at.clear()
        self._minutes.clear()
