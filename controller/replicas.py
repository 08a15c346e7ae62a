"""Replicas of a component: which of them are ready, that is, answer and have the knob values that are in force."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from controller.canaries import Paired
from controller.components import Component
from controller.plant_events import Event, EventKind
from envs.spec import SystemSpec


class Members:
    """Who of a component's replicas counts.

    Args:
        component: with its replicas; their number stays, whatever becomes of each.
    """

    def __init__(self, component: Component) -> None:
        self.name = component.name
        self.names = tuple(one.name for one in component.replicas)
        self.canaries = self.names[: component.canaries]
        """Those that get a change before the others."""
        self.least = max(1, math.ceil(component.ready_share * len(self.names)))
        """Fewest that must be ready for the readings to stand for all."""
        self.out: dict[str, str] = {}
        """Replica -> why it does not count."""
        self._events: list[Event] = []

    @property
    def ready(self) -> list[str]:
        """Those that count."""
        return [name for name in self.names if name not in self.out]

    @property
    def problem(self) -> str:
        """Who does not count and why, one line; empty where all do."""
        return "; ".join(f"{name}: {why}" for name, why in self.out.items())

    @property
    def apart(self) -> bool:
        """Whether canaries and rest can be held against each other: all of those and some of these are ready."""
        others = len(self.ready) - len(self.canaries)
        return bool(self.canaries) and others > 0 and all(name not in self.out for name in self.canaries)

    def leave(self, name: str, why: str) -> None:
        """It does not count from now on; told once, until it joins again."""
        if name not in self.out:
            self._events.append(Event(EventKind.REPLICA_LEFT, self.name, f"{name} is not ready: {why}"))
        self.out[name] = why

    def join(self, name: str) -> None:
        """It answers and has the values in force; idempotent."""
        if self.out.pop(name, None) is not None:
            self._events.append(Event(EventKind.REPLICA_JOINED, self.name, f"{name} is ready again"))

    def take_events(self) -> list[Event]:
        """Who left and who joined since the last call, oldest first."""
        events, self._events = self._events, []
        return events


@runtime_checkable
class PlantWithReplicas(Protocol):
    """A plant of which a component may have replicas; the live one is."""

    spec: SystemSpec

    @property
    def members(self) -> Mapping[str, Members]:
        """By component, which of its replicas are ready; empty where none has any."""
        ...

    @property
    def behind(self) -> Mapping[str, Mapping[str, float]]:
        """Replica that answers again -> knob -> the value in force, which it has not got yet."""
        ...

    def catch_up(self) -> None:
        """Set those replicas to what is in force; who took it counts from then on, and is told by an event."""
        ...

    @property
    def paired(self) -> Mapping[str, Paired]:
        """By component, what canaries and rest showed in the newest period, where they can be told apart."""
        ...

    @property
    def tried(self) -> Mapping[str, Mapping[str, float]]:
        """By component, the knobs that its canaries have otherwise than the rest."""
        ...

    def try_on(self, component: str, values: Mapping[str, float]) -> None:
        """Set knobs on the canaries of a component alone, all or none; empty: give them what the rest has.

        Raises:
            PlantError: they did not take it, and have what the rest has.
        """
        ...


def replica_metrics(plant: object) -> dict[str, float]:
    """How many replicas each component of a plant has, and how many are ready, by series name."""
    found: dict[str, float] = {}
    if isinstance(plant, PlantWithReplicas):
        for name, members in plant.members.items():
            found[f'trimtab_controller_replicas{{component="{name}"}}'] = float(len(members.names))
            found[f'trimtab_controller_replicas_ready{{component="{name}"}}'] = float(len(members.ready))
    return found
