"""The control loop: read, propose, let the kernel decide, apply, read back, record. Once per period, always."""

from __future__ import annotations

import datetime
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from agents.policy import Policy
from controller.carry_out import carry_out
from controller.competence import Competence
from controller.conditions import Conditions
from controller.config import ControllerConfig
from controller.decision import Decision, Mode, decision_record
from controller.figures import Figures
from controller.guard import Guard
from controller.journal import Journal, JournalError
from controller.kernel import Kernel
from controller.modes import modes_in_force
from controller.opportunities import Opportunities
from controller.period import Aftermath, Effect, Inputs, Plan, decision_of
from controller.plant_events import PlantWithEvents, PlantWithReverts
from controller.prescale import Alarm, Prescaler
from controller.proposals import Proposals, Proposer
from controller.recorder import Recorder
from controller.replicas import PlantWithReplicas, replica_metrics
from controller.shield import Reason, Refusal
from controller.success import SuccessRate, success_of
from controller.takeover import Takeover
from controller.trial import Outcome
from controller.validity import doubts, validity_of
from envs.plant import Plant, PlantError
from envs.recent import Recent
from envs.spec import Role
from envs.task import Task
from telemetry.metrics import Snapshot

logger = logging.getLogger(__name__)


class Stop(Protocol):
    """What `Controller.run` looks at; `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether it is time to stop."""
        ...


class Controller:
    """Keeps a plant in trim. Starts from the setting in force, without a jump.

    In mode `off` it only reads; in `shadow` it decides and writes down, and changes nothing; above that it changes the
    setting, see `Mode`. A workload whose own mode is lower is held back by that. `paused` stops changes at once, but a
    change on trial is still rolled back if it proves harmful.

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
        self.announce: Callable[[np.ndarray, np.ndarray], None] | None = None
        """Called with the setting in force and the one that is about to be applied, both (n_knobs,)."""
        self.killed = False
        """The kill switch: everything goes back to what was found at start, and stays there."""
        self.demoted = ""
        """Why a mode fell by itself, the system's or a workload's; empty if none did."""
        self.modes: dict[str, Mode] = {}
        """Workload -> mode that it may have at most; one that is not named has the system's."""
        self.frozen = ""
        """Why it paused itself, when a rollback could not be carried out; empty if it did not."""
        self.plant, self.spec = plant, plant.spec
        self._recorder = Recorder(journal)
        self.config = config or ControllerConfig()
        self.paused = False
        self.pins: dict[str, float] = {}
        self._mode = Mode(mode)
        self._clock, self._wall_clock = clock, wall_clock
        self._last_time = -np.inf  # of the last snapshot
        self.alarms: Sequence[Alarm] = ()
        """Issues that are foretold within the hour, and have not expired."""
        self.recent = Recent(self.spec, outlook=True)
        self._prescaler = Prescaler(self.spec, self.config.prescale)
        self._takeover = Takeover(self.config.recoverability, self.config.trial.reaction_periods)
        self._opportunities = Opportunities(self.spec)
        run_id = datetime.datetime.fromtimestamp(wall_clock(), datetime.UTC).strftime("%Y%m%dT%H%M%S")
        self.kernel = Kernel(self.spec, self.config, plant.setting, run_id)
        self.trials = self.kernel.trials
        self.proposer = Proposer({role: Task(self.spec, role) for role in policies}, policies, fallback)
        self.proposer.reset()
        self.competence = Competence(self.config.competence)
        self.validity = validity_of(plant)
        self.conditions = Conditions()
        self.last_decision: Decision | None = None
        self._figures = Figures(self.spec.control_period_seconds, clock)
        self._rollback_wanted: str | None = None
        self._revert_wanted = False
        self._approvals: list[str] = []
        self._config_wanted: ControllerConfig | None = None

    @property
    def mode(self) -> Mode:
        """In force; switching to `shadow` or `off` leaves the setting as it is and ends the trials."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode | str) -> None:
        mode = Mode(mode)
        if mode is self._mode:
            return
        logger.info("mode %s -> %s", self._mode, mode)
        if mode.changes and not self._mode.changes:
            self.proposer.reset()
        self._mode = mode

    @property
    def modes_in_force(self) -> dict[str, Mode]:
        """Workload -> the lowest of the system's mode, its own, and what the configuration allows."""
        return modes_in_force(self.spec.workloads, self._mode, self.modes, self.config.modes)

    @property
    def journal(self) -> Journal:
        """Where every decision is written."""
        return self._recorder.journal

    @journal.setter
    def journal(self, journal: Journal) -> None:
        self._recorder.journal = journal

    @property
    def found(self) -> np.ndarray:
        """(n_knobs,) in force at start."""
        return self.kernel.found

    @property
    def settled(self) -> np.ndarray:
        """(n_knobs,) in force and not on trial."""
        return self.kernel.settled

    @property
    def last_known_good(self) -> np.ndarray:
        """(n_knobs,) found at start, and since then found to be good."""
        return self.kernel.last_known_good

    @property
    def outcomes(self) -> Counter[str]:
        """Of the trials that ended, by outcome."""
        return self.kernel.outcomes

    @property
    def success(self) -> SuccessRate:
        """Of the changes that were judged: kept, and better beyond the noise."""
        return success_of(self.outcomes)

    def rollback(self, id: str = "") -> None:
        """Return in the next period: the running trial of this id, or everything to the last known good setting."""
        self._rollback_wanted = id

    def revert(self) -> None:
        """Return in the next period to the setting found at start, and try nothing for the time of a first backoff."""
        self._revert_wanted = True

    def approve(self, id: str) -> None:
        """In mode `advise`: make the change with this id, as soon as the shield allows it."""
        self._approvals.append(id)

    def reconfigure(self, config: ControllerConfig) -> None:
        """Other limits and windows from the next period on."""
        self.config = self._config_wanted = config
        self._prescaler.config = config.prescale
        self._takeover.configure(config.recoverability, config.trial.reaction_periods)

    def note(self, condition: str, detail: str | None) -> None:
        """Tell of a condition that the loop does not see itself; see `Conditions.note`."""
        self.conditions.note(condition, detail, self._clock())

    def use(self, policies: Mapping[Role, Policy]) -> None:
        """Ask other policies from the next period on.

        Args:
            policies: by role, those of before.
        """
        self.proposer.use(policies)
        self.proposer.reset()

    def step(self) -> Decision:
        """One period. Waits for it to end first, as `plant.advance` does.

        Returns:
            What was seen and done; it stands in the journal too.
        """
        with self._figures.timed("read"):
            snapshot, doubted = self._believed(self._read())
            at = datetime.datetime.fromtimestamp(self._wall_clock(), datetime.UTC).isoformat(timespec="milliseconds")
            if self.heed is not None:
                self.heed()
            lost = self._retake()
            before = self.plant.setting
        with self._figures.timed("observe"):
            self._last_time = snapshot.time
            self.recent.append(snapshot)
        with self._figures.timed("decide"):
            proposals = self._propose(before)
            proposals.reasons += doubted
        with self._figures.timed("shield"):
            inputs = self._inputs(snapshot, before, proposals, lost)
            self._recorder.begin(self.kernel, at)
            plan = self.kernel.decide(inputs)
            if self.trials.last is not None and self._mode.changes:
                self.competence.observe(self.trials.last.score, inputs.now)
        with self._figures.timed("apply"):
            if plan.act and self.announce is not None:
                self.announce(plan.inputs.before, plan.setting)
            attempt = carry_out(plan, at, self.plant, self.guard, self._recorder)
        with self._figures.timed("verify"):
            tried = self.plant.tried if isinstance(self.plant, PlantWithReplicas) else {}
            effect = Effect(self._clock(), self.plant.setting, *attempt, tried)
            aftermath = self.kernel.applied(plan, effect)
            decision = decision_of(plan, effect, aftermath, at, self.kernel.period)
            decision.inputs, decision.effect = inputs.plain(), effect.plain()
        with self._figures.timed("record"):
            self._note(plan, aftermath)
            if aftermath.frozen:
                self.frozen, self.paused = aftermath.frozen, True
            self._demote(aftermath)
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
                self._figures.period_failed()
                if "broken period" not in self.conditions.active:
                    logger.exception("a period failed; the setting in force is kept")
                self.conditions.note("broken period", f"{type(error).__name__}: {error}", self._clock())

    def metrics(self) -> dict[str, float]:
        """The loop's own figures by series name, for `telemetry.exposition`."""
        rate, low, high, _ = self.success
        success = {"": rate, "_low": low, "_high": high} if np.isfinite(rate) else {}
        own = self._figures.metrics() | self.validity.metrics() | self.proposer.metrics() | replica_metrics(self.plant)
        return own | {
            **{f"trimtab_controller_success{name}_ratio": figure for name, figure in success.items()},
            **{f'trimtab_controller_trials_total{{outcome="{o}"}}': float(self.outcomes[o]) for o in Outcome},
            "trimtab_controller_trials_running": float(len(self.trials.running)),
            "trimtab_controller_conditions": float(len(self.conditions.active)),
            "trimtab_controller_config_last_reload_successful": float("configuration" not in self.conditions.active),
        }

    @property
    def availability(self) -> float:
        """Share of the periods since the start in which the loop decided on complete readings; 1 before the first."""
        return self._figures.availability

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

    def _believed(self, snapshot: Snapshot) -> tuple[Snapshot, list[Refusal]]:
        """What is believed of a reading, and in one line what is not, besides what is simply missing."""
        snapshot, findings = self.validity.check(snapshot, self.plant.setting)
        detail = doubts(findings)
        self.conditions.note("invalid readings", detail or None, self._clock())
        return snapshot, [Refusal(Reason.INVALID, detail)] if detail else []

    def _retake(self) -> str:
        """Go on from what the warden restored, if our lease ran out; returns the reason, empty if it did not."""
        lost = "" if self.guard is None else self.guard.retake()
        if lost and isinstance(self.plant, PlantWithReverts):
            self.plant.reread()
        return lost

    def _propose(self, before: np.ndarray) -> Proposals:
        # Until a window is full the loop has just begun: nobody knows enough yet, the fallback neither.
        if self._mode is Mode.OFF or not self.recent.full:
            return Proposals()
        self.proposer.relieved = self.competence.relieved(self._clock())
        self.proposer.takeover = self._takeover.reason(self._starved(before), self._clock())
        proposals = self.proposer.propose(self.recent, before)
        detail = "; ".join(reason.detail for reason in proposals.reasons) or None
        self.conditions.note("fallback", detail, self._clock())
        self.conditions.note("retraining asked for", self.proposer.retraining, self._clock())
        return proposals

    def _starved(self, before: np.ndarray) -> list[str]:
        """Workloads that were out of their SLOs and short of CPU in the period before, as far as it is ours."""
        last = self.trials.last
        if last is None or not last.complete or not self._mode.changes:
            return []
        return self.kernel.recoverability.starved(self.trials.judge.broken(last), before)

    def _inputs(self, snapshot: Snapshot, before: np.ndarray, proposals: Proposals, lost: str) -> Inputs:
        """All that this period is decided from; what operators asked for once is asked for no more."""
        rollback, self._rollback_wanted = self._rollback_wanted, None
        revert, self._revert_wanted = self._revert_wanted, False
        approvals, self._approvals = tuple(self._approvals), []
        config, self._config_wanted = self._config_wanted, None
        no_right = self.guard.problem() if self.guard is not None and self._mode.changes else None
        return Inputs(
            self._clock(),
            snapshot,
            before,
            self._mode,
            proposals.settings,
            proposals.policies,
            proposals.reasons,
            self.plant.take_events() if isinstance(self.plant, PlantWithEvents) else (),
            paused=self.paused,
            killed=self.killed,
            pins=dict(self.pins),
            rollback=rollback,
            revert=revert,
            approvals=approvals,
            config=config,
            no_right=no_right or "",
            lost=lost,
            paired=self.plant.paired if isinstance(self.plant, PlantWithReplicas) else {},
            opportunities=self._opportunities.find(self.recent, before, self._clock()),
            floors=self._prescaler.floors(self.recent, before, self.alarms) if self.recent.full else {},
            modes=dict(self.modes),
        )

    def _demote(self, aftermath: Aftermath) -> None:
        """Let the mode fall that the kernel says, if it says so."""
        mode, workload = aftermath.demoted_mode, aftermath.demoted_workload
        if mode is None:
            return
        self.demoted = aftermath.demoted
        if workload:
            logger.info("mode of %s -> %s", workload, mode)
            self.modes[workload] = mode
        else:
            self.mode = mode

    def _note(self, plan: Plan, aftermath: Aftermath) -> None:
        now, short = self._clock(), "not all was applied" if aftermath.short else None
        self.conditions.note("no right to act", plan.inputs.no_right or None, now)
        self.conditions.note("blind", None if plan.blind is None else str(plan.blind), now)
        self.conditions.note("replicas", self._not_ready() or None, now)
        self.conditions.note("frozen", self.kernel.recovery.failed_for_good or None, now)
        if plan.inputs.mode.changes:
            self.conditions.note("actuator", short, now)

    def _not_ready(self) -> str:
        """Which replicas do not count and why, one line."""
        members = self.plant.members.values() if isinstance(self.plant, PlantWithReplicas) else ()
        return "; ".join(one.problem for one in members if one.problem)

    def _record(self, decision: Decision) -> None:
        self._figures.period_over(decision, self._mode)
        decision.stage_seconds = dict(self._figures.stage_seconds)
        self.last_decision = decision
        try:
            self._recorder.decision(decision_record(self.spec, decision), changed=decision.changed)
            self.conditions.note("journal", None, self._clock())
        except JournalError as error:
            self.conditions.note("journal", str(error), self._clock())
