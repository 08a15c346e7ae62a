"""The loop's own figures: periods, failures, availability, and the time of each stage."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

from controller.decision import Decision, Mode

STAGES = ("read", "observe", "decide", "shield", "apply", "verify", "record")


class Figures:
    """Counts periods and times their stages.

    Args:
        period: seconds between decisions.
        clock: seconds, monotonic.
    """

    def __init__(self, period: float, clock: Callable[[], float]) -> None:
        self.stage_seconds = dict.fromkeys(STAGES, 0.0)
        """Of each stage when it was last gone through."""
        self._period, self._clock = period, clock
        self._started_at = clock()
        self._due, self._complete, self._failed = 0, 0, 0
        self._modes: Counter[Mode] = Counter()
        self._total = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure what is done inside."""
        begin = time.perf_counter()
        yield
        self.stage_seconds[stage] = time.perf_counter() - begin
        self._total[stage] += self.stage_seconds[stage]

    def period_over(self, decision: Decision, mode: Mode) -> None:
        """Count a period that was decided.

        Args:
            decision: its.
            mode: in force after it.
        """
        self._due += 1
        self._complete += decision.complete
        self._modes[mode] += 1

    def period_failed(self) -> None:
        """Count a period that ended in an error."""
        self._failed += 1

    @property
    def availability(self) -> float:
        """Share of the periods since the start in which the loop decided on complete readings; 1 before the first."""
        elapsed = int((self._clock() - self._started_at) / self._period + 0.5)
        due = max(self._due, elapsed)
        return self._complete / due if due else 1.0

    def metrics(self) -> dict[str, float]:
        """By series name, for `telemetry.exposition`."""
        values = {
            **{f'trimtab_controller_periods_total{{mode="{mode}"}}': float(self._modes[mode]) for mode in Mode},
            **{f'trimtab_controller_stage_seconds{{stage="{name}"}}': s for name, s in self.stage_seconds.items()},
            **{f'trimtab_controller_stage_seconds_total{{stage="{name}"}}': s for name, s in self._total.items()},
        }
        return values | {
            "trimtab_controller_failed_periods_total": float(self._failed),
            "trimtab_controller_availability_ratio": self.availability,
        }
