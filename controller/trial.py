"""Every applied change is on trial: measured against the periods before it, then kept or rolled back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from controller.burn_rate import BurnConfig
from controller.evidence import Noise
from envs.spec import Role

UNKNOWN = Noise(float("nan"), 0)


class Outcome(StrEnum):
    """How a trial ended.

    `inconclusive` leaves the change in force without proof; `undone` takes it back for want of proof, not for harm;
    `superseded` means that capacity was added to the same
    workload before the trial was over, which counts neither as success nor as failure.
    """

    KEEP = "keep"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    SUPERSEDED = "superseded"
    UNDONE = "undone"

    @property
    def taken_back(self) -> bool:
        """Whether what was in force before is to be in force again."""
        return self in (Outcome.ROLLED_BACK, Outcome.UNDONE)


@dataclass(frozen=True)
class TrialConfig:
    """When a change counts as harmful."""

    settle_periods: int = 1
    """Periods after the change that are not judged. Default 1: actuators act within 50 ms, so the second is clean."""
    watch_periods: int = 2
    """Fewest periods that are judged. Default 2: with the settling one a clear verdict stands after 3 s."""
    longest_watch_periods: int = 10
    """Most periods that are judged: what is not clear by then stays unproven. A workload's other changes wait as long,
    unless they add capacity."""
    baseline_periods: int = 5
    """Most periods before the change that it is compared with."""
    least_baseline_periods: int = 2
    """Fewer, and there is nothing to compare with: only capacity is added then."""
    margin: float = 0.10
    """Relative loss of the score that is harmful, if it is beyond the noise as well."""
    harm_alpha: float = 0.05
    """Most changes without any effect that may be found harmful, as a share; also the level of a verdict's interval."""
    keep_alpha: float = 0.20
    """Most changes that lose more than the margin and are nevertheless found harmless by the score, as a share, of
    an interval with two sides: one side is missed half as often."""
    suspicious_share: float = 0.5
    """Share of the margin beyond which a loss that the noise may hide is watched on; what looks no worse than that ends
    unproven at once. Default a half: watching everything on that is unproven cost 2 % of efficiency where controllers
    are young and know their noise badly (460 s of 9 simulated systems, a new controller every 23 s)."""
    effect_precision: float = 1.0
    """Variance of a period's noise over that of the effects that the test is made to find; see `evidence`."""
    noise_periods: int = 60
    """Most recent periods from which the noise of the score is told."""
    revert_unproven: bool = False
    """Whether what is neither proven harmless nor harmful at the end is taken back, unless it added capacity. Default:
    no. It costs hardly any efficiency and no SLO attainment in the simulator, but takes back more changes, good ones
    too, and has not been run on the testbed (docs/safety.md)."""
    load_tolerance: float = 0.15
    """Relative change of the load within which two windows can be compared."""
    blind_periods: int = 3
    """Periods in a row without all readings that end a trial: no data is no success. Default 3: a component that is
    short of CPU leaves out one answer in thirty, which says nothing."""
    burn: BurnConfig = field(default_factory=BurnConfig)
    """When an SLO that held before is broken often enough to take the change back without waiting for statistics."""
    hard_breach: float = 0.75
    """Breach (see `Objective.breaches`) that is rolled back at once. 0.75: half of the bound beyond the bound."""
    backoff_seconds: float = 15.0
    """Pause of a workload's role after a rollback; doubled by each further one, forgotten after a success."""
    longest_backoff_seconds: float = 600.0

    @property
    def reaction_periods(self) -> int:
        """Periods from a change until its harm is seen and taken back, at the latest in ordinary cases."""
        return self.settle_periods + self.watch_periods


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
        shares: (n_workloads,) what each of them adds to `value`; empty in journals from before it was kept.
        prices: (n_workloads,) what the CPU granted to each adds to `cost`; empty there too.
        readings: (n_slos,) of the metrics of the SLOs; empty there too.
    """

    time: float
    value: float
    cost: float
    slo: float
    breaches: np.ndarray
    load: np.ndarray
    shares: np.ndarray = field(default_factory=lambda: np.zeros(0))
    prices: np.ndarray = field(default_factory=lambda: np.zeros(0))
    readings: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def efficiency(self) -> float:
        """Useful work for the price of what is reserved; NaN where nothing is paid for."""
        return self.value / self.cost if self.cost else float("nan")

    @property
    def score(self) -> float:
        """Efficiency plus SLO term: the objective without the cost of changing; NaN where nothing is paid for."""
        return self.efficiency + self.slo

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
        noise: of one period's useful work, while a setting stays in force.
        score_noise: of its score.
        watched: periods since, the settling ones too.
        last: the newest period before it, whether all of it could be read or not; None if there was none.
        aside: workloads that were changed or restarted meanwhile: what they do is not this change's doing.
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
    noise: Noise = UNKNOWN
    score_noise: Noise = UNKNOWN
    watched: list[Period] = field(default_factory=list)
    last: Period | None = None
    aside: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """The end of a trial.

    Attributes:
        trial: which.
        outcome: how it ended.
        reason: one line.
        gain: relative change of the score; NaN where it could not be measured.
        gain_interval: that holds the true gain with probability `1 - harm_alpha`, whenever the trial ended.
    """

    trial: Trial
    outcome: Outcome
    reason: str
    gain: float = float("nan")
    gain_interval: tuple[float, float] = (float("nan"), float("nan"))

    @property
    def proven(self) -> bool:
        """Whether the change was kept and is better than what was before, beyond the noise."""
        return self.outcome is Outcome.KEEP and self.gain_interval[0] > 0.0
