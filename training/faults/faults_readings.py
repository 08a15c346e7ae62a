"""Faults of what is read: H1 to H4."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from controller.config import ControllerConfig
from envs.simulator.incidents import Incident, IncidentKind
from telemetry.metrics import Snapshot
from training.faults.hazards import fault
from training.faults.host import missing
from training.faults.world import World

SOON_BLIND = ControllerConfig(blind_seconds=8.0)
"""As by default, but within an episode."""
ODD = (np.nan, np.inf, -np.inf, -0.0, -1.0, 1e308, -1e308, 5e-324, 2.0**63)


def changed(values: np.ndarray, index: np.ndarray | int, by: Callable[[np.ndarray], np.ndarray] | float) -> np.ndarray:
    """A copy with some entries changed, by a function or to a value."""
    copy = values.copy()
    copy[index] = by(copy[index]) if callable(by) else by
    return copy


def bend_values(world: World, spell: range, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Let the controller read other values for a spell."""
    world.bend(spell, lambda snapshot: dataclasses.replace(snapshot, values=change(snapshot.values)))


def guard_metrics(world: World) -> np.ndarray:
    """Positions of the metrics that SLOs and objectives are made of."""
    return world.guards


def some(world: World, positions: np.ndarray, most: int) -> np.ndarray:
    """A few of them, drawn."""
    return world.rng.choice(positions, size=int(world.rng.integers(1, most + 1)), replace=False)


@fault("H1")
def one_reading_missing(world: World) -> None:
    """One guard metric is missing."""
    which = some(world, guard_metrics(world), 1)
    bend_values(world, world.spell(), lambda values: changed(values, which, np.nan))


@fault("H1")
def readings_missing_at_random(world: World) -> None:
    """Each reading is missing with a chance of 20 %, anew in each period."""
    rng = world.rng
    bend_values(world, world.spell(), lambda values: np.where(rng.random(len(values)) < 0.2, np.nan, values))


@fault("H1", SOON_BLIND)
def all_readings_missing(world: World) -> None:
    """All readings are missing, for longer than the controller may be blind."""
    bend_values(world, world.spell(12, 25), lambda values: np.full_like(values, np.nan))


@fault("H1")
def snapshot_repeated(world: World) -> None:
    """The same snapshot comes again and again."""
    kept: list[Snapshot] = []

    def repeat(snapshot: Snapshot) -> Snapshot:
        kept.append(snapshot)
        return kept[0]

    world.bend(world.spell(), repeat)


@fault("H1")
def snapshot_delayed(world: World) -> None:
    """Snapshots come some periods late, with their true time."""
    queue: list[Snapshot] = []
    delay = int(world.rng.integers(1, 8))

    def late(snapshot: Snapshot) -> Snapshot:
        queue.append(snapshot)
        return queue[max(0, len(queue) - 1 - delay)]

    world.bend(world.spell(), late)


@fault("H1")
def plant_cannot_be_read(world: World) -> None:
    """Reading the plant raises."""
    world.bend(world.spell(), missing("the exporter does not answer"))


@fault("H2")
def not_a_number(world: World) -> None:
    """Guard metrics take odd values: NaN, infinities, negative, subnormal, 1e308."""
    rng, positions = world.rng, guard_metrics(world)
    bend_values(
        world,
        world.spell(),
        lambda values: changed(values, rng.choice(positions, 3, replace=False), float(rng.choice(ODD))),
    )


@fault("H2")
def wrong_unit(world: World) -> None:
    """Some metrics come in another unit, a thousand times too large or small."""
    which, factor = some(world, np.arange(len(world.spec.metrics)), 4), float(world.rng.choice([1e3, 1e-3, 1e6]))
    bend_values(world, world.spell(), lambda values: changed(values, which, lambda v: v * factor))


@fault("H2")
def counter_reset(world: World) -> None:
    """Rates become negative for a period, as where a counter began anew and nobody noticed."""
    names = world.catalogue.names
    rates = np.array([i for i, name in enumerate(names) if name.endswith("_per_second")])
    for _ in range(3):
        begin = world.spell().start
        bend_values(world, range(begin, begin + 1), lambda values: changed(values, rates, lambda v: -10.0 * v - 1.0))


@fault("H2")
def wrong_shape(world: World) -> None:
    """The snapshot has too few values, or too many."""
    length = int(world.rng.choice([0, 1, len(world.spec.metrics) - 1, len(world.spec.metrics) + 1]))
    bend_values(world, world.spell(), lambda values: np.resize(values, length))


@fault("H2")
def garbage_everywhere(world: World) -> None:
    """Every reading is a random bit pattern."""
    rng = world.rng

    def garbage(values: np.ndarray) -> np.ndarray:
        return rng.integers(0, 2**64, size=len(values), dtype=np.uint64).view(np.float64)

    bend_values(world, world.spell(), garbage)


@fault("H3")
def sensor_stuck(world: World) -> None:
    """Some sensors stay where they are."""
    which, kept = some(world, np.arange(len(world.spec.metrics)), 6), []

    def stuck(values: np.ndarray) -> np.ndarray:
        kept.append(values)
        return changed(values, which, lambda _: kept[0][which])

    bend_values(world, world.spell(8, 25), stuck)


@fault("H3")
def sensor_lies(world: World) -> None:
    """A component tells ten times its load, or a tenth."""
    names, factor = world.catalogue.names, float(world.rng.choice([10.0, 0.1]))
    workload = str(world.rng.choice(list(world.spec.workloads)))
    own = np.array([i for i, name in enumerate(names) if name.startswith(f"{workload}_")])
    bend_values(world, world.spell(), lambda values: changed(values, own, lambda v: v * factor))


@fault("H3")
def series_swapped(world: World) -> None:
    """Two workloads' readings are exchanged."""
    names = world.catalogue.names
    a, b = np.array(names.index("serving_cpu_used_cores")), np.array(names.index("training_cpu_used_cores"))
    pair = np.array([a, b])
    bend_values(world, world.spell(), lambda values: changed(values, pair, lambda v: v[::-1].copy()))


@fault("H3")
def component_killed(world: World) -> None:
    """A component dies, tells nothing, and comes back with the knobs of a fresh process."""
    workload = str(world.rng.choice(list(world.spec.workloads)))
    spell, names = world.spell(2, 8), world.catalogue.names
    own = np.array([i for i, name in enumerate(names) if name.startswith(f"{workload}_")])
    seconds = len(spell) * world.spec.control_period_seconds
    crash = Incident(IncidentKind.COMPONENT_CRASH, 0.0, seconds, workload=workload)
    world.at(spell.start, lambda: world.rig.simulator.inject(crash))
    bend_values(world, spell, lambda values: changed(values, own, np.nan))
    world.at(spell.stop, lambda: world.host.restarted(workload))


@fault("H3")
def component_frozen(world: World) -> None:
    """A component is stopped: its last page is read again and again."""
    workload = str(world.rng.choice(list(world.spec.workloads)))
    names, kept = world.catalogue.names, []
    own = np.array([i for i, name in enumerate(names) if name.startswith(f"{workload}_")])

    def frozen(values: np.ndarray) -> np.ndarray:
        kept.append(values)
        return changed(values, own, lambda _: kept[0][own])

    bend_values(world, world.spell(), frozen)


@fault("H4")
def columns_shuffled(world: World) -> None:
    """All readings change places."""
    order = world.rng.permutation(len(world.spec.metrics))
    bend_values(world, world.spell(8, 25), lambda values: values[order])


@fault("H4")
def noise_added(world: World) -> None:
    """Noise of the size of the readings on all of them."""
    rng = world.rng
    bend_values(world, world.spell(), lambda values: np.abs(values * (1.0 + rng.normal(size=len(values)) * 2.0)))


@fault("H4")
def all_zero(world: World) -> None:
    """Every reading is zero."""
    bend_values(world, world.spell(), np.zeros_like)


@fault("H4")
def unknown_load(world: World) -> None:
    """A load that no day of training had, for a while."""
    seconds = 20.0 * world.spec.control_period_seconds
    burst = Incident(IncidentKind.TRAFFIC_BURST, 0.0, seconds, strength=float(world.rng.uniform(3.0, 20.0)))
    world.at(world.spell().start, lambda: world.rig.simulator.inject(burst))
