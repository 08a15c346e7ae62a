"""The verdict on a change: from the periods before and since, by SLOs first and then by efficiency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.adjusted import useful_work
from controller.attribution import began_before, counts_up, held_at_this_load
from controller.burn_rate import burning
from controller.evidence import Effect, effect
from controller.trial import Outcome, Period, Trial, TrialConfig, Verdict
from envs.objective import Objective
from envs.spec import Slo, SystemSpec
from telemetry.metrics import Snapshot


def slo_owners(spec: SystemSpec) -> tuple[str | None, ...]:
    """The workload that answers for each SLO, by the name of its metric; None for one that is nobody's."""
    return tuple(next((w for w in spec.workloads if slo.metric.startswith(f"{w}_")), None) for slo in spec.slos)


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
        self._slo_owner = slo_owners(spec)
        self._slo_metrics = spec.catalogue.indices([slo.metric for slo in spec.slos])
        self._ages = np.array([_is_age(slo, spec.control_period_seconds) for slo in spec.slos], dtype=bool)

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
            self._objective.shares(values),
            self._objective.cpu_prices(values, setting),
            values[self._slo_metrics],
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
        if not since:
            return None
        hit = self._broken_since(trial, since[-1:], busy, config.hard_breach)
        if hit and not self._excused(trial, hit):
            return self._end(trial, Outcome.ROLLED_BACK, f"{self._names(hit)} badly broken right after the change")
        judged = since[config.settle_periods :]
        watched = [period for period in judged if period.complete]
        over = len(judged) >= config.longest_watch_periods
        blind = len(judged) >= config.blind_periods and not any(p.complete for p in judged[-config.blind_periods :])
        if blind or (over and len(watched) < config.watch_periods):
            if trial.adds:
                return self._end(trial, Outcome.INCONCLUSIVE, "readings are missing; it added capacity")
            return self._end(trial, Outcome.ROLLED_BACK, "readings are missing: no data is no success")
        if len(watched) < config.watch_periods:
            return None
        hit = self._broken_since(trial, watched, busy, 0.0)
        if hit:
            return self._by_breach(trial, watched, hit, over)
        fresh = self._broken_since(trial, watched[-1:], busy, 0.0)
        if fresh and not over and not self._excused(trial, fresh):
            return None  # one bad period is no breach yet: the next one tells
        return self._by_efficiency(trial, watched, over)

    def _by_breach(self, trial: Trial, watched: Sequence[Period], hit: list[int], over: bool) -> Verdict | None:
        """Taken back; where the load may be the reason, it is waited for as long as there is time."""
        excuse = self._excused(trial, hit)
        if not excuse and counts_up(trial, self._ages)[hit].all():
            excuse = "what is too old was so on its way before the change"
        if excuse:
            if not over and not trial.adds:
                return None
            return self._end(trial, Outcome.INCONCLUSIVE, f"{self._names(hit)} broken, but {excuse}")
        return self._end(trial, Outcome.ROLLED_BACK, f"{self._names(hit)} broken since the change", watched)

    def _by_efficiency(self, trial: Trial, watched: Sequence[Period], over: bool) -> Verdict | None:
        """Harmful is what is worse beyond margin and noise; harmless, what the noise does not hide such a loss in."""
        config = self.config
        if len(trial.baseline) < config.least_baseline_periods:
            return self._end(trial, Outcome.INCONCLUSIVE, "nothing to compare with")
        own, aside = self._workloads.index(trial.workload), [self._workloads.index(name) for name in trial.aside]
        before, after = useful_work(trial, watched, own, aside)
        found = effect(before, after, trial.noise, config.effect_precision)
        margin = config.margin * abs(float(before.mean()))
        if found.estimate < -margin and found.bounds(config.harm_alpha)[1] < 0.0:
            rise = self._load_change(trial, [self._workloads.index(trial.workload)])
            if abs(rise) > config.load_tolerance:
                excuse = f"worse, but the load changed by {rise:+.0%}"
                return self._end(trial, Outcome.INCONCLUSIVE, excuse, watched) if over else None
            fell = f"useful work at the price before fell from {before.mean():.3f} to {after.mean():.3f}"
            return self._end(trial, Outcome.ROLLED_BACK, fell, watched)
        if found.bounds(config.keep_alpha)[0] > -margin:
            if all(period.complete for period in trial.watched):
                return self._end(trial, Outcome.KEEP, "not worse than before", watched)
            return self._end(trial, Outcome.INCONCLUSIVE, "not worse in what could be read of it", watched)
        suspicious = found.estimate < -config.suspicious_share * margin or config.revert_unproven
        if suspicious and not over:
            return None
        if trial.adds or not config.revert_unproven:
            return self._end(trial, Outcome.INCONCLUSIVE, f"nothing proven in {len(watched)} periods", watched)
        return self._end(trial, Outcome.UNDONE, f"not proven harmless in {len(watched)} periods", watched)

    def _end(self, trial: Trial, outcome: Outcome, reason: str, watched: Sequence[Period] = ()) -> Verdict:
        """A verdict with the gain that was measured, if any was."""
        if not watched or len(trial.baseline) < self.config.least_baseline_periods:
            return Verdict(trial, outcome, reason)
        before, after = (np.array([p.score for p in periods]) for periods in (trial.baseline, watched))
        found: Effect = effect(before, after, trial.score_noise, self.config.effect_precision)
        scale = max(abs(float(before.mean())), 1e-9)
        low, high = found.bounds(self.config.harm_alpha)
        return Verdict(trial, outcome, reason, found.estimate / scale, (low / scale, high / scale))

    def _broken_since(self, trial: Trial, periods: Sequence[Period], busy: set[str], severity: float) -> list[int]:
        """SLOs that held before, burn their budget too fast in `periods`, and are this trial's business.

        Args:
            trial: with its baseline.
            periods: since the change; a single one counts as it is.
            busy: other workloads under trial.
            severity: mean breach beyond which it counts.
        """
        since = np.array([p.breaches for p in periods])  # (T, n_slos)
        before = np.array([p.breaches for p in trial.baseline]).reshape(-1, since.shape[-1])
        new = (since > 0)[0] if len(since) == 1 else burning(since > 0, self.config.burn)
        new &= since.mean(axis=0) > severity
        new &= ~began_before(trial, self._ages)
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
        if rise <= self.config.load_tolerance or held_at_this_load(trial, hit, involved):
            return ""
        return f"the load rose by {rise:.0%}"

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


def _is_age(slo: Slo, period: float) -> bool:
    """Whether an SLO is about the age of something: its bound is a time that takes periods to pass, as no latency's."""
    return slo.at_most is not None and slo.metric.endswith("_seconds") and slo.at_most >= 2.0 * period
