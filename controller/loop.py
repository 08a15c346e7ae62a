"""The control loop: read, observe, decide, shield, apply, verify, record. Once per control period, whatever happens."""

from __future__ import annotations

import contextlib
import datetime
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from agents.policy import Policy
from controller.arbiter import Arbiter, Move, Situation
from controller.conditions import Conditions
from controller.config import ControllerConfig
from controller.decision import Decision, Mode, decision_record, intent_record
from controller.guard import Guard, GuardError
from controller.journal import Journal, JournalError
from controller.plant_events import EventKind, PlantWithEvents, PlantWithReverts
from controller.proposals import Proposer
from controller.shield import Reason, Refusal, Shield, pinned_setting
from controller.trial import Outcome
from controller.trials import Trials
from envs.plant import Plant, PlantError
from envs.recent import Recent
from envs.spec import Role
from envs.task import Task
from telemetry.metrics import Snapshot

logger = logging.getLogger(__name__)

BY_OPERATOR = "by the operator"
STAGES = ("read", "observe", "decide", "shield", "apply", "verify", "record")


class Stop(Protocol):
    """What `Controller.run` looks at; `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether it is time to stop."""
        ...


@dataclass
class _Plan:
    """What one period is going to do.

    Attributes:
        setting: (n_knobs,) to be applied.
        undone: (n_knobs,) with rollbacks, restorations and pins alone, in case no change may be made.
        moves: those that open a trial when they are in force.
        restore: whether everything goes back to what was found, rather than to a setting of ours.
    """

    setting: np.ndarray
    undone: np.ndarray
    moves: list[Move] = field(default_factory=list)
    restore: bool = False


class Controller:
    """Keeps a plant in trim. Starts from the setting in force, without a jump.

    In mode `off` it only reads; in `shadow` it decides and writes down, and changes nothing; in `act` it changes the
    setting. `paused` stops changes at once, but a change on trial is still rolled back if it proves harmful.

    Args:
        plant: to be controlled.
        policies: by role; a role without one is not controlled.
        fallback: by role, for periods in which the policy cannot be used.
        journal: where every decision is written; without one that can be written, nothing is changed.
        mode: to begin with; may be switched at any time.
        config: limits and windows.
        guard: the right to change something, for a plant that outlives this process; None needs none (a simulation, or
            a comparison that supervises itself).
        clock: seconds, monotonic, the same clock as the plant's snapshots.
        wall_clock: seconds since 1970, for labels.
    """

    def __init__(
        self,
        plant: Plant,
        policies: Mapping[Role, Policy],
        fallback: Mapping[Role, Policy],
        journal: Journal,
        *,
        mode: Mode | str = Mode.SHADOW,
        config: ControllerConfig | None = None,
        guard: Guard | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.guard = guard
        self.heed: Callable[[], None] | None = None
        """Called in each period after the reading and before anything is decided; takes over what operators want."""
        self.killed = False
        """The kill switch: everything goes back to what was found at start, and stays there."""
        self.demoted = ""
        """Why the mode fell by itself; empty if it did not."""
        self.plant, self.spec, self.journal = plant, plant.spec, journal
        self.config = config or ControllerConfig()
        self.paused = False
        self.pins: dict[str, float] = {}
        self._mode = Mode(mode)
        self._clock, self._wall_clock = clock, wall_clock
        self._last_time = -np.inf  # of the last snapshot
        self.recent = Recent(self.spec)
        self.shield = Shield(self.spec, self.config.shield)
        self.arbiter = Arbiter(self.spec)
        run_id = datetime.datetime.fromtimestamp(wall_clock(), datetime.UTC).strftime("%Y%m%dT%H%M%S")
        self.trials = Trials(self.spec, self.config.trial, run_id)
        self.proposer = Proposer({role: Task(self.spec, role) for role in policies}, policies, fallback)
        self.proposer.reset()
        self.conditions = Conditions()
        self.found = plant.setting
        self.last_known_good = plant.setting
        self.settled = plant.setting
        self.last_decision: Decision | None = None
        self.outcomes: Counter[str] = Counter()
        self._decisions: Counter[str] = Counter()
        self._stage_total = dict.fromkeys(STAGES, 0.0)
        self._stage_last = dict.fromkeys(STAGES, 0.0)
        self._started_at = clock()
        self._due, self._complete = 0, 0
        self._rollback_wanted: str | None = None
        self._revert_wanted = False
        self._changed_something = False
        self._rolled_back_at: deque[float] = deque()
        self._yielded: dict[str, float] = {}

    @property
    def mode(self) -> Mode:
        """In force; switching away from `act` leaves the setting as it is and ends the trials."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode | str) -> None:
        mode = Mode(mode)
        if mode is self._mode:
            return
        logger.info("mode %s -> %s", self._mode, mode)
        if mode is Mode.ACT:
            self.proposer.reset()
        self._mode = mode

    def rollback(self, id: str = "") -> None:
        """Return in the next period: the running trial of this id, or everything to the last known good setting."""
        self._rollback_wanted = id

    def revert(self) -> None:
        """Return in the next period to the setting found at start, and try nothing for the time of a first backoff."""
        self._revert_wanted = True

    def step(self) -> Decision:
        """One period. Waits for it to end first, as `plant.advance` does.

        Returns:
            What was seen and done; it stands in the journal too.
        """
        with self._timed("read"):
            snapshot = self._read()
            decision = self._begin(snapshot)
        with self._timed("observe"):
            self._last_time = snapshot.time
            self.recent.append(snapshot)
            self._observe(decision)
        with self._timed("decide"):
            if self._mode is not Mode.OFF:
                self._decide(decision)
        with self._timed("shield"):
            plan = self._plan(decision)
        with self._timed("apply"):
            self._apply(decision, plan)
        with self._timed("verify"):
            self._verify(decision, plan)
        with self._timed("record"):
            self._demote(decision)
            self._record(decision)
        if self.guard is not None:
            self.guard.renew()
        return decision

    def run(self, stop: Stop, after_step: Callable[[Decision], None] | None = None) -> None:
        """Step until `stop`. The plant keeps the time, so that late periods do not shift later ones.

        Args:
            stop: e.g. a `threading.Event`.
            after_step: called with each decision, on this thread.
        """
        while not stop.is_set():
            try:
                decision = self.step()
                if after_step is not None:
                    after_step(decision)
                self.conditions.note("broken period", None, self._clock())
            except Exception as error:  # the one place whose job is to survive: a daemon that is gone controls nothing
                self._decisions["failed"] += 1
                if "broken period" not in self.conditions.active:
                    logger.exception("a period failed; the setting in force is kept")
                self.conditions.note("broken period", f"{type(error).__name__}: {error}", self._clock())

    def metrics(self) -> dict[str, float]:
        """The loop's own figures by series name, for `telemetry.exposition`."""
        values = {
            **{f'trimtab_controller_periods_total{{mode="{mode}"}}': float(self._decisions[mode]) for mode in Mode},
            **{f'trimtab_controller_stage_seconds{{stage="{name}"}}': s for name, s in self._stage_last.items()},
            **{f'trimtab_controller_stage_seconds_total{{stage="{name}"}}': s for name, s in self._stage_total.items()},
            **{f'trimtab_controller_trials_total{{outcome="{o}"}}': float(self.outcomes[o]) for o in Outcome},
        }
        return values | {
            "trimtab_controller_failed_periods_total": float(self._decisions["failed"]),
            "trimtab_controller_trials_running": float(len(self.trials.running)),
            "trimtab_controller_conditions": float(len(self.conditions.active)),
            "trimtab_controller_availability_ratio": self.availability,
        }

    @property
    def availability(self) -> float:
        """Share of the periods since the start in which the loop decided on complete readings; 1 before the first."""
        elapsed = int((self._clock() - self._started_at) / self.spec.control_period_seconds + 0.5)
        due = max(self._due, elapsed)
        return self._complete / due if due else 1.0

    def _read(self) -> Snapshot:
        """The period's snapshot; all NaN where the plant has none, or repeats an old one."""
        problem = None
        try:
            snapshot = self.plant.advance(self.spec.control_period_seconds)
            if snapshot.values.shape != (len(self.spec.metrics),):
                problem = f"the reading has shape {snapshot.values.shape}, not ({len(self.spec.metrics)},)"
            elif not self._last_time < snapshot.time < np.inf:
                problem = f"the reading of {snapshot.time:.1f} s was repeated"
        except PlantError as error:
            problem = str(error)
        self.conditions.note("no reading", problem, self._clock())
        if problem is None:
            return snapshot
        later = max(self._clock(), np.nextafter(self._last_time, np.inf))
        return Snapshot(later, np.full(len(self.spec.metrics), np.nan))

    def _begin(self, snapshot: Snapshot) -> Decision:
        at = datetime.datetime.fromtimestamp(self._wall_clock(), datetime.UTC).isoformat(timespec="milliseconds")
        if self.heed is not None:
            self.heed()
        lost = self._retake()
        before = self.plant.setting
        complete = bool(np.isfinite(snapshot.values).all())
        self._due += 1
        self._complete += complete
        decision = Decision(
            snapshot.time, at, self._mode, snapshot, before, before.copy(), before.copy(), complete=complete
        )
        if lost:
            self._end_trials(decision, list(self.trials.running), lost)
            decision.reasons.append(Refusal(Reason.LEASE, lost))
        return decision

    def _retake(self) -> str:
        """Go on from what the warden restored, if our lease ran out; returns the reason, empty if it did not."""
        lost = "" if self.guard is None else self.guard.retake()
        if lost:
            if isinstance(self.plant, PlantWithReverts):
                self.plant.reread()
            self.settled, self.last_known_good = self.plant.setting, self.plant.setting
        return lost

    def _observe(self, decision: Decision) -> None:
        """Judge the running trials by the new period, and note what else happened to the plant."""
        decision.verdicts += self.trials.observe(decision.snapshot, decision.before)
        if self._mode is not Mode.ACT:
            self._end_trials(decision, list(self.trials.running), f"mode {self._mode}")
        blind = self.shield.missing(decision.snapshot, self._clock())
        self.conditions.note("blind", None if blind is None else str(blind), self._clock())

    def _decide(self, decision: Decision) -> None:
        if not self.recent.full:
            return  # the loop has just begun: nobody knows enough yet, the fallback neither
        proposals = self.proposer.propose(self.recent, decision.before)
        decision.proposals, decision.policies = proposals.settings, proposals.policies
        decision.reasons += proposals.reasons
        detail = "; ".join(reason.detail for reason in proposals.reasons) or None
        self.conditions.note("fallback", detail, self._clock())

    def _plan(self, decision: Decision) -> _Plan:
        """What comes back first, then the operator's pins, then new changes of workloads that nothing else touches."""
        now = self._clock()
        restore = self._back_to_start(decision)
        target = self._returned(decision)
        if restore:
            # Not through the shield: what was found was in force before us, however overbooked the host was.
            self.last_known_good = self.found.copy()
            return _Plan(self.found.copy(), self.found, restore=True)
        undone, reasons = self.shield.check(target, decision.before, decision.snapshot, now, undo=True)
        decision.reasons += reasons
        touched: set[str] = {self.spec.knobs[i].workload for i in np.flatnonzero(undone != decision.before)}
        plan = _Plan(undone.copy(), undone)
        if not self._mode_allows_moves(decision):
            return plan
        pinned = {*self.pins, *(name for name, until in self._yielded.items() if until > now)}
        moves = self.arbiter.moves(decision.proposals, decision.before, now, pinned)
        admission = self.arbiter.admit(moves, undone, self._situation(now, touched))
        setting, reasons = self.shield.check(admission.setting, undone, decision.snapshot, now)
        decision.reasons += admission.refusals + reasons
        plan.setting, plan.moves = setting, admission.moves
        return plan

    def _returned(self, decision: Decision) -> np.ndarray:
        """The setting in force with rollbacks, restorations after restarts and pins in it, (n_knobs,)."""
        target = decision.before.copy()
        self._heed_events(decision, target)
        wanted, self._rollback_wanted = self._rollback_wanted, None
        if wanted is not None:
            self._end_by_operator(decision, wanted)
        for verdict in decision.verdicts:
            self.outcomes[verdict.outcome] += 1
            if verdict.outcome is Outcome.ROLLED_BACK:
                target[verdict.trial.knobs] = verdict.trial.before
            elif verdict.outcome is Outcome.KEEP:
                self.last_known_good[verdict.trial.knobs] = verdict.trial.after
        if wanted == "":
            target[:] = self.last_known_good
        return pinned_setting(self.spec, target, self.pins)

    def _back_to_start(self, decision: Decision) -> bool:
        """Whether everything returns to the setting found at start: by the operator, or after a long blindness."""
        wanted, self._revert_wanted = self._revert_wanted, False
        reason = Refusal(Reason.KILLED, "the kill switch is on") if self.killed else self._long_blind()
        if reason is None and wanted:
            reason = Refusal(Reason.OVERRIDE, "back to the setting found at start, by the operator")
            self.trials.pause_all(self._clock())
        if reason is None:
            return False
        self._end_trials(decision, list(self.trials.running), str(reason))
        decision.reasons.append(reason)
        return True

    def _long_blind(self) -> Refusal | None:
        if self._mode is not Mode.ACT:
            return None  # what an operator left in force by leaving the mode is his
        since, _ = self.conditions.active.get("blind", (np.inf, ""))
        blind = self._clock() - since
        return Refusal(Reason.BLIND, f"for {blind:.0f} s") if blind >= self.config.blind_seconds else None

    def _heed_events(self, decision: Decision, target: np.ndarray) -> None:
        """Restarted components get back what was in force and not on trial; changes by others are left alone."""
        events = self.plant.take_events() if isinstance(self.plant, PlantWithEvents) else []
        for event in events:
            if event.kind is EventKind.RESTARTED:
                own = [i for i, knob in enumerate(self.spec.knobs) if knob.workload == event.workload]
                target[own] = self.settled[own]
                self._end_trials(decision, [event.workload], "the component was restarted")
                decision.reasons.append(Refusal(Reason.RESTORED, event.detail))
            elif event.kind is EventKind.CHANGED_ELSEWHERE:
                self._yielded[event.knob] = self._clock() + self.config.yield_seconds
                decision.reasons.append(Refusal(Reason.OVERRIDE, event.detail))
            else:
                decision.reasons.append(Refusal(Reason.ACTUATOR, event.detail))

    def _end_by_operator(self, decision: Decision, id: str) -> None:
        """End one running trial, or all; nothing of that kind is tried again for the time of a first backoff."""
        chosen = [workload for workload, trial in self.trials.running.items() if id in ("", trial.id)]
        for workload in chosen:
            verdict = self.trials.end(workload, Outcome.ROLLED_BACK, BY_OPERATOR, self._clock())
            if verdict is not None:
                decision.verdicts.append(verdict)
        if id and not chosen:
            decision.reasons.append(Refusal(Reason.OVERRIDE, f"no trial {id} is running; nothing was rolled back"))
        elif not id:
            self.trials.pause_all(self._clock())
            decision.reasons.append(Refusal(Reason.OVERRIDE, "back to the last known good setting, by the operator"))

    def _mode_allows_moves(self, decision: Decision) -> bool:
        if self._mode is Mode.OFF or self.killed or self._long_blind() is not None:
            return False
        if self.paused:
            decision.reasons.append(Refusal(Reason.PAUSED, "by the operator"))
            return False
        problem = self.guard.problem() if self.guard is not None and self._mode is Mode.ACT else None
        self.conditions.note("no right to act", problem, self._clock())
        if problem is not None:
            decision.reasons.append(Refusal(Reason.LEASE, problem))
        return problem is None

    def _situation(self, now: float, touched: set[str]) -> Situation:
        last = self.trials.last
        blind = last is None or not last.complete
        least = self.config.trial.least_baseline_periods
        return Situation(
            now,
            {**{w: t.id for w, t in self.trials.running.items()}, **dict.fromkeys(touched, "what was just restored")},
            frozenset(self.trials.judge.broken(last) if last is not None else ()),
            blind,
            lambda workload, role: self.trials.pause_left(workload, role, now),
            lambda workload: len(self.trials.baseline(workload)) >= least,
        )

    def _apply(self, decision: Decision, plan: _Plan) -> None:
        """Write the intent down, then make the change; nothing outside `act` mode."""
        decision.wanted = plan.setting
        may = self._mode is Mode.ACT or (plan.restore and self._changed_something)
        if not may or (plan.setting == decision.before).all():
            return
        try:
            only_back = not plan.moves
            self.journal.append(intent_record(self.spec, decision), durable=True, urgent=only_back)
        except JournalError as error:
            # What comes back stands in the journal already, so it goes ahead; nothing new does.
            decision.reasons.append(Refusal(Reason.JOURNAL, str(error)))
            decision.wanted, plan.moves = plan.undone, []
        try:
            if (decision.wanted != decision.before).any():
                with self._acting():
                    self._set(decision.wanted, plan.restore)
        except GuardError as error:
            decision.reasons.append(Refusal(Reason.LEASE, str(error)))
        except (PlantError, ValueError) as error:
            decision.reasons.append(Refusal(Reason.ACTUATOR, str(error)))

    def _set(self, setting: np.ndarray, restore: bool) -> None:
        self._changed_something = not restore
        if restore and isinstance(self.plant, PlantWithReverts):
            self.plant.restore()
        else:
            self.plant.apply(setting)

    def _acting(self) -> contextlib.AbstractContextManager[None]:
        """What a change is made in: with a guard, how to undo it is on the disk before."""
        if self.guard is None or not isinstance(self.plant, PlantWithReverts):
            return contextlib.nullcontext()
        return self.guard.acting(self.plant.revert_steps())

    def _verify(self, decision: Decision, plan: _Plan) -> None:
        """Read back what is in force; open a trial for every move that is."""
        now = self._clock()
        decision.setting = self.plant.setting
        if self._mode is not Mode.ACT:
            return
        short = np.abs(decision.setting - decision.wanted) > 1e-3 * np.maximum(np.abs(decision.wanted), 1e-3)
        for knob in np.flatnonzero(short):
            asked, found = decision.wanted[knob], decision.setting[knob]
            name = self.spec.knobs[knob].name
            decision.reasons.append(Refusal(Reason.ACTUATOR, f"{name}: asked {asked:g}, in force {found:g}"))
        self.conditions.note("actuator", "not all was applied" if short.any() else None, now)
        self.shield.applied(decision.before, decision.setting, now)
        for move in plan.moves:
            if any(decision.setting[knob] != decision.before[knob] for knob in move.knobs):
                ended = self.trials.end(move.workload, Outcome.SUPERSEDED, "capacity was added or given", now)
                if ended is not None:
                    self.outcomes[ended.outcome] += 1
                    decision.verdicts.append(ended)
                self.arbiter.applied(move)
                decision.opened.append(self.trials.open(move, decision.before, decision.setting, now))

        self.settled = np.where(short, decision.wanted, decision.setting)
        for trial in self.trials.running.values():
            self.settled[trial.knobs] = trial.before

    def _demote(self, decision: Decision) -> None:
        """Only watch from now on if too many changes had to be rolled back within an hour."""
        now, at = self._clock(), self._rolled_back_at
        ours = [v for v in decision.verdicts if v.outcome is Outcome.ROLLED_BACK and v.reason != BY_OPERATOR]
        at.extend([now] * len(ours))
        while at and at[0] <= now - 3600.0:
            at.popleft()
        if len(at) > self.config.rollbacks_per_hour and self._mode is Mode.ACT:
            self.demoted = f"{len(at)} rollbacks within an hour, {self.config.rollbacks_per_hour} are allowed"
            decision.reasons.append(Refusal(Reason.DEMOTED, f"{self.demoted}; mode act again by an operator"))
            self.mode = Mode.SHADOW
            at.clear()

    def _record(self, decision: Decision) -> None:
        decision.stage_seconds = dict(self._stage_last)
        self._decisions[self._mode] += 1
        self.last_decision = decision
        try:
            self.journal.append(decision_record(self.spec, decision), durable=decision.changed, urgent=decision.changed)
            self.conditions.note("journal", None, self._clock())
        except JournalError as error:
            self.conditions.note("journal", str(error), self._clock())

    def _end_trials(self, decision: Decision, workloads: list[str], reason: str) -> None:
        for workload in workloads:
            verdict = self.trials.end(workload, Outcome.INCONCLUSIVE, reason, self._clock())
            if verdict is not None:
                decision.verdicts.append(verdict)

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self._stage_last[stage] = time.perf_counter() - begin
        self._stage_total[stage] += self._stage_last[stage]
