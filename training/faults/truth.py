"""What would become of a change that is taken back: two copies of the simulated system know it."""

from __future__ import annotations

import numpy as np

from controller.decision import Decision
from controller.judge import slo_owners
from controller.trial import Trial
from envs.objective import Objective
from training.faults.host import Misbehaviour
from training.faults.world import Seen, World


def what_is_taken_can_come_back(world: World, seen: Seen) -> str | None:
    """Whatever CPU was taken, given back after the reaction time and raised from then on, the SLOs hold in time."""
    calm = Misbehaviour()
    if seen.decision is None or world.notes.lied or any(one != calm for one in world.rig.misbehaviour.values()):
        return None
    for trial in seen.decision.opened:
        if trial.takes and (slo := never_comes_back(world, trial)):
            return f"{trial.id} takes CPU from {trial.workload}; given back, its SLO {slo} does not hold in time"
    return None


def never_comes_back(world: World, trial: Trial) -> str | None:
    """Which SLO of the workload does not come back in time, when the change is taken back after the reaction time.

    The fallback then raises the grant by its largest step in each period, as far as cores are free, as D5 says. A
    copy of the system that never had the change meets the same arrivals and the same noise: what it breaks too is not
    for the change to answer.

    Args:
        world: with the change just made.
        trial: of the change.
    """
    config, period = world.config, world.spec.control_period_seconds
    reaction = config.trial.reaction_periods
    deadline = reaction + int(config.recoverability.seconds / period)
    pair, objective = world.rig.simulator.select(np.array([0, 0])), Objective(world.spec)
    pair.missing_ratio = 0.0
    settings = np.tile(world.rig.in_force, (2, 1))
    settings[1, trial.knobs] = trial.before
    grant = int(trial.knobs[world.is_cpu[trial.knobs]][0])
    own = np.array([owner == trial.workload for owner in slo_owners(world.spec)])
    late = np.ones(len(own), dtype=bool)
    for number in range(deadline):
        if number == reaction:
            settings[0, trial.knobs] = trial.before
        elif number > reaction:
            settings[0] = _raised(world, settings[0], grant)
        pair.apply(settings)
        broken = objective.breaches(pair.advance(period).values) > 0.0  # (2, n_slos)
        if number >= deadline - reaction:  # one period may be noise
            late &= own & broken[0] & ~broken[1]
    return world.spec.slos[int(np.flatnonzero(late)[0])].name if late.any() else None


def _raised(world: World, setting: np.ndarray, knob: int) -> np.ndarray:
    """A setting with a CPU grant raised by its largest step, as far as cores are free; (n_knobs,)."""
    spec = world.spec
    position = world.scaling.scale(setting)
    position[knob] += spec.knobs[knob].max_step
    most = spec.cores - (setting[world.is_cpu].sum() - setting[knob])
    raised = setting.copy()
    raised[knob] = max(setting[knob], min(world.scaling.unscale(position)[knob], most, spec.knobs[knob].high))
    return raised


def load_above_baseline(world: World, decision: Decision, id: str) -> bool:
    """Whether serving's load is read as higher than in any period that a change is compared with.

    Then nobody can tell the change's doing from the load's (H11).
    """
    trials = [trial for s in world.seen if s.decision is not None for trial in s.decision.opened if trial.id == id]
    wanted = world.spec.workloads["serving"].wanted
    row = list(world.spec.workloads).index("serving")
    load = decision.snapshot.values[world.catalogue.index(wanted)]
    return bool(trials) and bool(load > max(period.load[row] for period in trials[0].baseline))
