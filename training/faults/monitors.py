"""What must hold after every period, whatever went wrong: one function for each invariant, with its clause."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from controller.decision import Decision, Mode
from controller.replay import audit
from controller.shield import Reason
from controller.trial import Outcome, Trial
from training.faults.mode_rules import fallen, is_large, mode_of, ordered_mode, still_as_high
from training.faults.truth import load_above_baseline, what_is_taken_can_come_back
from training.faults.world import Seen, World

Monitor = Callable[[World, Seen], str | None]
"""Tells what is wrong in one line; None if nothing is."""

TOLERANCE = 1e-6
HARD_PERIODS = 2
"""Within which a change that breaks an SLO badly has to be taken back (E2), from its first bad reading."""
BADLY_BROKEN = 0.05
"""Share of requests within their SLO at which it is badly broken, as the faults let it be read."""
OWN_SERIES = 200
OWN_RECORD_BYTES = 65536


@dataclass(frozen=True)
class Invariant:
    """A monitor, and the clauses of the contract that it guards."""

    name: str
    clauses: tuple[str, ...]
    check: Monitor
    at_end: bool = False
    """Whether it is checked once, after the last period."""


INVARIANTS: list[Invariant] = []


def invariant(*clauses: str, at_end: bool = False) -> Callable[[Monitor], Monitor]:
    """Register a monitor."""

    def register(check: Monitor) -> Monitor:
        INVARIANTS.append(Invariant(check.__name__, clauses, check, at_end))
        return check

    return register


@invariant("D6", "D1")
def every_period_ends_with_a_decision(world: World, seen: Seen) -> str | None:
    """No input makes a period fail."""
    return seen.error or None


@invariant("D1", "D2")
def setting_within_bounds(world: World, seen: Seen) -> str | None:
    """What the controller wants is finite and within the knobs' bounds."""
    if seen.decision is None:
        return None
    low = np.array([knob.low for knob in world.spec.knobs])
    high = np.array([knob.high for knob in world.spec.knobs])
    wanted = seen.decision.wanted
    bad = ~((wanted >= low - TOLERANCE) & (wanted <= high + TOLERANCE)) & (wanted != seen.decision.before)
    return _named(world, bad, "out of bounds", wanted)


@invariant("D2")
def steps_within_limit(world: World, seen: Seen) -> str | None:
    """No new change is longer than the largest step, save where the CPU sum demands it."""
    if seen.decision is None:
        return None
    scaling = world.scaling
    decision = seen.decision
    moved = np.abs(scaling.scale(decision.wanted) - scaling.scale(decision.before))
    step = np.array([knob.max_step for knob in world.spec.knobs])
    new = np.isin(np.arange(len(step)), [knob for trial in decision.opened for knob in trial.knobs])
    if _cores(world, decision.before) > world.spec.cores + TOLERANCE:
        new &= ~world.is_cpu
    # An integer knob is rounded where it arrives.
    here = scaling.scale(decision.wanted)
    rounding = np.maximum(*(np.abs(scaling.scale(decision.wanted + half) - here) for half in (-0.5, 0.5)))
    unit = np.array([knob.integer for knob in world.spec.knobs]) * rounding
    return _named(world, new & (moved > step + unit + TOLERANCE), "moved too far", decision.wanted)


@invariant("D1")
def cpu_grants_within_the_host(world: World, seen: Seen) -> str | None:
    """Grants never exceed the cores there are, unless they did before or it is what was found at start."""
    if seen.decision is None or not seen.decision.changed:
        return None
    after, before = _cores(world, seen.decision.wanted), _cores(world, seen.decision.before)
    allowed = max(world.spec.cores, before, _cores(world, world.found))
    return f"{after:.3f} cores granted, {allowed:.3f} allowed" if after > allowed + 1e-3 else None


@invariant("O1", "O2", "D4")
def nothing_taken_while_blind(world: World, seen: Seen) -> str | None:
    """While a reading that an SLO or an objective is made of is missing, new changes only add capacity."""
    if seen.decision is None or not (why := _blind(world, seen)):
        return None
    # What a rollback gives back in the same period is no taking, though the two together may come out lower.
    back = {int(k) for v in seen.decision.verdicts if v.outcome.taken_back for k in v.trial.knobs}
    for trial in seen.decision.opened:
        for knob, old, new in zip(trial.knobs, trial.before, trial.after, strict=True):
            if int(knob) not in back and not (world.is_cpu[knob] and new > old):
                return f"{world.spec.knob_names[knob]} {old:g} -> {new:g} while {why}"
    return None


@invariant("O1")
def long_blindness_restores_what_was_found(world: World, seen: Seen) -> str | None:
    """After the time allowed without readings, everything is as it was found at start."""
    # A controller that slept beyond its lease begins anew from what the warden restored: nothing was blind meanwhile.
    first = next((s.now for s in reversed(world.seen) if not _was_blind(world, s) or _begins_anew(s)), None)
    if seen.decision is None or seen.decision.mode is not Mode.ACT or world.notes.lied:
        return None
    begin = world.seen[0].now if first is None else first
    if not _was_blind(world, seen) or seen.now - begin < world.config.blind_seconds + 2.0:
        return None
    return _named(world, ~np.isclose(seen.after, world.found), "not restored after a long blindness", seen.after)


@invariant("D2")
def reversals_within_budget(world: World, seen: Seen) -> str | None:
    """At most burst + rate x window new changes of direction of a knob, in any window since the controller began."""
    if seen.decision is None:
        return None
    shield = world.config.shield
    for knob in {int(knob) for trial in seen.decision.opened for knob in trial.knobs}:
        times = _reversals(world, knob)
        for first, begin in enumerate(times):
            count, window = len(times) - first, times[-1] - begin
            allowed = shield.reversal_burst + shield.reversals_per_hour * window / 3600.0
            if count > allowed + 1.0 + TOLERANCE:
                return f"{world.spec.knob_names[knob]}: {count} reversals in {window:.0f} s, {allowed:.1f} allowed"
    return None


@invariant("D3")
def one_change_of_a_workload_at_a_time(world: World, seen: Seen) -> str | None:
    """No trial begins while another of the same workload runs, unless that ends because capacity is added."""
    if seen.decision is None:
        return None
    workloads = [trial.workload for trial in seen.decision.opened]
    if len(set(workloads)) < len(workloads):
        return f"two changes of {workloads[0]} in one period"
    ended = _ended(world, seen)
    for trial in seen.decision.opened:
        still = [other.id for other in _opened(world, trial.workload) if other.id not in ended and other is not trial]
        if still:
            return f"{trial.id} of {trial.workload} begins while {still[0]} runs"
    replaced = {v.trial.workload for v in seen.decision.verdicts if v.outcome is Outcome.SUPERSEDED}
    cut = [trial for trial in seen.decision.opened if trial.workload in replaced and not (trial.adds or trial.takes)]
    return f"{cut[0].id} cuts another trial of {cut[0].workload} short, and adds nothing" if cut else None


@invariant("A1")
def intent_before_every_write(world: World, seen: Seen) -> str | None:
    """Nothing new is set that does not stand in the journal before."""
    for one in seen.writes:
        if not one.intended and not one.comes_back:
            return f"{', '.join(one.write.values)} set without an intent in the journal"
    return None


@invariant("A3")
def lease_before_every_write(world: World, seen: Seen) -> str | None:
    """How to undo it is on the disk before anything is set."""
    bare = [seen_write.write for seen_write in seen.writes if not seen_write.leased]
    return f"{', '.join(bare[0].values)} set without a lease" if bare else None


@invariant("A3")
def nothing_new_without_a_warden(world: World, seen: Seen) -> str | None:
    """No trial begins while nobody would take it back."""
    if seen.decision is None or not world.notes.wardenless or not seen.guard_problem:
        return None
    return f"{seen.decision.opened[0].id} begins: {seen.guard_problem}" if seen.decision.opened else None


@invariant("A3", "L1", "L2")
def a_dead_controller_leaves_nothing(world: World, seen: Seen) -> str | None:
    """Within the lease and a second, everything is as it was found, whatever became of the controller."""
    if world.notes.left_behind:
        return world.notes.left_behind
    died = world.notes.died_at
    if died is None or world.notes.wardenless or world.guard is None:
        return None
    late = seen.now - died - (world.guard.config.lease_seconds + 1.0)
    if late <= 0:
        return None
    return _named(world, ~np.isclose(seen.after, world.found), f"in force {late:.1f} s too long", seen.after)


@invariant("A2")
def what_is_reported_is_in_force(world: World, seen: Seen) -> str | None:
    """The setting that the journal tells is the one that is really in force."""
    if seen.decision is None:
        return None
    edited = np.array([name in world.notes.edits for name in world.spec.knob_names])
    low, high = (np.array([getattr(knob, side) for knob in world.spec.knobs]) for side in ("low", "high"))
    wrong = ~np.isclose(seen.decision.setting, np.clip(seen.after, low, high), rtol=1e-6) & ~edited
    if world.notes.lied:
        wrong &= False
    return _named(world, wrong, "in force is not what is told", seen.after)


@invariant("L7")
def the_kill_switch_holds(world: World, seen: Seen) -> str | None:
    """Killed, everything is as it was found, and nothing is tried."""
    if seen.decision is None or "kill" not in world.ordered:
        return None
    if seen.decision.opened:
        return f"{seen.decision.opened[0].id} begins after the kill switch"
    wrong = ~np.isclose(seen.after, world.found) & ~_misbehaving(world)
    return _named(world, wrong, "not restored by the kill switch", seen.after)


@invariant("L8")
def paused_means_no_change(world: World, seen: Seen) -> str | None:
    """Paused, nothing new is tried."""
    if seen.decision is None or "pause" not in world.ordered:
        return None
    return f"{seen.decision.opened[0].id} begins while paused" if seen.decision.opened else None


@invariant("L8")
def pins_are_never_fought(world: World, seen: Seen) -> str | None:
    """A pinned knob has the operator's value, within its bounds."""
    if seen.decision is None or seen.decision.mode is not Mode.ACT or _restoring(seen.decision):
        return None
    if seen.refused_records or seen.guard_problem:
        return None
    for name, value in json.loads(world.ordered.get("pins", "{}")).items():
        index = world.spec.knob_index(name)
        knob = world.spec.knobs[index]
        wanted = float(np.clip(round(value) if knob.integer else value, knob.low, knob.high))
        if any(reason.reason == Reason.CPU_SUM for reason in seen.decision.reasons) and world.is_cpu[index]:
            continue
        if not _misbehaving(world)[index] and abs(seen.decision.wanted[index] - wanted) > TOLERANCE:
            return f"{name} is pinned to {wanted:g} and {seen.decision.wanted[index]:g} is wanted"
    return None


@invariant("A4", "L8")
def what_others_set_is_left_alone(world: World, seen: Seen) -> str | None:
    """A knob that another hand has set keeps that value for the time that it is yielded."""
    if seen.decision is None or world.controller is None:
        return None
    if any("last known good setting, by the operator" in reason.detail for reason in seen.decision.reasons):
        return None  # he wants everything back, and that is an order, not a policy's wish
    for name, (at, value) in world.notes.edits.items():
        index = world.spec.knob_index(name)
        young = seen.now - at < world.config.yield_seconds
        overwritten = [w for w in seen.writes if name in w.write.values and w.write.values[name] != value]
        if young and overwritten and not _restoring(seen.decision) and name not in world.controller.pins:
            return f"{name} was set to {value:g} by another hand, and is set to {seen.decision.setting[index]:g}"
    return None


invariant("D5")(what_is_taken_can_come_back)


@invariant("E2")
def a_bad_change_is_taken_back_at_once(world: World, seen: Seen) -> str | None:
    """A change that breaks an SLO badly is rolled back within two periods of the first bad reading."""
    if seen.decision is None or world.notes.lied:
        return None
    # Of this controller's life: what an earlier one had on trial was taken back when it died.
    periods = [(s, s.decision) for s in world.seen[world.lives[-1][0] :] if s.decision is not None]
    ends = {v.trial.id: (s.now, v.outcome) for s, d in periods for v in d.verdicts}
    metric = world.catalogue.index("serving_within_slo_ratio")
    for id, since in world.notes.broken_at.items():
        end, outcome = ends.get(id, (seen.now, None))
        # A reading that another fault hides, that is not believed, or that comes with more load, tells nothing.
        told = [(s, d) for s, d in periods if since <= s.now <= end and d.snapshot.values[metric] <= BADLY_BROKEN]
        bad = [(s, d) for s, d in told if not load_above_baseline(world, d, id)]
        restored = any(_restoring(d) or _begins_anew(s) or not d.mode.changes for s, d in bad)
        allowed = HARD_PERIODS if outcome is None else int(len(told) > len(bad))
        if len(bad) > allowed and outcome is not Outcome.ROLLED_BACK and not restored:
            return f"{id} broke an SLO badly {seen.now - bad[0][0].now:.0f} s ago and was not rolled back"
    return None


@invariant("E5")
def no_success_without_data(world: World, seen: Seen) -> str | None:
    """No change is kept as good by periods of which readings are missing."""
    if seen.decision is None:
        return None
    for verdict in seen.decision.verdicts:
        if verdict.outcome is not Outcome.KEEP:
            continue
        judged = [s for s in world.seen if s.now > verdict.trial.applied_at][world.config.trial.settle_periods :]
        blind = [s for s in judged if _was_blind(world, s)]
        if blind:
            return f"{verdict.trial.id} is kept, though {_blind(world, blind[0])} in period {blind[0].period}"
    return None


@invariant("E3", "A2")
def a_rollback_is_in_force(world: World, seen: Seen) -> str | None:
    """What was rolled back really has its former value, unless the host has no cores left or another hand is on it."""
    if seen.decision is None or seen.decision.mode is not Mode.ACT or seen.refused_records or world.notes.lied:
        return None
    if any(reason.reason in (Reason.LEASE, Reason.ACTUATOR, Reason.OVERRIDE) for reason in seen.decision.reasons):
        return None  # told, and tried again
    for verdict in seen.decision.verdicts:
        if not verdict.outcome.taken_back:
            continue
        again = {int(knob) for trial in seen.decision.opened for knob in trial.knobs}
        for knob, value in zip(verdict.trial.knobs, verdict.trial.before, strict=True):
            if int(knob) in again or world.is_cpu[knob] or world.spec.knob_names[knob] in world.notes.edits:
                continue
            if world.controller is not None and world.spec.knob_names[knob] in world.controller.pins:
                continue
            # A fraction of an integer knob, set by a lying actuator, is no value that the shield lets out (D1).
            allowed = np.rint(value) if world.spec.knobs[knob].integer else value
            if not np.isclose(seen.after[knob], allowed) and not _restoring(seen.decision):
                return f"{verdict.trial.id} was rolled back, but {world.spec.knob_names[knob]} is {seen.after[knob]:g}"
    return None


@invariant("E4")
def rollbacks_within_budget(world: World, seen: Seen) -> str | None:
    """With more rollbacks within an hour than allowed, a mode falls by itself: the system's, or a workload's."""
    if seen.decision is None or world.controller is None or not seen.decision.mode.changes:
        return None
    count: Counter[str] = Counter()  # of workloads, since their mode fell
    for decision in [s.decision for s in world.seen[world.lives[-1][0] :] if s.decision is not None]:
        ours = [v for v in decision.verdicts if v.outcome is Outcome.ROLLED_BACK and "operator" not in v.reason]
        count.update(v.trial.workload for v in ours if decision.time > seen.now - 3600.0)
        for workload in fallen(decision):
            del count[workload]
    acting = {workload: n for workload, n in count.items() if mode_of(seen.decision, workload).changes}
    allowed = world.config.rollbacks_per_hour
    if sum(acting.values()) > allowed:
        return f"{sum(acting.values())} rollbacks within an hour, {allowed} allowed, and no mode fell"
    still = still_as_high(seen.decision, world.controller.modes_in_force)
    return f"the mode of {', '.join(still)} has not fallen" if still else None


@invariant("L12")
def nothing_goes_beyond_the_modes(world: World, seen: Seen) -> str | None:
    """Nothing new in `off` and `shadow`, nothing unapproved in `advise`, small steps in `canary`, for each workload."""
    if seen.decision is None:
        return None
    for trial in seen.decision.opened:
        mode = ordered_mode(world, trial.workload)
        unapproved = mode is Mode.ADVISE and trial.id not in world.notes.approved
        if not mode.changes or unapproved or (mode is Mode.CANARY and is_large(world, seen.decision, trial)):
            return f"{trial.id} of {trial.workload} begins in mode {mode}"
    for one in seen.writes:
        new = [] if one.comes_back else [knob for knob in world.spec.knobs if knob.name in one.write.values]
        for workload in {knob.workload for knob in new if not ordered_mode(world, knob.workload).changes}:
            if not _restoring(seen.decision) and not world.ordered.get("pins"):
                return f"{one.write.values} is set while {workload} is held"
    return None


@invariant("A5")
def one_controller_at_a_time(world: World, seen: Seen) -> str | None:
    """A second controller does not begin."""
    return "a second controller began" if world.notes.two_writers else None


@invariant("L11")
def the_face_obeys_nobody_without_a_token(world: World, seen: Seen) -> str | None:
    """No command over HTTP is obeyed without its token, from another origin or host, or by GET."""
    return world.notes.intruder or None


@invariant("L6")
def a_policy_file_runs_no_code(world: World, seen: Seen) -> str | None:
    """Nothing that a poisoned file would have done was done."""
    return "a policy file ran code" if (world.directory / "poisoned").exists() else None


@invariant("L9", at_end=True)
def own_cpu_within_one_percent(world: World, seen: Seen) -> str | None:
    """On average a period costs less than a hundredth of its length."""
    share = world.cpu_seconds / max(1, len(world.seen)) / world.spec.control_period_seconds
    return f"{share:.1%} of a core" if share > 0.01 else None


@invariant("L10", at_end=True)
def the_journal_is_complete(world: World, seen: Seen) -> str | None:
    """The disk holds one whole record for each period in which it could be written, and each change's intent."""
    held = sum(record.get("kind") == "decision" for record in world.records())
    expected = sum(count for _, count in world.lives)
    return f"{held} decisions in the journal, {expected} were made" if held < expected else None


@invariant("D7", "L10", at_end=True)
def the_journal_replays_bit_for_bit(world: World, seen: Seen) -> str | None:
    """A fresh kernel comes to the same decisions, and no line was changed or left out."""
    chain, replayed = audit(world.directory)
    return chain.problem or replayed.problem or None


@invariant("L9", at_end=True)
def own_series_and_records_are_bounded(world: World, seen: Seen) -> str | None:
    """Neither the controller's own series nor its records grow without limit."""
    series = 0 if world.controller is None else len(world.controller.metrics())
    size = (world.directory / "journal.jsonl").stat().st_size / max(1, len(world.seen))
    if series > OWN_SERIES:
        return f"{series} own series, {OWN_SERIES} allowed"
    return f"{size:.0f} bytes of journal a period" if size > OWN_RECORD_BYTES else None


def check(world: World, seen: Seen, *, at_end: bool = False) -> Iterator[tuple[Invariant, str]]:
    """The invariants that do not hold, and what is wrong."""
    for one in INVARIANTS:
        if one.at_end is at_end and (problem := one.check(world, seen)):
            yield one, problem


def _blind(world: World, seen: Seen) -> str:
    """Which reading that SLOs or objectives need is missing in what the controller could read; empty if none is."""
    decision = seen.decision
    if decision is None:
        return ""
    age = seen.now - decision.snapshot.time
    if age > world.config.shield.stale_after_seconds:
        return f"the reading is {age:.0f} s old"
    low = np.array([world.catalogue.metrics[i].low for i in world.guards])
    # Both what came and what the controller made of it: a value that it does not believe is missing as well.
    for values in (seen.delivered, decision.snapshot.values):
        if values.shape != (len(world.spec.metrics),):
            return f"the reading has {values.size} values"
        bad = ~(np.isfinite(values[world.guards]) & (values[world.guards] >= low - TOLERANCE))
        if bad.any():
            first = world.guards[int(np.flatnonzero(bad)[0])]
            return f"{world.catalogue.names[first]} is {values[first]:g}"
    return ""


def _was_blind(world: World, seen: Seen) -> bool:
    return seen.alive and bool(_blind(world, seen))


def _begins_anew(seen: Seen) -> bool:
    return seen.decision is not None and bool(seen.decision.inputs.get("lost"))


def _cores(world: World, setting: np.ndarray) -> float:
    return float(setting[world.is_cpu].sum())


def _misbehaving(world: World) -> np.ndarray:
    """Knobs whose actuators do not do what they are told, (n_knobs,)."""
    calm = type(next(iter(world.rig.misbehaviour.values())))()
    return np.array([world.rig.misbehaviour[knob.workload] != calm for knob in world.spec.knobs]) | world.notes.lied


def _restoring(decision: Decision) -> bool:
    """Whether everything goes back to what was found at start, or a component gets its knobs back."""
    back = (Reason.KILLED, Reason.BLIND, Reason.RESTORED)
    return any(reason.reason in back or "found at start" in reason.detail for reason in decision.reasons)


def _opened(world: World, workload: str) -> list[Trial]:
    begin = world.lives[-1][0]
    decisions = [s.decision for s in world.seen[begin:] if s.decision is not None]
    return [trial for decision in decisions for trial in decision.opened if trial.workload == workload]


def _ended(world: World, until: Seen) -> set[str]:
    """Ids of the trials that have ended."""
    decisions = [s.decision for s in world.seen if s.decision is not None and s.period <= until.period]
    return {verdict.trial.id for decision in decisions for verdict in decision.verdicts}


def _reversals(world: World, knob: int) -> list[float]:
    """When new changes turned the direction of a knob; raising a CPU grant is never charged."""
    times, direction = [], 0
    begin = world.lives[-1][0]
    for seen in world.seen[begin:]:
        decision = seen.decision
        if decision is None or decision.setting[knob] == decision.before[knob]:
            continue
        sign = 1 if decision.setting[knob] > decision.before[knob] else -1
        new = any(knob in trial.knobs for trial in decision.opened)
        if direction == -sign and new and not (sign > 0 and world.is_cpu[knob]):
            times.append(seen.now)
        direction = sign
    return times


def _named(world: World, bad: np.ndarray, what: str, setting: np.ndarray) -> str | None:
    if not bad.any():
        return None
    index = int(np.flatnonzero(bad)[0])
    return f"{world.spec.knob_names[index]}: {what} ({setting[index]:g})"
