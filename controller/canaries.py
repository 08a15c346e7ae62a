"""Changes of a component with replicas go to a few of them first, and to all when those do no worse than the rest.

Canaries and rest meet the same load at the same moment, so that what happens to both is nobody's doing: the difference
of their scores is compared with what it was while all had the same setting (difference in differences), by the test of
`controller.evidence`, which may be looked at in every period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from controller.arbiter import Move
from controller.evidence import effect, scatter
from controller.judge import Judge
from controller.trial import Period
from telemetry.metrics import Snapshot


@dataclass(frozen=True)
class Paired:
    """What canaries and rest of one component showed in the same period.

    Attributes:
        knobs: that the canaries have otherwise than the rest; empty while all have the same.
        canary: (n_metrics,) a snapshot with the component's own metrics as the canaries show them; NaN where missing.
        rest: (n_metrics,) the same with those of the others.
    """

    knobs: Mapping[str, float]
    canary: np.ndarray
    rest: np.ndarray


@dataclass
class CanaryTrial:
    """A change that only the canaries have.

    Attributes:
        move: that is tried; its id is that of the optimization which it becomes.
        before: differences of the scores, canaries minus rest, of periods in which all had the same setting.
        since: of the periods since, the settling ones too; NaN where readings were missing.
        levels: scores of the rest since.
    """

    move: Move
    before: list[float]
    since: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class CanaryEnd:
    """What became of it.

    Attributes:
        move: that was tried.
        reason: one line.
        promoted: whether all may have it now; else it is taken back.
        harmful: whether it was found to be worse.
    """

    move: Move
    reason: str
    promoted: bool = False
    harmful: bool = False


class Canaries:
    """At most one change of each component is tried at a time.

    Args:
        judge: of the periods; its configuration is asked anew each time.
    """

    STATE = ("running", "_equal")

    def __init__(self, judge: Judge) -> None:
        self.running: dict[str, CanaryTrial] = {}
        self._judge = judge
        self._equal: dict[str, list[float]] = {}  # differences while all had the same setting, newest last

    def observe(self, paired: Mapping[str, Paired], snapshot: Snapshot, setting: np.ndarray) -> list[CanaryEnd]:
        """Add a period; those that ended are no longer running.

        Args:
            paired: by component, where canaries and rest can be told apart.
            snapshot: of the period, of all replicas together.
            setting: (n_knobs,) of the rest.
        """
        ends: list[CanaryEnd] = []
        for workload, pair in paired.items():
            if not pair.canary.shape == pair.rest.shape == snapshot.values.shape:
                continue
            canary, rest = (
                self._judge.period(Snapshot(snapshot.time, values, snapshot.day), setting)
                for values in (pair.canary, pair.rest)
            )
            trial = self.running.get(workload)
            if trial is not None:
                ends += self._judged(trial, canary, rest)
            elif not pair.knobs and np.isfinite(canary.score - rest.score):
                known = [*self._equal.get(workload, []), canary.score - rest.score]
                self._equal[workload] = known[-self._judge.config.noise_periods :]
        for workload, trial in list(self.running.items()):
            values = dict(paired[workload].knobs) if workload in paired else {}
            if all(end.move is not trial.move for end in ends) and len(values) != len(trial.move.knobs):
                ends.append(CanaryEnd(trial.move, "canaries and rest cannot be held against each other any more"))
        for end in ends:
            del self.running[end.move.workload]
        return ends

    def stop(self, workload: str, reason: str) -> list[CanaryEnd]:
        """Take it back, whatever it showed; nothing without a reason."""
        return [CanaryEnd(self.running.pop(workload).move, reason)] if reason else []

    def known(self, workload: str) -> bool:
        """Whether it is known how canaries and rest differ without a change."""
        return len(self._equal.get(workload, [])) >= max(2, self._judge.config.least_baseline_periods)

    def begin(self, move: Move) -> None:
        """A change is in force on the canaries."""
        self.running[move.workload] = CanaryTrial(move, list(self._equal[move.workload]))

    def _judged(self, trial: CanaryTrial, canary: Period, rest: Period) -> list[CanaryEnd]:
        config, move = self._judge.config, trial.move
        trial.since.append(canary.score - rest.score)
        trial.levels.append(rest.score)
        if ((canary.breaches > config.hard_breach) & (rest.breaches <= 0)).any():
            return [CanaryEnd(move, "an SLO is badly broken on the canaries alone", harmful=True)]
        since = np.array(trial.since[config.settle_periods :])
        judged = since[np.isfinite(since)]
        over = len(since) >= config.longest_watch_periods
        if len(since) >= config.blind_periods and not np.isfinite(since[-config.blind_periods :]).any():
            return [CanaryEnd(move, "readings are missing")]
        if len(judged) < config.watch_periods:
            return [CanaryEnd(move, "hardly any period could be read")] if over else []
        before = np.array(trial.before)
        found = effect(before, judged, scatter(before, np.zeros(len(before), dtype=int)), config.effect_precision)
        margin = config.margin * abs(float(np.nanmean(trial.levels)))
        told = f"{found.estimate:+.3f} against the rest in {len(judged)} periods"
        if found.estimate < -margin and found.bounds(config.harm_alpha)[1] < 0.0:
            return [CanaryEnd(move, f"worse: {told}", harmful=True)]
        if found.bounds(config.keep_alpha)[0] > -margin:
            return [CanaryEnd(move, f"not worse: {told}", promoted=True)]
        if not over:
            return []
        suspicious = found.estimate < -config.suspicious_share * margin or config.revert_unproven
        return [CanaryEnd(move, f"nothing proven: {told}", promoted=not suspicious)]
