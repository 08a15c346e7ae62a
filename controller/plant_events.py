"""What a plant may tell besides its metrics: restarts, failures of actuators, changes by others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from controller.revert import Step


class EventKind(StrEnum):
    """What happened."""

    RESTARTED = "restarted"
    ACTUATOR_FAILED = "actuator_failed"
    CHANGED_ELSEWHERE = "changed_elsewhere"
    REPLICA_LEFT = "replica_left"
    REPLICA_JOINED = "replica_joined"


@dataclass(frozen=True)
class Event:
    """Something that happened to one component.

    Attributes:
        kind: what.
        workload: to which.
        detail: one line.
        knob: which knob, for `changed_elsewhere`.
    """

    kind: EventKind
    workload: str
    detail: str
    knob: str = ""


@runtime_checkable
class PlantWithReverts(Protocol):
    """A plant that tells how to restore what it was found with; the live one does."""

    def revert_steps(self) -> list[Step]:
        """Steps for `controller.revert`."""
        ...

    def restore(self) -> None:
        """Put everything back as it was found; what is in force then shows in `setting`."""
        ...

    def reread(self) -> None:
        """Take what is in force for ours."""
        ...


@runtime_checkable
class PlantWithEvents(Protocol):
    """A plant that tells events; the live one does."""

    def take_events(self) -> list[Event]:
        """What happened since the last call, oldest first."""
        ...


@runtime_checkable
class PlantOnHost(Protocol):
    """A plant that tells what its CPU readings can be held against; the live one does."""

    @property
    def host_cores(self) -> float | None:
        """Of the host that all workloads share; None where they do not."""
        ...

    @property
    def limits_hold(self) -> bool:
        """Whether CPU grants are limits, not only weights."""
        ...
