"""Actuator: what turns a wanted knob value into one that is in force, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from controller.components import Component
from controller.revert import Step


class ActuatorError(RuntimeError):
    """An actuator that could not read or set; one line. The value in force is the former one, or unknown until read."""


class SetElsewhere(ActuatorError):
    """The target refused a change, since somebody else has set a knob after we looked; nothing was set."""


@dataclass(frozen=True)
class Capability:
    """What an actuator can do here.

    Attributes:
        available: whether it works on this host, for this process.
        enforced: whether the value is a limit that holds (quota), or only a wish (relative weight).
        reason: one line for people: why not available, or how it acts.
        reversible: whether the value found at start can be restored with the rights that the controller has.
    """

    available: bool
    enforced: bool
    reason: str
    reversible: bool = True


class Actuator(Protocol):
    """Sets one or several knobs of one workload.

    Attributes:
        workload: whose knobs.
        knobs: their names.
    """

    workload: str
    knobs: tuple[str, ...]

    def probe(self) -> Capability:
        """Whether and how it works here; changes nothing that lasts."""
        ...

    def read(self) -> dict[str, float]:
        """The values in force, by knob, in the knob's unit.

        Raises:
            ActuatorError: they cannot be told.
        """
        ...

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Set some of its knobs, all or none; idempotent.

        Returns:
            The values really in force of all its knobs, as read back.

        Raises:
            ActuatorError: nothing was set.
        """
        ...

    def attach(self, component: Component) -> None:
        """Go on with another process of the same workload, after a restart; values are applied anew by the caller.

        Raises:
            ActuatorError: the new process cannot be taken over.
        """
        ...

    def revert_steps(self) -> list[Step]:
        """How `undo` would restore what was found, as data for a process that does it when we no longer can.

        Asked before each change, the first too; empty where there is nothing to restore.
        """
        ...

    def undo(self) -> None:
        """Restore what was found at start and release what is held; may be called twice, never raises."""
        ...


@runtime_checkable
class VersionedActuator(Protocol):
    """An actuator whose target counts changes, so that setting the value which is in force already shows too."""

    def set_elsewhere(self) -> set[str]:
        """The knobs that somebody else was seen to set since the last call, whatever to."""
        ...


@runtime_checkable
class FencedActuator(Protocol):
    """An actuator whose target refuses writers whose right has gone to another.

    Attributes:
        token: tells our fencing token, which each change carries; 0 for none.
        newest_token: the highest that the target was last seen to know; 0 if it knows none.
    """

    token: Callable[[], int]
    newest_token: int
