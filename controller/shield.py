"""The last word on every setting: whatever is proposed, what leaves here is allowed, or nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from controller.cost import CostGate
from controller.recoverability import Recoverability
from envs.scaling import KnobScaling
from envs.spec import SystemSpec
from telemetry.metrics import Snapshot

TOLERANCE = 1e-9
DEBT = -1.0
"""Fewest reversals left: what proves harmful is taken back though none is left, and that is charged afterwards."""


class Reason(StrEnum):
    """Why a proposal was not carried out as it stood."""

    MALFORMED = "malformed"
    NOT_FINITE = "not_finite"
    OUT_OF_BOUNDS = "out_of_bounds"
    STEP_LIMIT = "step_limit"
    CPU_SUM = "cpu_sum"
    UNRECOVERABLE = "unrecoverable"
    STALE = "stale"
    MISSING = "missing"
    COOLDOWN = "cooldown"
    FLAPPING = "flapping"
    PAUSED = "paused"
    PINNED = "pinned"
    COST = "cost"
    BUSY = "busy"
    BACKOFF = "backoff"
    NO_BASELINE = "no_baseline"
    NO_PROPOSAL = "no_proposal"
    FALLBACK = "fallback"
    INVALID = "invalid"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    ACTUATOR = "actuator"
    JOURNAL = "journal"
    RESTORED = "restored"
    OVERRIDE = "override"
    LEASE = "lease"
    KILLED = "killed"
    DEMOTED = "demoted"
    BLIND = "blind"
    MODE = "mode"
    ADVICE = "advice"
    CANARY = "canary"
    CONFIG = "config"
    INFEASIBLE = "infeasible"
    FROZEN = "frozen"
    FORECAST = "forecast"


@dataclass(frozen=True)
class Refusal:
    """One reason with the detail that a reader of the journal needs."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class ShieldConfig:
    """Limits that no policy can exceed."""

    stale_after_seconds: float = 3.0
    """Age from which a snapshot counts as missing. Default: three control periods of one second."""
    cooldown_seconds: float = 2.0
    """Shortest time between two changes of one workload, unless capacity is added. Default: every actuator shows its
    effect within one period, and a second period is needed to see it."""
    reversals_per_hour: float = 60.0
    """Changes of direction that one knob may make per hour in the long run. Default: one a minute, so that a limit
    cycle as long as the window of a trial cannot go on."""
    reversal_burst: float = 6.0
    """Changes of direction that a knob may make at once, after a quiet time."""


@dataclass
class Motion:
    """What is remembered of one knob, for the flap budget."""

    direction: int = 0
    tokens: float = 0.0
    filled_at: float = 0.0


class Shield:
    """Checks settings against bounds, steps, CPU sum, freshness, cooldown and flap budget.

    `check` decides and remembers nothing; `applied` tells it what was really done. At most
    `reversal_burst + reversals_per_hour * hours` reversals of a knob that are charged can pass in any time, whatever
    is proposed. Raising a CPU grant is never charged: adding capacity stays possible, and there can be at most one more
    of such reversals than of those charged. Only where rollbacks of raised grants have used up more than there is, the
    next one waits until that debt is paid, a minute by default.

    Args:
        spec: knobs, metrics and cores.
        config: the limits.
        bounds: see `narrow`.
        recoverability: what may be taken from workloads; None for anything.
    """

    STATE = BUDGETS = ("_motion", "_changed_at")

    def __init__(
        self,
        spec: SystemSpec,
        config: ShieldConfig | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        recoverability: Recoverability | None = None,
    ) -> None:
        self.spec, self.config, self._recoverability = spec, config or ShieldConfig(), recoverability
        self._scaling = KnobScaling(spec.knobs)
        self.narrow(bounds or {})
        self._cost = CostGate(spec)
        self._step = np.array([knob.max_step for knob in spec.knobs])  # (n_knobs,)
        self._workload = np.array([knob.workload for knob in spec.knobs])
        self._cpu = np.array([spec.knob_index(o.cpu_knob) for o in spec.workloads.values()], dtype=int)
        self._is_cpu = np.isin(np.arange(len(spec.knobs)), self._cpu)
        catalogue = spec.catalogue
        guards = {slo.metric for slo in spec.slos}
        for objective in spec.workloads.values():
            guards |= {objective.done, objective.wanted, objective.cpu_used}
        self._guards = tuple(name for name in catalogue.names if name in guards)
        self._guard_index = catalogue.indices(self._guards)
        self._guard_low = np.array([catalogue[name].low for name in self._guards])
        self._motion = [Motion(tokens=self.config.reversal_burst, filled_at=-np.inf) for _ in spec.knobs]
        self._changed_at: dict[str, float] = {}

    def narrow(self, bounds: Mapping[str, tuple[float, float]]) -> None:
        """Bounds from now on, within those of the spec. `check` leads what is outside of them inside, step by step.

        Args:
            bounds: knob -> (low, high); a knob that is not named has the spec's.
        """
        self._low, self._high = self._scaling.low.copy(), self._scaling.high.copy()  # (n_knobs,)
        for name, (low, high) in bounds.items():
            knob = self.spec.knob_index(name)
            whole = self.spec.knobs[knob].integer
            self._low[knob] = max(self._low[knob], np.ceil(low) if whole else low)
            self._high[knob] = min(self._high[knob], np.floor(high) if whole else high)

    def outside(self, setting: np.ndarray) -> np.ndarray:
        """Which knobs are beyond the bounds in force, (n_knobs,) bool."""
        return (setting < self._low - TOLERANCE) | (setting > self._high + TOLERANCE)

    def check(
        self,
        proposed: ArrayLike | None,
        current: np.ndarray,
        snapshot: Snapshot | None,
        now: float,
        *,
        undo: bool = False,
    ) -> tuple[np.ndarray, list[Refusal]]:
        """What may be applied of a proposal.

        Args:
            proposed: the wanted setting, (n_knobs,) in natural units; anything at all is survived.
            current: (n_knobs,) in force.
            snapshot: the newest reading; None if there is none.
            now: seconds on the clock of the snapshot.
            undo: whether this restores an earlier setting: freshness, cooldown, steps, flap budget, cost are not asked.

        Returns:
            The allowed setting, equal to `current` where nothing may change, and the reasons for every difference.
        """
        if not self._usable(current):
            return np.array(current, copy=True), [Refusal(Reason.MALFORMED, "the setting in force is unknown")]
        wanted = _as_array(proposed, len(self._step))
        if wanted is None:
            return current.copy(), [Refusal(Reason.MALFORMED, f"a proposal must be {len(self._step)} numbers")]
        reasons: list[Refusal] = []
        setting = self._bounded(wanted, current, reasons, steps=not undo)
        if not undo:
            self._hold_when_blind(setting, current, snapshot, now, reasons)
            self._hold_in_cooldown(setting, current, now, reasons)
            self._hold_flapping(setting, current, now, reasons)
            self._hold_costly(setting, current, snapshot, reasons)
            self._hold_unrecoverable(setting, current, reasons)
        self._limit_cpu(setting, current, reasons)
        return np.where(_differs(setting, current), setting, current), reasons

    def applied(self, before: np.ndarray, after: np.ndarray, now: float) -> None:
        """Remember a change that was really made.

        Args:
            before: (n_knobs,) in force until now.
            after: (n_knobs,) in force from now on.
            now: seconds.
        """
        for knob in np.flatnonzero(_differs(before, after)):
            direction = 1 if after[knob] > before[knob] else -1
            motion = self._motion[knob]
            if motion.direction == -direction and not (self._is_cpu[knob] and direction > 0):
                motion.tokens, motion.filled_at = max(DEBT, self._tokens(motion, now) - 1.0), now
            motion.direction = direction
            self._changed_at[str(self._workload[knob])] = now

    def spend(self, now: float) -> None:
        """Let no knob have a reversal left, `now` seconds on the clock; they come back with time."""
        self._motion = [Motion(tokens=0.0, filled_at=now) for _ in self._motion]

    def missing(self, snapshot: Snapshot | None, now: float) -> Refusal | None:
        """Why the system cannot be seen well enough for anything but adding capacity; None if it can.

        Args:
            snapshot: the newest reading.
            now: seconds on its clock.
        """
        if snapshot is None or snapshot.values.shape != (len(self.spec.metrics),):
            return Refusal(Reason.STALE, "there is no reading")
        age = now - snapshot.time
        if not age <= self.config.stale_after_seconds:
            return Refusal(Reason.STALE, f"the newest reading is {age:.1f} s old")
        values = snapshot.values[self._guard_index]
        # A value below its physical minimum (a negative rate) is no reading; one above is only clipped when scaled.
        bad = ~(np.isfinite(values) & (values >= self._guard_low - TOLERANCE))
        if bad.any():
            return Refusal(Reason.MISSING, ", ".join(np.array(self._guards)[bad]))
        return None

    def _usable(self, current: np.ndarray) -> bool:
        if np.shape(current) != self._step.shape or not np.issubdtype(np.asarray(current).dtype, np.floating):
            return False
        inside = (current >= self._scaling.low - TOLERANCE) & (current <= self._scaling.high + TOLERANCE)
        return bool(inside.all())  # NaN compares false

    def _bounded(self, wanted: np.ndarray, current: np.ndarray, reasons: list[Refusal], *, steps: bool) -> np.ndarray:
        """Finite, within bounds and steps; (n_knobs,)."""
        finite = np.isfinite(wanted)
        setting = np.where(finite, wanted, current)
        if not finite.all():
            reasons.append(Refusal(Reason.NOT_FINITE, self._names(~finite)))
        # What is taken back may stay beyond narrowed bounds, but goes no further out, and makes no jump inside.
        low = self._low if steps else np.minimum(self._low, current)
        high = self._high if steps else np.maximum(self._high, current)
        clipped = np.clip(setting, low, high)
        clipped = np.where(self._scaling.integer & _differs(clipped, current), np.rint(clipped), clipped)
        outside = np.abs(clipped - setting) > np.where(self._scaling.integer, 0.5, 0.0) + TOLERANCE
        if outside.any():
            reasons.append(Refusal(Reason.OUT_OF_BOUNDS, self._names(outside)))
        own = self._scaling.scale(current)
        move = self._scaling.scale(clipped) - own
        too_far = np.abs(move) > self._step + TOLERANCE
        if steps and too_far.any():
            limited = self._scaling.unscale(own + np.clip(move, -self._step, self._step))
            clipped = np.where(too_far, limited, clipped)
            # The CPU sum outranks the step: an overbooked host is brought into its limits at once.
            asked_cores, cores = wanted[self._cpu], clipped[self._cpu]
            if current[self._cpu].sum() > self.spec.cores and np.isfinite(asked_cores).all():
                clipped[self._cpu] = np.minimum(cores, np.clip(asked_cores, self._low_cpu, None))
            reasons.append(Refusal(Reason.STEP_LIMIT, self._names(too_far)))
        return np.where(_differs(clipped, current), clipped, current)

    @property
    def _low_cpu(self) -> np.ndarray:
        return self._low[self._cpu]

    def _hold_when_blind(
        self, setting: np.ndarray, current: np.ndarray, snapshot: Snapshot | None, now: float, reasons: list[Refusal]
    ) -> None:
        blind = self.missing(snapshot, now)
        held = _differs(setting, current) & ~self._adds(setting, current)
        if blind is not None and held.any():
            setting[held] = current[held]
            reasons.append(blind)

    def _hold_in_cooldown(self, setting: np.ndarray, current: np.ndarray, now: float, reasons: list[Refusal]) -> None:
        held = _differs(setting, current) & ~self._adds(setting, current)
        for workload in sorted({str(name) for name in self._workload[held]}):
            left = self._changed_at.get(workload, -np.inf) + self.config.cooldown_seconds - now
            if left > TOLERANCE:
                own = held & (self._workload == workload)
                setting[own] = current[own]
                reasons.append(Refusal(Reason.COOLDOWN, f"{workload} for another {left:.1f} s"))

    def _hold_flapping(self, setting: np.ndarray, current: np.ndarray, now: float, reasons: list[Refusal]) -> None:
        adds = self._adds(setting, current)
        for knob in np.flatnonzero(_differs(setting, current)):
            direction = 1 if setting[knob] > current[knob] else -1
            motion = self._motion[knob]
            turns, left = motion.direction == -direction, self._tokens(motion, now)
            # In debt, what was raised has been taken back time and again, perhaps in this very period.
            if left < 0.0 if adds[knob] else turns and left < 1.0:
                setting[knob] = current[knob]
                reasons.append(Refusal(Reason.FLAPPING, self.spec.knobs[knob].name))

    def _hold_costly(
        self, setting: np.ndarray, current: np.ndarray, snapshot: Snapshot | None, reasons: list[Refusal]
    ) -> None:
        for knob in np.flatnonzero(_differs(setting, current) & self._cost.costly):
            objection = self._cost.objection(int(knob), snapshot)
            if objection:
                setting[knob] = current[knob]
                reasons.append(Refusal(Reason.COST, objection))

    def _hold_unrecoverable(self, setting: np.ndarray, current: np.ndarray, reasons: list[Refusal]) -> None:
        if self._recoverability is None:
            return
        # What is led into narrower bounds is so by the operator's order.
        setting[:], lines = self._recoverability.held(setting, current, self._high, self.outside(current))
        reasons += [Refusal(Reason.UNRECOVERABLE, line) for line in lines]

    def _limit_cpu(self, setting: np.ndarray, current: np.ndarray, reasons: list[Refusal]) -> None:
        """Cut what was raised until the grants fit; what was held or lowered stays."""
        cores, held = setting[self._cpu], current[self._cpu]
        over = float(cores.sum()) - self.spec.cores
        raised = np.maximum(cores - held, 0.0)  # (n_workloads,)
        if over <= TOLERANCE or raised.sum() <= 0:
            return
        factor = max(0.0, 1.0 - over / float(raised.sum()))
        setting[self._cpu] = np.where(raised > 0, held + raised * factor, cores)
        reasons.append(Refusal(Reason.CPU_SUM, f"{over:.3f} cores more than the {self.spec.cores:g} there are"))

    def _adds(self, setting: np.ndarray, current: np.ndarray) -> np.ndarray:
        """Which knobs are CPU grants that grow, (n_knobs,)."""
        return self._is_cpu & (setting > current)

    def _tokens(self, motion: Motion, now: float) -> float:
        if not np.isfinite(motion.filled_at):
            return self.config.reversal_burst
        filled = motion.tokens + max(0.0, now - motion.filled_at) * self.config.reversals_per_hour / 3600.0
        return min(self.config.reversal_burst, filled)

    def _names(self, which: np.ndarray) -> str:
        return ", ".join(name for name, hit in zip(self.spec.knob_names, which, strict=True) if hit)


def pinned_setting(spec: SystemSpec, setting: np.ndarray, pins: Mapping[str, float]) -> np.ndarray:
    """A setting with the operator's pins in it; values beyond a knob's bounds are clipped, unknown names left out.

    Args:
        spec: whose knobs.
        setting: (n_knobs,).
        pins: knob -> value.
    """
    pinned = setting.copy()
    for index, knob in enumerate(spec.knobs):
        value = pins.get(knob.name)
        if value is not None and np.isfinite(value):
            pinned[index] = np.clip(np.rint(value) if knob.integer else value, knob.low, knob.high)
    return pinned


def _as_array(proposed: ArrayLike | None, n_knobs: int) -> np.ndarray | None:
    try:
        # Warnings are off: whatever a broken policy returns is data here, and may overflow.
        with np.errstate(all="ignore"):
            array = np.array(proposed, dtype=float)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if array.shape == (n_knobs,) else None


def _differs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which knobs differ by more than rounding, (n_knobs,)."""
    return np.abs(a - b) > TOLERANCE + 1e-12 * np.abs(b)
