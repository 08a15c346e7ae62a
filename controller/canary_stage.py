"""Between what is allowed and what is made: a change of a component with replicas stops at its canaries first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from controller.arbiter import Admission, Move
from controller.canaries import Canaries, CanaryEnd
from controller.decision import Mode
from controller.infeasible import Infeasible
from controller.period import Aftermath, Effect, Inputs, Plan
from controller.plant_events import EventKind
from controller.shield import Reason, Refusal, Shield
from controller.trials import Trials
from envs.spec import SystemSpec


class CanaryStage:
    """Part of the kernel; remembers nothing besides what its parts do.

    Args:
        spec: whose knobs.
        canaries: what is tried.
        shield: which is told of what was taken back.
        trials: give ids, and leave alone for a while what was worse.
        infeasible: learns what did not take force.
    """

    STATE: tuple[str, ...] = ()

    def __init__(
        self, spec: SystemSpec, canaries: Canaries, shield: Shield, trials: Trials, infeasible: Infeasible
    ) -> None:
        self._spec, self._canaries, self._shield = spec, canaries, shield
        self._trials, self._infeasible = trials, infeasible

    def watch(self, plan: Plan, *, restore: bool) -> list[Move]:
        """Judge what only the canaries have; returns what all may have now. Anything else that ended is taken back."""
        inputs = plan.inputs
        ends: list[CanaryEnd] = []
        for workload in list(self._canaries.running):
            ends += self._canaries.stop(workload, self._why_over(plan, workload, restore))
        ends += self._canaries.observe(inputs.paired, inputs.snapshot, inputs.before)
        for end in ends:
            detail = f"{end.move.id} on the canaries of {end.move.workload}: {end.reason}"
            plan.reasons.append(Refusal(Reason.CANARY, detail))
            if not end.promoted:
                self._charge(end, inputs)
        different = [workload for workload, pair in inputs.paired.items() if pair.knobs]
        for workload in dict.fromkeys([*(end.move.workload for end in ends), *different]):
            if workload not in self._canaries.running:
                plan.tried[workload] = {}
        return [end.move for end in ends if end.promoted]

    def hold_back(self, plan: Plan, admission: Admission, shown: Collection[str]) -> Admission:
        """Hold back what has to be tried on canaries, and try it there; capacity for a workload does not wait.

        Nor does what is set from outside, which canaries cannot have for themselves.
        """
        moves, refusals, setting = [], list(admission.refusals), plan.setting
        for move in admission.moves:
            own = [knob for knob in move.knobs if self._spec.knobs[knob].actuator == "component"]
            # What an operator has approved, in mode advise, is made as it was shown.
            waits = move.workload in plan.inputs.paired and plan.modes[move.workload] in (Mode.CANARY, Mode.ACT)
            if move.adds or move.workload in shown or not (waits and own):
                moves.append(move)
                continue
            knobs = tuple(knob for knob in own if setting[knob] != plan.undone[knob])
            values = tuple(float(setting[knob]) for knob in knobs)
            setting[list(move.knobs)] = plan.undone[list(move.knobs)]
            if not knobs:
                continue
            if not self._canaries.known(move.workload):
                detail = f"{move.role} of {move.workload}: nothing yet to hold canaries and rest against"
                refusals.append(Refusal(Reason.CANARY, detail))
            elif move.workload not in plan.tried:
                plan.trying.append(replace(move, knobs=knobs, values=values, id=move.id or self._trials.next_id()))
                plan.tried[move.workload] = {self._spec.knobs[k].name: v for k, v in zip(knobs, values, strict=True)}
        return replace(admission, moves=moves, refusals=refusals)

    def begin(self, plan: Plan, effect: Effect, aftermath: Aftermath) -> None:
        """Take notice of what the canaries have now."""
        for move in plan.trying:
            wanted, found = plan.tried[move.workload], dict(effect.tried.get(move.workload, {}))
            told = ", ".join(f"{name} = {value:g}" for name, value in wanted.items())
            if found == wanted:
                self._canaries.begin(move)
                detail = f"{move.id}: {told} on the canaries of {move.workload}"
                aftermath.reasons.append(Refusal(Reason.CANARY, detail))
            elif plan.blind is None and effect.attempted:
                asked = plan.inputs.before.copy()
                asked[list(move.knobs)] = move.values
                self._infeasible.read_back(plan.inputs.before, asked, plan.inputs.before, effect.now)

    def _why_over(self, plan: Plan, workload: str, restore: bool) -> str:
        """Why the canaries of a component are not asked any longer; empty while they are."""
        inputs, move = plan.inputs, self._canaries.running[workload].move
        names = {self._spec.knobs[knob].name for knob in move.knobs}
        if inputs.lost or restore or inputs.rollback in ("", move.id):
            return inputs.lost or ("everything goes back" if restore else "ended by the operator")
        if not inputs.mode.changes or plan.modes[workload] not in (Mode.CANARY, Mode.ACT):
            return f"mode {plan.modes[workload]}"
        if names & set(inputs.pins):
            return "a knob of it is pinned"
        other = [event.knob for event in inputs.events if event.kind is EventKind.CHANGED_ELSEWHERE]
        return "changed by somebody else" if names & set(other) else ""

    def _charge(self, end: CanaryEnd, inputs: Inputs) -> None:
        """There and back again is a reversal, on however few; what was worse is left alone for a while."""
        there = inputs.before.copy()
        there[list(end.move.knobs)] = end.move.values
        self._shield.applied(inputs.before, there, inputs.now)
        self._shield.applied(there, inputs.before, inputs.now)
        if end.harmful:
            self._trials.failed(end.move.workload, end.move.role, inputs.now)
