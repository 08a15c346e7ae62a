"""What a live run with faults is judged by: availability, what became of changes, own cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.journal import Journal, optimizations
from telemetry.collectors.scrape import parse_text
from training.faults.live_controller import LiveController, cpu_seconds, request, resident_bytes

SENT, RESPONSES = "load_requests_sent_total", "load_responses_total"
AFTER_SECONDS = 5.0
"""After a component answers again, requests that were sent before may still fail: their deadline is two seconds, and a
fresh server has connections to take up and a queue to work off."""
NEAR_SECONDS = 10.0
"""What is rolled back until so long after a fault is told apart: as long as the longest trial."""
START_SECONDS = 5.0
"""After a start of the controller its use of the processor is told apart: a Python process loads numpy once."""


@dataclass
class Requests:
    """What the clients saw since the last look, in periods of a fault's own doing and in all others.

    Attributes:
        sent: requests sent outside of the windows in which a component itself was down.
        failed: of those, not answered.
        own_sent: sent while a component itself was down.
        own_failed: of those, not answered.
        by_fault: failed outside of such windows, by the newest fault.
    """

    sent: float = 0.0
    failed: float = 0.0
    own_sent: float = 0.0
    own_failed: float = 0.0
    by_fault: dict[str, float] = field(default_factory=dict)
    _before: tuple[float, float] | None = None

    def look(self, load_url: str, excused: bool, fault: str) -> None:
        """Take in what the load generator counted since the last look.

        Args:
            load_url: of the load generator.
            excused: whether a component is down by the fault's own doing.
            fault: the newest.
        """
        series = parse_text(request("GET", f"{load_url}/metrics").decode())
        sent = sum(value for key, value in series.items() if key.startswith(SENT))
        failed = sum(v for key, v in series.items() if key.startswith(RESPONSES) and 'outcome="ok"' not in key)
        before, self._before = self._before, (sent, failed)
        if before is None or sent < before[0]:
            return
        more_sent, more_failed = sent - before[0], failed - before[1]
        if excused:
            self.own_sent += more_sent
            self.own_failed += more_failed
            return
        self.sent += more_sent
        self.failed += more_failed
        if more_failed:
            self.by_fault[fault] = self.by_fault.get(fault, 0.0) + more_failed

    @property
    def availability(self) -> float:
        """Share of requests that were answered, windows of a component's own crash left out."""
        return 1.0 - self.failed / self.sent if self.sent else float("nan")


@dataclass
class OwnCost:
    """Processor and memory of controller, policy host and warden, over all their starts.

    Attributes:
        cpu: seconds of processor time.
        start_cpu: of those, within `START_SECONDS` of a start.
        resident: by part, bytes at each look.
    """

    cpu: float = 0.0
    start_cpu: float = 0.0
    resident: dict[str, list[int]] = field(default_factory=dict)
    _known: dict[int, tuple[float, float]] = field(default_factory=dict)

    def look(self, controller: LiveController) -> None:
        """Take in what was used since the last look."""
        now = time.monotonic()
        for part, pid in controller.parts().items():
            used = cpu_seconds(pid)
            first, before = self._known.get(pid, (now, 0.0))
            self._known[pid] = (first, used)
            self.cpu += used - before
            if now - first < START_SECONDS:
                self.start_cpu += used - before
            self.resident.setdefault(part, []).append(resident_bytes(pid))

    def figures(self, seconds: float) -> dict[str, Any]:
        """Shares of a core, and resident bytes."""
        largest = {part: max(sizes) for part, sizes in self.resident.items()}
        middle = {part: statistics.median(sizes) for part, sizes in self.resident.items()}
        return {
            "own_cpu_ratio": self.cpu / seconds,
            "own_cpu_ratio_without_starts": (self.cpu - self.start_cpu) / seconds,
            "resident_bytes": {part: {"median": middle[part], "max": largest[part]} for part in largest},
            "resident_bytes_controller_and_warden": middle.get("controller", 0) + middle.get("warden", 0),
        }


def optimization_figures(path: Any) -> dict[str, Any]:
    """What became of the changes in a journal; shares with their 95 % intervals."""
    found = optimizations(Journal.read(path))
    judged = found.kept + found.rolled_back
    ended = judged + found.inconclusive + found.superseded
    return {
        "optimizations": found.count,
        "kept": found.kept,
        "rolled_back": found.rolled_back,
        "inconclusive": found.inconclusive,
        "superseded": found.superseded,
        "not_rolled_back_ratio": (ended - found.rolled_back) / ended if ended else None,
        "not_rolled_back_ratio_ci": wilson(ended - found.rolled_back, ended),
        "kept_of_judged_ratio": found.kept / judged if judged else None,
        "kept_of_judged_ratio_ci": wilson(found.kept, judged),
        "opportunity_to_applied_p99_seconds": found.opportunity_to_applied_p99_seconds,
    }


def rollbacks_near_faults(
    records: Iterable[Mapping[str, Any]], spells: Sequence[tuple[float, float]]
) -> dict[str, int | float]:
    """How many of the rolled-back changes ended while a fault lasted or soon after it, and in what share of the time.

    Faults explain no more of the rollbacks than their share of the time, if the two have nothing to do with each other.

    Args:
        records: of a journal.
        spells: when each fault began and ended, seconds since the host was started.
    """
    times, rolled_back = [], []
    for record in records:
        if record.get("kind") == "decision":
            times.append(_near(record["time"], spells))
            rolled_back += [times[-1] for v in record["verdicts"] if v["outcome"] == "rolled_back"]
    return {
        "rolled_back_near_faults": sum(rolled_back),
        "time_near_faults_ratio": sum(times) / len(times) if times else float("nan"),
    }


def _near(seconds: float, spells: Sequence[tuple[float, float]]) -> bool:
    return any(begin <= seconds <= end + NEAR_SECONDS for begin, end in spells)


def wilson(successes: int, trials: int, z: float = 1.96) -> list[float]:
    """Wilson's 95 % interval of a share (Wilson 1927); [0, 1] without trials."""
    if not trials:
        return [0.0, 1.0]
    share = successes / trials
    middle = share + z * z / (2 * trials)
    half = z * ((share * (1 - share) + z * z / (4 * trials)) / trials) ** 0.5
    return [(middle - half) / (1 + z * z / trials), (middle + half) / (1 + z * z / trials)]
