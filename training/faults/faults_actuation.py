"""Faults of what is set, and of what comes of it: H7, H9 to H11, H20, H21."""

from __future__ import annotations

import dataclasses

import numpy as np

from controller.config import ControllerConfig
from controller.guard import GuardError
from envs.simulator.incidents import Incident, IncidentKind
from telemetry.metrics import Snapshot
from training.faults.faults_policies import spoil
from training.faults.hazards import fault
from training.faults.host import Misbehaviour
from training.faults.monitors import BADLY_BROKEN
from training.faults.world import World

FEW_ROLLBACKS = ControllerConfig(rollbacks_per_hour=4)
"""So that an episode is long enough for a storm."""
HEALTHY = {
    "serving_within_slo_ratio": 1.0,
    "serving_accuracy_ratio": 0.9,
    "serving_model_age_seconds": 5.0,
    "ingest_lag_seconds": 0.5,
}
BROKEN = {
    "serving_within_slo_ratio": BADLY_BROKEN,
    "serving_accuracy_ratio": 0.1,
    "serving_model_age_seconds": 60.0,
    "ingest_lag_seconds": 20.0,
}


def with_values(world: World, snapshot: Snapshot, values: dict[str, float]) -> Snapshot:
    """A snapshot with some metrics replaced."""
    changed = snapshot.values.copy()
    for name, value in values.items():
        changed[world.catalogue.index(name)] = value
    return dataclasses.replace(snapshot, values=changed)


def misbehave(world: World, does: Misbehaviour, shortest: int = 5, longest: int = 25) -> None:
    """Let the actuators of one workload misbehave for a spell."""
    workload = str(world.rng.choice(list(world.spec.workloads)))
    as_before = world.rig.misbehaviour[workload]

    def put(what: Misbehaviour) -> None:
        for field in dataclasses.fields(Misbehaviour):
            setattr(as_before, field.name, getattr(what, field.name))

    world.during(world.spell(shortest, longest), lambda: put(does), lambda: put(Misbehaviour()))


@fault("H7")
def actuator_fails(world: World) -> None:
    """The actuators of a workload raise."""
    misbehave(world, Misbehaviour(fails=True))


@fault("H7")
def actuator_does_half(world: World) -> None:
    """Of several knobs the first is set, then the actuator raises."""
    misbehave(world, Misbehaviour(partial=True))


@fault("H7")
def actuator_sets_another_value(world: World) -> None:
    """Other values are in force than were asked for."""
    factor = float(world.rng.choice([0.5, 0.9, 1.1]))
    misbehave(world, Misbehaviour(bends=lambda value: value * factor))


@fault("H7")
def actuator_is_late(world: World) -> None:
    """What was asked for is in force seconds later, when nobody expects it."""
    world.notes.lied = True
    misbehave(world, Misbehaviour(late_seconds=float(world.rng.choice([2.0, 5.0, 10.0]))))


@fault("H7")
def actuator_accepts_and_ignores(world: World) -> None:
    """The actuator says yes and sets nothing."""
    misbehave(world, Misbehaviour(ignores=True))


@fault("H9")
def second_writer(world: World) -> None:
    """Another program sets some knobs now and then."""
    names = list(world.spec.knob_names)

    def edit() -> None:
        knob = world.spec.knobs[world.spec.knob_index(str(world.rng.choice(names)))]
        drawn = float(world.rng.uniform(knob.low, knob.high))
        value = float(round(drawn)) if knob.integer else drawn
        world.edit(knob.name, value)

    for _ in range(int(world.rng.integers(1, 4))):
        world.at(world.spell().start, edit)


@fault("H9")
def second_writer_fights(world: World) -> None:
    """Another program sets the same knob back in every period, as a reconciler does."""
    knob = world.spec.knobs[int(world.rng.integers(len(world.spec.knobs)))]
    value = float(world.rng.choice([knob.low, knob.high]))
    for period in world.spell(8, 25):
        world.at(period, lambda: world.edit(knob.name, value))


@fault("H9")
def second_writer_agrees(world: World) -> None:
    """Another program sets all knobs inside the components to what is in force already, as one that applies a file."""

    def again() -> None:
        in_force = dict(zip(world.spec.knob_names, world.rig.in_force.tolist(), strict=True))
        for knob in list(world.rig.set_at):
            world.edit(knob, in_force[knob])

    world.at(world.spell().start, again)


@fault("H9")
def second_controller(world: World) -> None:
    """A second controller is started on the same system; it must not begin."""

    def begin() -> None:
        kept = (world.process, world.guard, world.controller, world.host, world.journal, world.found)
        try:
            world.start()
        except GuardError:
            return
        world.notes.two_writers = True
        if world.process is not None:
            world.process.end()
        world.process, world.guard, world.controller, world.host, world.journal, world.found = kept

    world.at(world.spell().start, begin)


@fault("H9")
def old_leader_wakes(world: World) -> None:
    """A controller that was stopped for longer than its lease goes on; what was restored in between stands."""
    world.at(world.spell().start, lambda: world.stop(int(world.rng.integers(7, 12))))


@fault("H10")
def tuning_breaks_an_slo(world: World) -> None:
    """Each tuning of serving breaks its latency SLO badly for as long as it is in force."""
    steady = float(world.rng.uniform(50.0, 200.0))

    def bend(snapshot: Snapshot) -> Snapshot:
        values = {**HEALTHY, "serving_arrivals_per_second": steady}
        controller = world.controller
        trial = None if controller is None else controller.trials.running.get("serving")
        if controller is not None and trial is not None and trial.role == "tuning" and len(trial.baseline) >= 2:
            values["serving_within_slo_ratio"] = BROKEN["serving_within_slo_ratio"]
            # Another fault may have let it look broken before: then the change has broken nothing.
            if not any(controller.trials.judge.broken(period) for period in trial.baseline):
                world.notes.broken_at.setdefault(trial.id, world.clock())
        return with_values(world, snapshot, values)

    world.bend(range(world.periods + 1), bend)


@fault("H10")
def load_rises_after_a_taking(world: World) -> None:
    """Bursts of load follow whatever the policies take away."""
    spoil(world, lambda observation, action: -np.ones_like(action), 10, 25)
    for _ in range(3):
        burst = Incident(IncidentKind.TRAFFIC_BURST, 0.0, 6.0, strength=float(world.rng.uniform(0.5, 3.0)))
        world.at(world.spell().start, lambda burst=burst: world.rig.simulator.inject(burst))  # type: ignore[misc]


@fault("H11")
def spike_beside_a_good_change(world: World) -> None:
    """The load doubles for some seconds just when a change has been made."""
    struck: set[str] = set()

    def bend(snapshot: Snapshot) -> Snapshot:
        controller = world.controller
        fresh = [] if controller is None else [t for t in controller.trials.running.values() if t.id not in struck]
        if fresh and world.rng.random() < 0.5:
            world.rig.simulator.inject(Incident(IncidentKind.TRAFFIC_BURST, 0.0, 3.0, strength=1.0))
        struck.update(trial.id for trial in fresh)
        return snapshot

    world.bend(range(world.periods + 1), bend)


@fault("H20", FEW_ROLLBACKS)
def every_change_looks_bad(world: World) -> None:
    """All SLOs break while any change is on trial."""

    def bend(snapshot: Snapshot) -> Snapshot:
        controller = world.controller
        on_trial = controller is not None and controller.trials.running
        return with_values(world, snapshot, BROKEN if on_trial else HEALTHY)

    world.bend(range(world.periods + 1), bend)


@fault("H20", FEW_ROLLBACKS)
def operator_takes_everything_back(world: World) -> None:
    """An operator rolls back in every period; that is no reason to fall to another mode."""
    for period in world.spell(8, 20):
        world.at(period, lambda: world.command("rollback", ""))


@fault("H21")
def own_cost_under_churn(world: World) -> None:
    """Every period something is wanted, refused, tried, missed: own series and records stay bounded."""
    rng = world.rng
    spoil(world, lambda observation, action: rng.uniform(-1.0, 1.0, size=action.shape), 30, 60)

    def holes(snapshot: Snapshot) -> Snapshot:
        missing = rng.random(len(snapshot.values)) < 0.02
        return dataclasses.replace(snapshot, values=np.where(missing, np.nan, snapshot.values))

    world.bend(range(world.periods + 1), holes)
