"""The trials that are running, the periods they are compared with, and the pauses after rollbacks."""

from __future__ import annotations

from collections import deque

import numpy as np

from controller.arbiter import Move
from controller.evidence import Noise, scatter
from controller.judge import Judge
from controller.trial import Outcome, Period, Trial, TrialConfig, Verdict
from envs.spec import Role, SystemSpec
from telemetry.metrics import Snapshot


class Trials:
    """At most one trial per workload.

    Args:
        spec: objectives and SLOs.
        config: windows, margins, pauses.
        run_id: begins every trial's id, so that ids stay unique over restarts of the controller.
    """

    STATE = (
        "running", "_number", "_recent", "_settings", "_in_force", "_changed_at", "_failures", "_paused_until",
    )  # fmt: skip
    BUDGETS = ("_failures", "_paused_until")

    def __init__(self, spec: SystemSpec, config: TrialConfig, run_id: str) -> None:
        self.spec, self.config = spec, config
        self.running: dict[str, Trial] = {}
        self.judge = Judge(spec, config)
        self._run_id, self._number = run_id, 0
        self._recent: deque[Period] = deque(maxlen=config.noise_periods)
        self._settings: deque[int] = deque(maxlen=config.noise_periods)  # number of each period's setting
        self._in_force = np.full(len(spec.knobs), np.nan)
        self._changed_at: dict[str, float] = {}
        self._failures: dict[tuple[str, Role], int] = {}
        self._paused_until: dict[tuple[str, Role], float] = {}
        self._cpu = np.array([spec.knob_index(o.cpu_knob) for o in spec.workloads.values()], dtype=int)

    def configure(self, config: TrialConfig) -> None:
        """Other windows and margins from now on, for running trials too."""
        self.config = self.judge.config = config
        self._recent = deque(self._recent, maxlen=config.noise_periods)

    @property
    def last(self) -> Period | None:
        """The newest period; None before the first."""
        return self._recent[-1] if self._recent else None

    def observe(self, snapshot: Snapshot, setting: np.ndarray) -> list[Verdict]:
        """Add a period to every running trial; those that ended are no longer running.

        Args:
            snapshot: of the period.
            setting: (n_knobs,) in force during it.
        """
        period = self.judge.period(snapshot, setting)
        for trial in self.running.values():
            trial.watched.append(period)
        busy = set(self.running)
        found = [self.judge.verdict(trial, busy - {trial.workload}) for trial in self.running.values()]
        verdicts = [verdict for verdict in found if verdict is not None]
        if period.complete:  # blind, nothing is taken from anybody: the shield then cuts what is given back
            verdicts = self._with_partners(verdicts, setting)
        for verdict in verdicts:
            self._end(verdict, period.time)
        self._recent.append(period)
        self._settings.append(self._setting_number(setting))
        return verdicts

    def open(self, move: Move, before: np.ndarray, after: np.ndarray, applied_at: float) -> Trial:
        """Begin a trial of a change that is in force.

        Args:
            move: what was admitted.
            before: (n_knobs,) in force until now.
            after: (n_knobs,) in force from now on.
            applied_at: seconds.
        """
        knobs = np.array([knob for knob in move.knobs if before[knob] != after[knob]], dtype=int)
        trial = Trial(
            move.id or self.next_id(), move.workload, move.role, knobs, before[knobs], after[knobs], move.adds,
            move.takes, move.seen_at, applied_at, self.baseline(move.workload), *self._noise(),
        )  # fmt: skip
        self.running[move.workload] = trial
        self._changed_at[move.workload] = applied_at
        return trial

    def next_id(self) -> str:
        """An id for the next optimization."""
        self._number += 1
        return f"{self._run_id}-{self._number:04d}"

    def end(self, workload: str, outcome: Outcome, reason: str, now: float) -> Verdict | None:
        """End a running trial without a measurement; None if there is none."""
        trial = self.running.get(workload)
        if trial is None:
            return None
        verdict = Verdict(trial, outcome, reason)
        self._end(verdict, now)
        return verdict

    def baseline(self, workload: str) -> list[Period]:
        """The complete periods since the workload's last change had settled."""
        settled = (
            self._changed_at.get(workload, -np.inf) + self.config.settle_periods * self.spec.control_period_seconds
        )
        found: list[Period] = []
        for period in reversed(self._recent):
            if not period.time > settled or len(found) == self.config.baseline_periods:
                break
            if period.complete:
                found.append(period)
        return found[::-1]

    def pause_all(self, now: float) -> None:
        """Try nothing for the time of a first backoff, except what adds capacity in need."""
        for workload in self.spec.workloads:
            for role in Role:
                until = now + self.config.backoff_seconds
                self._paused_until[workload, role] = max(until, self._paused_until.get((workload, role), until))

    def failed(self, workload: str, role: Role, now: float) -> None:
        """Leave a role of a workload alone for a while, longer with each failure since the last success."""
        key = (workload, role)
        self._failures[key] = self._failures.get(key, 0) + 1
        # At most 2^60: a workload that has been failing for a week must not overflow.
        pause = self.config.backoff_seconds * 2.0 ** min(self._failures[key] - 1, 60)
        self._paused_until[key] = now + min(pause, self.config.longest_backoff_seconds)

    def pause_left(self, workload: str, role: Role, now: float) -> float:
        """Seconds until a role's changes of a workload are tried again after a rollback; 0 if they are."""
        return max(0.0, self._paused_until.get((workload, role), -np.inf) - now)

    def _setting_number(self, setting: np.ndarray) -> int:
        """Counts the settings that were in force, from 1; minus that for the first period of each, while it settles."""
        last = abs(self._settings[-1]) if self._settings else 0
        if np.array_equal(setting, self._in_force):
            return last
        self._in_force = np.array(setting, dtype=float)
        return -(last + 1)

    def _noise(self) -> tuple[Noise, Noise]:
        """Of one period's efficiency and of its score: scatter around the mean of each setting that was in force."""
        complete = [(p, n) for p, n in zip(self._recent, self._settings, strict=True) if p.complete]
        numbers = np.array([number for _, number in complete], dtype=int)
        efficiencies = np.array([period.efficiency for period, _ in complete])
        scores = np.array([period.score for period, _ in complete])
        return scatter(efficiencies, numbers), scatter(scores, numbers)

    def _with_partners(self, verdicts: list[Verdict], setting: np.ndarray) -> list[Verdict]:
        """Grants raised together with one that is given back end too, where the cores do not suffice for both."""
        returned = setting.copy()
        for verdict in verdicts:
            if verdict.outcome is Outcome.ROLLED_BACK:
                returned[verdict.trial.knobs] = verdict.trial.before
        if returned[self._cpu].sum() <= max(self.spec.cores, setting[self._cpu].sum()) + 1e-6:
            return verdicts
        back = {verdict.trial.workload: verdict for verdict in verdicts if verdict.outcome is Outcome.ROLLED_BACK}
        times = {verdict.trial.applied_at for verdict in back.values()}
        partners = [
            Verdict(trial, Outcome.ROLLED_BACK, f"paid for by {', '.join(sorted(back))}, which was rolled back")
            for trial in self.running.values()
            if trial.adds and trial.applied_at in times and trial.workload not in back
        ]
        dragged = {verdict.trial.workload for verdict in partners}
        return [verdict for verdict in verdicts if verdict.trial.workload not in dragged] + partners

    def _end(self, verdict: Verdict, now: float) -> None:
        trial = verdict.trial
        del self.running[trial.workload]
        key = (trial.workload, trial.role)
        if verdict.outcome is Outcome.KEEP:
            self._failures.pop(key, None)
        elif verdict.outcome is Outcome.ROLLED_BACK:
            self.failed(trial.workload, trial.role, now)
            self._changed_at[trial.workload] = now
