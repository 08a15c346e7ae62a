"""What the optimizations were worth, told from the journal: `trimtab report`."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from controller.commands import JOURNAL, CommandError, seconds_of
from controller.journal import Journal
from controller.trial import Outcome

DAY_SECONDS = 86400.0
Z_95 = 1.959964
JUDGED = (Outcome.KEEP, Outcome.ROLLED_BACK, Outcome.INCONCLUSIVE)
"""Outcomes that are verdicts on the change itself; one that was superseded had none."""


@dataclass
class Report:
    """Counts over a stretch of a journal.

    Attributes:
        begin: wall clock of the first period, ISO 8601; empty without any.
        end: of the last one.
        running_seconds: that a controller has run in between.
        periods: decided, by mode.
        due: periods that there should have been while it ran.
        complete: periods decided on complete readings.
        starts: of a controller.
        outcomes: optimizations by outcome; `running` for those without a verdict.
        delays: seconds from the first proposal to being in force, of each.
        refusals: periods by reason why something was not done as wanted.
        modes: changes of the system's mode, as (wall clock, from, to).
        workload_modes: changes of a workload's own mode while the system's stayed, as (wall clock, workload, from, to).
    """

    begin: str = ""
    end: str = ""
    running_seconds: float = 0.0
    periods: Counter[str] = field(default_factory=Counter)
    due: int = 0
    complete: int = 0
    starts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    modes: list[tuple[str, str, str]] = field(default_factory=list)
    workload_modes: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def optimizations(self) -> int:
        """Changes that were made."""
        return sum(self.outcomes.values())

    @property
    def judged(self) -> int:
        """Those with a verdict."""
        return sum(self.outcomes[outcome] for outcome in JUDGED)

    @property
    def per_day(self) -> float:
        """Optimizations per day of running; NaN without any time."""
        return self.optimizations * DAY_SECONDS / self.running_seconds if self.running_seconds else math.nan

    @property
    def availability(self) -> float:
        """Share of the periods due while a controller ran that were decided on complete readings; NaN without any."""
        return self.complete / self.due if self.due else math.nan

    def share(self, *outcomes: Outcome) -> tuple[float, float, float]:
        """Share of the judged optimizations with these outcomes, and its 95 % interval; NaN without any."""
        return wilson(sum(self.outcomes[outcome] for outcome in outcomes), self.judged)

    def delay(self, share: float) -> float:
        """Quantile of the seconds from opportunity to applied; NaN without any."""
        return float(np.quantile(self.delays, share, method="higher")) if self.delays else math.nan

    def plain(self) -> dict[str, Any]:
        """As one JSON object: seconds, ratios, and `_ci` as [low, high] at 95 %."""
        kept, kept_low, kept_high = self.share(Outcome.KEEP)
        stood, stood_low, stood_high = self.share(Outcome.KEEP, Outcome.INCONCLUSIVE)
        return {
            "begin": self.begin,
            "end": self.end,
            "running_seconds": self.running_seconds,
            "starts": self.starts,
            "periods": dict(self.periods),
            "availability": self.availability,
            "optimizations": self.optimizations,
            "optimizations_per_day": self.per_day,
            "outcomes": {name: self.outcomes[name] for name in (*Outcome, "running")},
            "success_rate": kept,
            "success_rate_ci": [kept_low, kept_high],
            "not_rolled_back": stood,
            "not_rolled_back_ci": [stood_low, stood_high],
            "opportunity_to_applied_p50_seconds": self.delay(0.5),
            "opportunity_to_applied_p99_seconds": self.delay(0.99),
            "refusals": dict(self.refusals.most_common()),
            "mode_changes": [{"at": at, "from": former, "to": mode} for at, former, mode in self.modes],
            "workload_mode_changes": [
                {"at": at, "workload": workload, "from": former, "to": mode}
                for at, workload, former, mode in self.workload_modes
            ],
        }


def lines(found: Report) -> list[str]:
    """The same for people."""
    per_period = {reason: number / max(1, found.periods.total()) for reason, number in found.refusals.most_common()}
    rows = [
        ("from", found.begin or "no period"),
        ("to", found.end),
        ("running", f"{_span(found.running_seconds)}, {found.starts} starts"),
        ("periods", ", ".join(f"{mode} {number}" for mode, number in found.periods.items())),
        ("availability", _percent(found.availability, digits=2)),
        ("optimizations", f"{found.optimizations}{_per_day(found.per_day)}"),
        *((f"  {name}", str(found.outcomes[name])) for name in (*Outcome, "running")),
        ("kept, of those judged", _interval(found.share(Outcome.KEEP))),
        ("not rolled back", _interval(found.share(Outcome.KEEP, Outcome.INCONCLUSIVE))),
        ("opportunity to applied", _seconds(found.delay(0.5), found.delay(0.99))),
        ("not done as wanted", "" if per_period else "never"),
        *((f"  {reason}", f"{_percent(share)} of periods") for reason, share in per_period.items()),
        ("changes of mode", "" if found.modes or found.workload_modes else "none"),
        *((f"  {at}", f"{former} -> {mode}") for at, former, mode in found.modes),
        *((f"  {at}", f"{workload}: {former} -> {mode}") for at, workload, former, mode in found.workload_modes),
    ]
    return [f"{name:34}{text}".rstrip() for name, text in rows]


def wilson(successes: int, trials: int) -> tuple[float, float, float]:
    """A share and its 95 % interval (Wilson, 1927), which holds for few trials and shares near 0 or 1; else NaN."""
    if trials == 0:
        return math.nan, math.nan, math.nan
    share, z2 = successes / trials, Z_95**2 / trials
    centre, half = share + z2 / 2, Z_95 * math.sqrt((share * (1 - share) + z2 / 4) / trials)
    return share, max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))


def report(state_dir: str | Path, since: str = "", now: datetime.datetime | None = None) -> Report:
    """Count over the journal of a controller, rotated files included.

    Args:
        state_dir: of the controller.
        since: a time such as 2h, or a date such as 2026-01-31 or 2026-01-31T12:00 (UTC); empty for all.
        now: that `since` counts from; None for the present.

    Raises:
        CommandError: there is no journal, or `since` is no time.
    """
    path = Path(state_dir) / JOURNAL
    if not path.exists():
        raise CommandError(f"no journal in {str(state_dir)!r}; it is made when the controller is started")
    return count(Journal.records(path), _begin(since, now or datetime.datetime.now(datetime.UTC)))


def count(found: Iterable[Mapping[str, Any]], begin: str = "") -> Report:
    """Count over records, oldest first.

    Args:
        found: the records of a journal.
        begin: wall clock, ISO 8601 in UTC; what is older is left out.
    """
    result, run, applied = Report(), _Run(), {}
    for record in found:
        if record.get("kind") == "start":
            run.end(result)
            result.starts += _iso(record.get("at")) >= begin
        if record.get("kind") != "decision" or str(record["at"]) < begin:
            continue
        run.add(record, result)
        for change in record["opened"]:
            result.delays.append(change["applied_at"] - change["seen_at"])
            applied[change["id"]] = "running"
        for verdict in record["verdicts"]:
            if verdict["id"] in applied:  # else it was made before `begin`
                applied[verdict["id"]] = verdict["outcome"]
        result.refusals.update({refusal["reason"] for refusal in record["reasons"]})
    run.end(result)
    result.outcomes.update(applied.values())
    return result


class _Run:
    """The periods of one controller, from its start to its end."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._mode = ""
        self._own: dict[str, str] = {}

    def add(self, record: Mapping[str, Any], result: Report) -> None:
        self._times.append(record["time"])
        result.begin = result.begin or record["at"]
        result.end, mode = record["at"], record["mode"]
        result.periods[mode] += 1
        result.complete += all(isinstance(value, int | float) for value in record["inputs"]["values"])
        own = record.get("modes", {})
        if self._mode and mode != self._mode:
            result.modes.append((record["at"], self._mode, mode))
        elif self._mode:
            for workload in sorted({*self._own, *own}):
                former, now = self._own.get(workload, mode), own.get(workload, mode)
                if now != former:
                    result.workload_modes.append((record["at"], workload, former, now))
        self._mode, self._own = mode, own

    def end(self, result: Report) -> None:
        """The controller's time is over; the clock of the next one may have begun anew."""
        times, self._times = np.array(self._times), []
        if len(times) == 0:
            return
        # The period's length is the usual distance: it stands in no record, and late periods do not shift it.
        period = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        seconds = float(times[-1] - times[0]) + period
        result.running_seconds += seconds
        result.due += max(len(times), round(seconds / period) if period > 0 else 0)


def _per_day(rate: float) -> str:
    return "" if math.isnan(rate) else f" ({rate:.0f} per day of running)"


def _seconds(median: float, p99: float) -> str:
    return "unknown" if math.isnan(median) else f"p50 {median:.2f} s, p99 {p99:.2f} s"


def _span(seconds: float) -> str:
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    parts = [f"{n:.0f} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")) if n]
    return " ".join(parts[:2]) or "0 s"


def _percent(share: float, digits: int = 1) -> str:
    return "unknown" if math.isnan(share) else f"{100 * share:.{digits}f} %"


def _interval(share: tuple[float, float, float]) -> str:
    value, low, high = share
    return "unknown" if math.isnan(value) else f"{_percent(value)} (95 %: {100 * low:.1f} to {100 * high:.1f})"


def _begin(since: str, now: datetime.datetime) -> str:
    if not since:
        return ""
    try:
        moment = datetime.datetime.fromisoformat(since)
    except ValueError:
        moment = now - datetime.timedelta(seconds=seconds_of(since))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds")


def _iso(seconds: Any) -> str:
    """Of a `start` record, which holds seconds since 1970."""
    known = seconds if isinstance(seconds, int | float) else 0.0
    return datetime.datetime.fromtimestamp(known, datetime.UTC).isoformat(timespec="milliseconds")
