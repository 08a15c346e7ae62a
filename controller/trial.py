"""Every applied change is on trial: measured against the periods before it, then kept or rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from envs.objective import Objective
from envs.spec import Role, SystemSpec
from telemetry.metrics import Snapshot


class Outcome(StrEnum):
    """How a trial ended.

    `inconclusive` leaves the change in force without proof; `superseded` means that capacity was added to the same
    workload before the trial was over, which counts neither as success nor as failure.
    """

    KEEP = "keep"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class TrialConfig:
    """When a change counts as harmful."""

    settle_periods: int = 1
    """Periods after the change that are not judged. Default 1: actuators act within 50 ms, so the second is clean."""
    watch_periods: int = 2
    """Periods that are judged. Default 2: with the settling one a verdict stands after 3 s, far within a minute."""
    baseline_periods: int = 5
    """Most periods before the change that it is compared with."""
    least_baseline_periods: int = 2
    """Fewer, and there is nothing to compare with: only capacity is added then."""
    margin: float = 0.10
    """Relative loss of the score that is harmful, if it is beyond the noise as well."""
    noise_errors: float = 3.0
    """Standard errors of the difference that count as noise. Default 3: one false alarm in several hundred changes."""
    noise_periods: int = 30
    """Most recent periods from which the noise of the score is told."""
    least_noise_periods: int = 6
    """With fewer, the spread of the baseline is taken for the noise."""
    load_tolerance: float = 0.15
    """Relative change of the load within which two windows can be compared."""
    hard_breach: float = 0.75
    """Breach (see `Objective.breaches`) that is rolled back at once. 0.75: half of the bound beyond the bound."""
    backoff_seconds: float = 15.0
    """Pause of a workload's role after a rollback; doubled by each further one, forgotten after a success."""
    longest_backoff_seconds: float = 600.0


@dataclass(frozen=True)
class Period:
    """What the objective says about one control period; NaN where readings are missing.

    Attributes:
        time: seconds, end of the period.
        value: value-weighted useful work.
        cost: price of what is reserved.
        slo: the objective's SLO term, 0 or negative.
        breaches: (n_slos,).
        load: (n_workloads,) work wanted per second, in the order of `spec.workloads`.
    """

    time: float
    value: float
    cost: float
    slo: float
    breaches: np.ndarray
    load: np.ndarray

    @property
    def score(self) -> float:
        """Efficiency plus SLO term: the objective without the cost of changing; NaN where nothing is paid for."""
        return self.value / self.cost + self.slo if self.cost else float("nan")

    @property
    def complete(self) -> bool:
        """Whether nothing needed for a verdict is missing."""
        return bool(np.isfinite([self.value, self.cost, self.slo]).all() and np.isfinite(self.load).all())


@dataclass
class Trial:
    """One optimization: a change of one workload's knobs of one role.

    Attributes:
        id: unique in the journal.
        workload: whose knobs.
        role: of the knobs.
        knobs: (k,) positions in a setting.
        before: (k,) values in force before.
        after: (k,) values in force since.
        adds: whether it raised the workload's CPU grant.
        takes: whether it lowered it.
        seen_at: seconds; when the change was first proposed.
        applied_at: seconds; when it was in force.
        baseline: periods before it.
        noise: standard deviation of one period's score; NaN where it is not known.
        watched: periods since, the settling ones too.
    """

    id: str
    workload: str
    role: Role
    knobs: np.ndarray
    before: np.ndarray
    after: np.ndarray
    adds: bool
    takes: bool
    seen_at: float
    applied_at: float
    baseline: list[Period] = field(default_factory=list)
    noise: float = float("nan")
    watched: list[Period] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """The end of a trial.

    Attributes:
        trial: which.
        outcome: how it ended.
        reason: one line.
        gain: relative change of the score; NaN where it could not be measured.
    """

    trial: Trial
    outcome: Outcome
    reason: str
    gain: float = float("nan")


class Judge:
    """Turns what was measured around a change into a verdict; keeps nothing.

    Args:
        spec: objectives and SLOs.
        config: what counts as harmful.
    """

    def __init__(self, spec: SystemSpec, config: TrialConfig) -> None:
        self.spec, self.config = spec, config
        self._objective = Objective(spec)
        self._workloads: list[str] = list(spec.workloads)
        self._wanted = spec.catalogue.indices([o.wanted for o in spec.workloads.values()])
        owners = [next((w for w in self._workloads if slo.metric.startswith(f"{w}_")), None) for slo in spec.slos]
        self._slo_owner: tuple[str | None, ...] = tuple(owners)

    def period(self, snapshot: Snapshot, setting: np.ndarray) -> Period:
        """The objective's terms of a period.

        Args:
            snapshot: of the period.
            setting: (n_knobs,) in force during it.
        """
        values = snapshot.values
        terms = self._objective.score(values, setting, setting)
        return Period(
            snapshot.time,
            float(self._objective.value(values)),
            float(self._objective.cost(values, setting)),
            float(terms["slo"]),
            self._objective.breaches(values),
            values[self._wanted],
        )

    def broken(self, period: Period) -> set[str]:
        """Workloads whose own SLOs do not hold; an SLO that is nobody's counts for all."""
        owners = [owner for owner, hit in zip(self._slo_owner, period.breaches > 0, strict=True) if hit]
        return set(self._workloads) if None in owners else {owner for owner in owners if owner is not None}

    def verdict(self, trial: Trial, busy: set[str]) -> Verdict | None:
        """The verdict; None while the trial has to go on.

        Args:
            trial: with all periods so far.
            busy: other workloads under trial: a breach of their own SLOs is theirs to answer for.
        """
        config, since = self.config, trial.watched
        if (
            since
            and (hit := self._breach(trial, since[-1:], busy, config.hard_breach))
            and not self._excused(trial, hit)
        ):
            return Verdict(trial, Outcome.ROLLED_BACK, f"{self._names(hit)} badly broken right after the change")
        if len(since) < config.settle_periods + config.watch_periods:
            return None
        watched = since[config.settle_periods :]
        if not all(period.complete for period in watched):
            if trial.adds:
                return Verdict(trial, Outcome.INCONCLUSIVE, "readings are missing; it added capacity")
            return Verdict(trial, Outcome.ROLLED_BACK, "readings are missing: no data is no success")
        return self._by_breach(trial, watched, busy) or self._by_score(trial, watched)

    def _by_breach(self, trial: Trial, watched: Sequence[Period], busy: set[str]) -> Verdict | None:
        hit = self._breach(trial, watched, busy, 0.0)
        if not hit:
            return None
        excuse = self._excused(trial, hit)
        if excuse:
            return Verdict(trial, Outcome.INCONCLUSIVE, f"{self._names(hit)} broken, but {excuse}")
        return Verdict(
            trial, Outcome.ROLLED_BACK, f"{self._names(hit)} broken since the change", self._gain(trial, watched)
        )

    def _by_score(self, trial: Trial, watched: Sequence[Period]) -> Verdict:
        if len(trial.baseline) < self.config.least_baseline_periods:
            return Verdict(trial, Outcome.INCONCLUSIVE, "nothing to compare with")
        before, after = self._scores(trial, trial.baseline), self._scores(trial, watched)
        loss, gain = before.mean() - after.mean(), self._gain(trial, watched)
        noise = trial.noise if np.isfinite(trial.noise) else before.std(ddof=1)
        spread = noise * np.sqrt(1 / len(before) + 1 / len(after))
        if loss <= max(self.config.margin * abs(before.mean()), self.config.noise_errors * spread):
            return Verdict(trial, Outcome.KEEP, "not worse than before", gain)
        rise = self._load_change(trial, [self._workloads.index(trial.workload)])
        if abs(rise) > self.config.load_tolerance:
            return Verdict(trial, Outcome.INCONCLUSIVE, f"worse, but the load changed by {rise:+.0%}", gain)
        return Verdict(trial, Outcome.ROLLED_BACK, f"score fell from {before.mean():.3f} to {after.mean():.3f}", gain)

    def _scores(self, trial: Trial, periods: Sequence[Period]) -> np.ndarray:
        """Efficiency plus SLO term of each period, (len(periods),).

        Where capacity was added, the price before is charged: paying more was the intention, and only a loss of useful
        work or a broken SLO speaks against it.
        """
        value, slo = np.array([p.value for p in periods]), np.array([p.slo for p in periods])
        cost = np.array([p.cost for p in periods])
        if trial.adds:
            cost = np.full_like(value, np.mean([p.cost for p in trial.baseline]))
        return value / cost + slo

    def _gain(self, trial: Trial, watched: Sequence[Period]) -> float:
        """Relative change of efficiency plus SLO term, both at their own price; NaN without a baseline."""
        if len(trial.baseline) < self.config.least_baseline_periods:
            return float("nan")
        before = float(np.mean([p.score for p in trial.baseline]))
        after = float(np.mean([p.score for p in watched]))
        return (after - before) / max(abs(before), 1e-9)

    def _breach(self, trial: Trial, periods: Sequence[Period], busy: set[str], severity: float) -> list[int]:
        """SLOs that held before, are broken in most of `periods`, and are this trial's business.

        Args:
            trial: with its baseline.
            periods: since the change.
            busy: other workloads under trial.
            severity: mean breach beyond which it counts.
        """
        since = np.array([p.breaches for p in periods])  # (T, n_slos)
        before = np.array([p.breaches for p in trial.baseline]).reshape(-1, since.shape[-1])
        # Most periods, not one: with 50 requests a second, a tail of 3 % breaks a 95 % objective in every fifth period.
        new = ((since > 0).mean(axis=0) > 0.5) & (since.mean(axis=0) > severity)
        if len(before):
            new &= (before > 0).mean(axis=0) < 0.5
        own = [self._slo_owner[i] == trial.workload or self._slo_owner[i] not in busy for i in range(len(new))]
        return [int(i) for i in np.flatnonzero(new & np.array(own))]

    def _excused(self, trial: Trial, hit: list[int]) -> str:
        """Why a breach is not blamed on the change; empty if it is."""
        owners = {self._slo_owner[i] for i in hit}
        if trial.adds and owners == {trial.workload}:
            return "the change added capacity to that workload"
        if trial.takes:
            return ""  # giving back what was taken is the safe direction, whatever the load does
        involved = [i for i, name in enumerate(self._workloads) if name in owners | {trial.workload}]
        rise = self._load_change(trial, involved)
        return f"the load rose by {rise:.0%}" if rise > self.config.load_tolerance else ""

    def _load_change(self, trial: Trial, workloads: list[int]) -> float:
        """Largest relative change (by amount) of the workloads' loads since the change; 0 where it is not known."""
        if not trial.baseline or not trial.watched:
            return 0.0
        before = np.mean([p.load for p in trial.baseline], axis=0)[workloads]
        since = trial.watched[self.config.settle_periods :] or trial.watched
        after = np.mean([p.load for p in since], axis=0)[workloads]
        change = np.nan_to_num((after - before) / np.maximum(before, 1e-9), nan=0.0)
        return float(change[np.argmax(np.abs(change))])

    def _names(self, slos: list[int]) -> str:
        return ", ".join(f"SLO {self.spec.slos[i].name}" for i in slos)
