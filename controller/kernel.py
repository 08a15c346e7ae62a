"""The kernel: from what is known in a period to what is done in it. Small, deterministic, and all that must be trusted.

No clock, no file, no randomness, no log: the same inputs in the same order give the same decisions, bit for bit, which
`controller.replay` shows of any journal. numpy and the standard library, besides our own rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from controller.arbiter import Arbiter, Move, Situation
from controller.budgets import Budgets
from controller.canaries import Canaries
from controller.canary_stage import CanaryStage
from controller.config import ControllerConfig
from controller.decision import Mode
from controller.infeasible import Infeasible
from controller.ladder import Adviser, Canary
from controller.modes import highest, modes_in_force
from controller.period import Aftermath, Effect, Inputs, Plan
from controller.plant_events import EventKind
from controller.prescale import lifted
from controller.recoverability import Recoverability
from controller.recovery import Recovery
from controller.shield import Reason, Refusal, Shield, pinned_setting
from controller.trial import Outcome
from controller.trials import Trials
from envs.spec import Role, SystemSpec
from telemetry.metrics import Snapshot

BY_OPERATOR = "by the operator"
BEGUN_ANEW = {
    EventKind.RESTARTED: "the component was restarted",
    EventKind.REPLICA_LEFT: "a replica is gone, perhaps by this change",
    EventKind.REPLICA_JOINED: "a replica came back, and the others have less to do",
}
"""Events after which a trial's periods cannot be compared: it ends, and what was on trial is taken back."""


class Kernel:
    """Decides one period after another.

    Args:
        spec: knobs, metrics, objectives.
        config: limits and windows.
        found: (n_knobs,) in force at start.
        run_id: begins the ids of the changes.
    """

    STATE = (
        "period", "settled", "last_known_good", "outcomes", "_changed_something", "_blind_since", "_yielded",
    )  # fmt: skip

    def __init__(self, spec: SystemSpec, config: ControllerConfig, found: np.ndarray, run_id: str) -> None:
        self.spec, self.config, self.run_id = spec, config, run_id
        self.recoverability = Recoverability(spec, config.recoverability, config.trial.reaction_periods)
        self.shield = Shield(spec, config.shield, config.bounds, self.recoverability)
        self.arbiter = Arbiter(spec)
        self.trials = Trials(spec, config.trial, run_id)
        self.adviser = Adviser(self.trials.next_id)
        self.canary = Canary(spec)
        self.canaries = Canaries(self.trials.judge)
        self.recovery = Recovery(len(spec.knobs), config.rollback_tries)
        self.infeasible = Infeasible(spec, config.infeasible_seconds, config.longest_infeasible_seconds)
        self._stage = CanaryStage(spec, self.canaries, self.shield, self.trials, self.infeasible)
        self.budgets = Budgets(config.rollbacks_per_hour, config.least_slo_attainment, config.least_attainment_seconds)
        self.found = found.copy()
        self.period = 0
        """Number of the newest period."""
        self.settled = found.copy()
        """(n_knobs,) in force and not on trial: what a component gets back that was restarted."""
        self.last_known_good = found.copy()
        self.outcomes: Counter[str] = Counter()
        self._changed_something = False
        self._blind_since: float | None = None
        self._yielded: dict[str, float] = {}

    def decide(self, inputs: Inputs) -> Plan:
        """What this period is going to do. Raises nothing, whatever the inputs hold.

        What comes back goes first, then the operator's pins, then new changes of workloads that nothing else touches.
        """
        with np.errstate(all="ignore"):  # NaN and infinities are data here
            self.period += 1
            plan = self._begin(inputs)
            self._observe(plan)
            restore = self._back_to_start(plan)
            promoted = self._stage.watch(plan, restore=restore)
            target = self._returned(plan)
            if restore:
                # Not through the shield: what was found was in force before us, however overbooked the host was.
                self.last_known_good = self.found.copy()
                self.recovery.let_go()
                self.trials.forget(inputs.now)
                plan.setting, plan.undone, plan.restore = self.found.copy(), self.found.copy(), True
            else:
                self._allow(plan, target, promoted)
            may = plan.inputs.mode.changes or (restore and self._changed_something)
            plan.act = may and not np.array_equal(plan.setting, plan.inputs.before, equal_nan=True)
            return plan

    def applied(self, plan: Plan, effect: Effect) -> Aftermath:
        """Take notice of what became of a plan: opens a trial for every move that is in force. Raises nothing.

        Args:
            plan: the newest that `decide` gave.
            effect: what was read back.
        """
        with np.errstate(all="ignore"):
            before, found = plan.inputs.before, effect.setting
            known = np.shape(found) == before.shape and bool(np.isfinite(found).all())
            setting = found if known else before
            aftermath = Aftermath(setting, plan.setting if effect.journaled else plan.undone)
            if not known:
                aftermath.reasons.append(Refusal(Reason.ACTUATOR, "the setting in force cannot be read back"))
            if effect.attempted:
                self._changed_something = not plan.restore
            self._stage.begin(plan, effect, aftermath)
            if plan.inputs.mode.changes:
                self._read_back(plan, effect, aftermath)
                self._spend(plan, effect, aftermath)
            else:
                self.recovery.let_go()
            return aftermath

    def spend(self, now: float) -> None:
        """Begin with budgets spent, where it is not known what was left: they refill as ever. Before the first period.

        Rollbacks alone begin uncounted: a spent count would need an operator after every restart of the host.

        Args:
            now: seconds on the loop's clock.
        """
        self.shield.spend(now)
        self.trials.pause_all(now)

    def _begin(self, inputs: Inputs) -> Plan:
        """A plan that holds what is in force, with the inputs that can be used."""
        spec, reasons = self.spec, []
        before, snapshot = np.asarray(inputs.before), inputs.snapshot
        if before.shape != self.found.shape:
            before = np.full(self.found.shape, np.nan)
        if snapshot.values.shape != (len(spec.metrics),):
            snapshot = Snapshot(snapshot.time, np.full(len(spec.metrics), np.nan))
        if inputs.lost:
            reasons.append(Refusal(Reason.LEASE, inputs.lost))
            if np.isfinite(before).all():
                self.settled, self.last_known_good = before.copy(), before.copy()
        reasons += inputs.proposal_reasons
        proposals = {role: wanted for role, wanted in inputs.proposals.items() if np.shape(wanted) == before.shape}
        reasons += [
            Refusal(Reason.MALFORMED, f"{role}: shape {np.shape(wanted)}, not {before.shape}")
            for role, wanted in inputs.proposals.items()
            if role not in proposals
        ]
        if inputs.config is not None:
            self._configure(inputs.config)
            reasons.append(Refusal(Reason.CONFIG, "another configuration is in force"))
        modes = modes_in_force(spec.workloads, inputs.mode, inputs.modes, self.config.modes)
        clean = replace(inputs, before=before, snapshot=snapshot, proposals=proposals)
        plan = Plan(clean, before.copy(), before, reasons=reasons, modes=modes)
        self._bound(plan)
        return plan

    def _configure(self, config: ControllerConfig) -> None:
        self.config, self.shield.config = config, config.shield
        self.trials.configure(config.trial)
        self.recoverability.configure(config.recoverability, config.trial.reaction_periods)

    def _bound(self, plan: Plan) -> None:
        """Narrow the bounds of all knobs but those that are held, or left to somebody else for a while."""
        left = {*self._yielded_now(plan.inputs.now), *self._knobs_of(plan.held)}
        self.shield.narrow({name: ends for name, ends in self.config.bounds.items() if name not in left})

    def _knobs_of(self, workloads: Collection[str]) -> list[str]:
        return [knob.name for knob in self.spec.knobs if knob.workload in workloads]

    def _observe(self, plan: Plan) -> None:
        """Judge the running trials by the new period, and see whether anything can be seen."""
        inputs = plan.inputs
        if inputs.lost:
            self._end_trials(plan, list(self.trials.running), inputs.lost)
            self.trials.forget(inputs.now)
        self.recoverability.observe(inputs.snapshot)
        plan.verdicts += self.trials.observe(inputs.snapshot, inputs.before)
        over = [w for w in self.trials.running if not inputs.mode.changes or w in plan.left]
        self._end_trials(plan, over, f"mode {inputs.mode if not inputs.mode.changes else Mode.OFF}")
        self._end_trials(plan, sorted(self._outside(inputs.before)), "its knobs are led into narrower bounds")
        asking = [workload for workload, mode in plan.modes.items() if mode is Mode.ADVISE]
        self.adviser.keep(asking)
        if asking:
            plan.reasons += self.adviser.review(inputs.approvals, inputs.before, inputs.now)
        plan.blind = self.shield.missing(inputs.snapshot, inputs.now)
        if plan.blind is None:
            self._blind_since = None
        elif self._blind_since is None:
            self._blind_since = inputs.now

    def _back_to_start(self, plan: Plan) -> bool:
        """Whether everything returns to the setting found at start: by the operator, or after a long blindness."""
        inputs = plan.inputs
        if not inputs.paused:
            self.recovery.forgive()  # the freeze pauses the controller, so an operator has resumed it
        reason = Refusal(Reason.KILLED, "the kill switch is on") if inputs.killed else self._long_blind(inputs)
        if reason is None and self.recovery.failed_for_good and inputs.mode.changes:
            reason = Refusal(Reason.FROZEN, f"{self.recovery.failed_for_good}; `trimtab control resume` ends it")
        if reason is None and inputs.revert:
            reason = Refusal(Reason.OVERRIDE, "back to the setting found at start, by the operator")
            self.trials.pause_all(inputs.now)
        if reason is None:
            return False
        self._end_trials(plan, list(self.trials.running), str(reason))
        plan.reasons.append(reason)
        return True

    def _long_blind(self, inputs: Inputs) -> Refusal | None:
        if not inputs.mode.changes or self._blind_since is None:
            return None  # what an operator left in force by leaving the mode is his
        blind = inputs.now - self._blind_since
        return Refusal(Reason.BLIND, f"for {blind:.0f} s") if blind >= self.config.blind_seconds else None

    def _returned(self, plan: Plan) -> np.ndarray:
        """The setting in force with rollbacks, restorations after restarts and pins in it, (n_knobs,)."""
        inputs, target = plan.inputs, plan.inputs.before.copy()
        left = [self.spec.knob_index(name) for name in self._knobs_of(plan.left)]
        self.recovery.let_go(left)
        self._heed_events(plan, target)
        if inputs.rollback is not None:
            self._end_by_operator(plan, inputs.rollback)
        self.recovery.put_into(target)
        for verdict in plan.verdicts:
            self.outcomes[verdict.outcome] += 1
            self.outcomes["proven"] += verdict.proven
            if verdict.outcome.taken_back:
                target[verdict.trial.knobs] = verdict.trial.before
            elif verdict.outcome is Outcome.KEEP:
                self.last_known_good[verdict.trial.knobs] = verdict.trial.after
        for name in self._yielded_now(inputs.now):  # somebody's own value is not taken back with a change of ours
            knob = self.spec.knob_names.index(name)
            target[knob] = inputs.before[knob]
        if inputs.rollback == "":
            target[:] = self.last_known_good
        target = pinned_setting(self.spec, target, inputs.pins)
        target[left] = inputs.before[left]
        return target

    def _heed_events(self, plan: Plan, target: np.ndarray) -> None:
        """Restarted components get back what was in force and not on trial; changes by others are left alone.

        So it is where a replica is gone or comes back.
        """
        for event in plan.inputs.events:
            if event.kind in BEGUN_ANEW:
                own = [i for i, knob in enumerate(self.spec.knobs) if knob.workload == event.workload]
                target[own] = self.settled[own]
                self._end_trials(plan, [event.workload], BEGUN_ANEW[event.kind])
                self.trials.restarted(event.workload, plan.inputs.now)
                plan.reasons.append(Refusal(Reason.RESTORED, event.detail))
            elif event.kind is EventKind.CHANGED_ELSEWHERE:
                trial = self.trials.running.get(event.workload)
                if trial is not None and event.knob in [self.spec.knobs[knob].name for knob in trial.knobs]:
                    self._end_trials(plan, [event.workload], "changed by somebody else")
                self._yielded[event.knob] = plan.inputs.now + self.config.yield_seconds
                self.recovery.let_go([i for i, knob in enumerate(self.spec.knobs) if knob.name == event.knob])
                plan.reasons.append(Refusal(Reason.OVERRIDE, event.detail))
            else:
                plan.reasons.append(Refusal(Reason.ACTUATOR, event.detail))

    def _yielded_now(self, now: float) -> list[str]:
        """Knobs that are left to somebody else."""
        return [name for name, until in self._yielded.items() if until > now and name in self.spec.knob_names]

    def _end_by_operator(self, plan: Plan, id: str) -> None:
        """End one running trial, or all; nothing of that kind is tried again for the time of a first backoff."""
        now = plan.inputs.now
        chosen = [workload for workload, trial in self.trials.running.items() if id in ("", trial.id)]
        for workload in chosen:
            verdict = self.trials.end(workload, Outcome.ROLLED_BACK, BY_OPERATOR, now)
            if verdict is not None:
                plan.verdicts.append(verdict)
        if id and not chosen:
            plan.reasons.append(Refusal(Reason.OVERRIDE, f"no trial {id} is running; nothing was rolled back"))
        elif not id:
            self.trials.pause_all(now)
            plan.reasons.append(Refusal(Reason.OVERRIDE, "back to the last known good setting, by the operator"))

    def _allow(self, plan: Plan, target: np.ndarray, promoted: Sequence[Move]) -> None:
        """What the shield leaves of what comes back, and of the moves that are admitted on top of it."""
        inputs, now = plan.inputs, plan.inputs.now
        self._bound(plan)  # again: somebody may have changed a knob
        plan.undone, reasons = self.shield.check(target, inputs.before, inputs.snapshot, now, undo=True)
        plan.reasons += reasons
        plan.setting = plan.undone.copy()
        for verdict in plan.verdicts:
            if verdict.outcome.taken_back:
                self.recovery.expect(verdict.trial.knobs, plan.undone)
        self.recovery.let_go(i for i, knob in enumerate(self.spec.knobs) if knob.name in inputs.pins)
        if not self._moves_allowed(plan):
            return
        touched = {self.spec.knobs[i].workload for i in np.flatnonzero(plan.undone != inputs.before)}
        led = dict.fromkeys(self._outside(plan.undone), "what is led into narrower bounds")
        led |= {workload: f"the canaries with {trial.move.id}" for workload, trial in self.canaries.running.items()}
        situation = self._situation(now, led | dict.fromkeys(touched, "what was just restored"))
        pinned = {*inputs.pins, *self._yielded_now(now)}
        wanted = self.arbiter.moves(self._proposals(plan), inputs.before, now, pinned)
        moves, infeasible = self.infeasible.sift(wanted, now)
        shown = {move.workload for move in promoted}
        moves = [*promoted, *(move for move in moves if move.workload not in shown)]
        fixed = [i for i, knob in enumerate(self.spec.knobs) if knob.name in pinned]
        admission = self.arbiter.admit(self._by_mode(plan, moves, situation, fixed), plan.undone, situation)
        small = [workload for workload, mode in plan.modes.items() if mode is Mode.CANARY]
        if small:
            admission = self.canary.one_at_a_time(
                admission, plan.undone, {*self.trials.running, *self.canaries.running}, small
            )
        plan.setting, reasons = self.shield.check(admission.setting, plan.undone, inputs.snapshot, now)
        admission = self._stage.hold_back(plan, admission, shown)
        self.recovery.let_go(np.flatnonzero(plan.setting != plan.undone))  # a newer change has taken their place
        plan.reasons += infeasible + admission.refusals + reasons
        plan.moves = admission.moves

    def _by_mode(self, plan: Plan, moves: list[Move], situation: Situation, fixed: list[int]) -> list[Move]:
        """What may be tried of the moves that are wanted: each as the mode of its workload says."""
        if not plan.inputs.mode.changes:  # nothing is carried out, so that all is told as it would be
            return [move for move in moves if plan.modes[move.workload] is not Mode.OFF]
        by_mode = {mode: [move for move in moves if plan.modes[move.workload] is mode] for mode in Mode}
        for move in by_mode[Mode.SHADOW] + by_mode[Mode.OFF]:
            self.arbiter.overlook(move)
        for move in by_mode[Mode.SHADOW]:
            ways = (f"{self.spec.knob_names[k]} -> {v:.4g}" for k, v in zip(move.knobs, move.values, strict=True))
            detail = f"{move.role} of {move.workload} is in mode shadow and would be: {', '.join(ways)}"
            plan.reasons.append(Refusal(Reason.MODE, detail))
        approved: list[Move] = []
        if Mode.ADVISE in plan.modes.values():
            plan.reasons += self.adviser.withdraw(by_mode[Mode.ADVISE], plan.inputs.before, fixed)
            approved = self._advise(plan, by_mode[Mode.ADVISE], situation)
        small = self.canary.limited(by_mode[Mode.CANARY], plan.undone, self.config.canary_step)
        return approved + small + by_mode[Mode.ACT]

    def _advise(self, plan: Plan, moves: list[Move], situation: Situation) -> list[Move]:
        """Offer what would be allowed of new moves; returns those that the operator has approved."""
        inputs, now = plan.inputs, plan.inputs.now
        approved, new = self.adviser.split(moves)
        offered = self.arbiter.admit(new, plan.undone, situation)
        allowed, reasons = self.shield.check(offered.setting, plan.undone, inputs.snapshot, now)
        plan.reasons += offered.refusals + reasons
        plan.advised = self.adviser.offer(
            offered.moves, plan.undone, allowed, inputs.policies, now + self.config.advice_seconds
        )
        return approved

    def _outside(self, setting: np.ndarray) -> set[str]:
        """Workloads of which a knob is beyond the bounds in force."""
        return {self.spec.knobs[i].workload for i in np.flatnonzero(self.shield.outside(setting))}

    def _proposals(self, plan: Plan) -> Mapping[Role, np.ndarray]:
        """Those of the policies, with what forecasts ask for on top: they only add."""
        inputs, names = plan.inputs, self.spec.knob_names
        floors = {names.index(name): floor for name, floor in inputs.floors.items() if name in names}
        wanted = inputs.proposals.get(Role.ALLOCATION, inputs.before)
        raised = lifted(wanted, floors)
        for knob in np.flatnonzero(raised > wanted).tolist():
            detail = f"{names[knob]}: {wanted[knob]:.3g} -> {raised[knob]:.3g}, {floors[knob].why}"
            plan.reasons.append(Refusal(Reason.FORECAST, detail))
        return {**inputs.proposals, Role.ALLOCATION: raised} if (raised > wanted).any() else inputs.proposals

    def _moves_allowed(self, plan: Plan) -> bool:
        inputs = plan.inputs
        if inputs.mode is Mode.OFF:
            return False
        if inputs.paused:
            plan.reasons.append(Refusal(Reason.PAUSED, BY_OPERATOR))
            return False
        if inputs.no_right and inputs.mode.changes:
            plan.reasons.append(Refusal(Reason.LEASE, inputs.no_right))
            return False
        return True

    def _situation(self, now: float, touched: dict[str, str]) -> Situation:
        last = self.trials.last
        blind = last is None or not last.complete
        least = self.config.trial.least_baseline_periods
        return Situation(
            now,
            {**{w: t.id for w, t in self.trials.running.items()}, **touched},
            frozenset(self.trials.judge.broken(last) if last is not None else ()),
            blind,
            lambda workload, role: self.trials.pause_left(workload, role, now),
            lambda workload: len(self.trials.baseline(workload)) >= least,
        )

    def _read_back(self, plan: Plan, effect: Effect, aftermath: Aftermath) -> None:
        """Compare what is in force with what was wanted; open a trial for every move that is."""
        before, setting, wanted, now = plan.inputs.before, aftermath.setting, aftermath.wanted, effect.now
        short = np.abs(setting - wanted) > 1e-3 * np.maximum(np.abs(wanted), 1e-3)
        aftermath.short = bool(short.any())
        for knob in np.flatnonzero(short):
            detail = f"{self.spec.knobs[knob].name}: asked {wanted[knob]:g}, in force {setting[knob]:g}"
            aftermath.reasons.append(Refusal(Reason.ACTUATOR, detail))
        self.shield.applied(before, setting, now)
        seen = plan.blind is None
        if seen and effect.attempted:
            self.infeasible.read_back(before, wanted, setting, now)
        failed_before = self.recovery.failed_for_good
        self.recovery.read_back(setting, self.spec.knob_names, seen=seen)
        aftermath.frozen = "" if failed_before else self.recovery.failed_for_good
        # What lies elsewhere than on the way to what was asked is somebody else's: no change of ours, never taken back.
        on_the_way = (np.minimum(before, wanted) <= setting) & (setting <= np.maximum(before, wanted))
        # What came back in this period is no move, even where a move of the same knob was asked for and held back.
        moved = (setting != before) & (setting != plan.undone) & (plan.setting != plan.undone)
        changed = moved & (on_the_way | ~short) & np.isfinite(setting) & np.isfinite(plan.undone)
        for move in plan.moves if effect.journaled else []:
            if not changed[list(move.knobs)].any():
                continue
            ended = self.trials.end(move.workload, Outcome.SUPERSEDED, "capacity was added or given", now)
            if ended is not None:
                self.outcomes[ended.outcome] += 1
                aftermath.verdicts.append(ended)
            self.arbiter.applied(move)
            self.adviser.made(move)
            self.canary.applied(move, now)
            aftermath.opened.append(self.trials.open(move, plan.undone, np.where(changed, setting, plan.undone), now))
        settled = np.where(short, wanted, setting)
        for trial in self.trials.running.values():
            settled[trial.knobs] = trial.before
        self.settled = np.where(np.isfinite(settled), settled, self.settled)

    def _spend(self, plan: Plan, effect: Effect, aftermath: Aftermath) -> None:
        """Fall by one rung if too many changes had to be rolled back within an hour, or the SLOs held too seldom."""
        if not highest(plan.modes).changes:
            return
        verdicts = [v for v in plan.verdicts if v.outcome is Outcome.ROLLED_BACK and v.reason != BY_OPERATOR]
        ours = [verdict.trial.workload for verdict in verdicts]
        last = self.trials.last
        held = None if last is None or not np.isfinite(last.breaches).all() else bool((last.breaches == 0).all())
        self.budgets.count(effect.now, ours, held)
        spent = self.budgets.spent(effect.now, plan.held)
        if spent is None:
            return
        mode = plan.modes[spent.workload] if spent.workload else highest(plan.modes)
        aftermath.demoted, aftermath.demoted_workload = spent
        aftermath.demoted_mode = mode.below
        whose = f" of {spent.workload}" if spent.workload else ""
        detail = f"{spent.why}; mode{whose} {mode.below} from now on, {mode} again only by an operator"
        aftermath.reasons.append(Refusal(Reason.DEMOTED, detail))
        self.budgets.clear(spent.workload)

    def _end_trials(self, plan: Plan, workloads: list[str], reason: str) -> None:
        for workload in workloads:
            verdict = self.trials.end(workload, Outcome.INCONCLUSIVE, reason, plan.inputs.now)
            if verdict is not None:
                plan.verdicts.append(verdict)
