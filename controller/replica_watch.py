"""Follows the replicas of one component: who ended, who is silent, who answers again and still has old knobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from controller.actuators.actuator import ActuatorError
from controller.actuators.replica_knobs import ReplicaKnobs
from controller.canaries import Paired
from controller.component_source import ComponentSource
from controller.components import Component
from controller.readings import Interval
from controller.replica_source import ReplicaSource
from controller.replicas import Members
from telemetry.sweep import Sweep

SILENT_SWEEPS = 3
"""Sweeps in a row without a page after which a replica is gone. Default 3: one answer may come late."""
ASK_AGAIN_SWEEPS = 5
"""Until a replica whose knobs could not be read, or set, is asked again: each time may cost half a second."""


class ReplicaWatch:
    """Decides in each sweep which replicas are ready. Sets nothing, but in `catch_up`.

    Args:
        component: with its replicas.
        knobs: that are set on them; None if it has none.
        clock: seconds, monotonic.
    """

    def __init__(self, component: Component, knobs: ReplicaKnobs | None, clock: Callable[[], float]) -> None:
        self.members = Members(component) if knobs is None else knobs.members
        self._knobs = knobs
        self._known = {one.name: one for one in component.replicas}
        sources = {name: ComponentSource(name, self._url_of, clock, component.name) for name in self._known}
        self.source = ReplicaSource(sources, self.members)
        self.behind: dict[str, dict[str, float]] = {}
        """Replica that answers again -> the values that it has to get before it counts."""
        self._parts: tuple[Sweep, Sweep] | None = None  # of canaries and rest, in the sweep before
        self._patience: dict[str, int] = {}  # replica -> sweeps until it is asked again
        self._gone: set[str] = set()  # whose process has ended, or is somebody else's now; not asked whoever answers

    def follow(self, found: Component | None) -> None:
        """Notice processes that ended, and their successors.

        Args:
            found: the component as the directory has it now.
        """
        listed = {} if found is None else {one.name: one for one in found.replicas}
        self._gone = {name for name in self._known if _ended(listed.get(name))}
        for name, known in self._known.items():
            one = listed.get(name)
            if one is None:
                self.members.leave(name, "it is not listed any more")
            elif name in self._gone:
                self.members.leave(name, f"its process {one.pid} has ended")
            elif (one.pid, one.start, one.url) != (known.pid, known.start, known.url):
                self._known[name] = one
                self.members.leave(name, f"it was restarted: process {known.pid} -> {one.pid}")
                self._patience[name] = 0
                if self._knobs is not None:
                    self._knobs.attach(one)

    def after_sweep(self) -> None:
        """Let go of who is silent; let those count that answer again and have what is in force."""
        for name in self.members.names:
            if name in self.source.anew:
                self.members.leave(name, "its pages are numbered anew: it was restarted")
            if self.source.silent[name] >= SILENT_SWEEPS:
                self.members.leave(name, "it does not show its metrics")
            if name in self._gone or self.source.silent[name]:
                self.behind.pop(name, None)
            elif name in self.members.out:
                self._patience[name] = self._patience.get(name, 0) - 1
                if self._patience[name] < 0:
                    self._ask(name)

    def catch_up(self) -> None:
        """Set those that answer again to what is in force."""
        waiting, self.behind = self.behind, {}
        if self._knobs is None:
            return
        for name in waiting:
            try:
                self._knobs.catch_up(name)
            except ActuatorError as error:
                self._later(name, error)

    @property
    def tried(self) -> dict[str, float]:
        """Knobs that the canaries have otherwise than the rest."""
        return {} if self._knobs is None else dict(self._knobs.tried)

    def try_on(self, values: Mapping[str, float]) -> None:
        """See `ReplicaKnobs.try_on`.

        Raises:
            ActuatorError: they did not take it.
        """
        if self._knobs is not None:
            self._knobs.try_on(values)

    def pair(self, time: float, read: Callable[[Interval], np.ndarray]) -> Paired | None:
        """Canaries and rest in the newest sweep; None where they cannot be held against each other.

        Args:
            time: seconds, of the sweep.
            read: the snapshot (n_metrics,) of an interval.
        """
        before, self._parts = self._parts, (Sweep(time, self.source.canary), Sweep(time, self.source.rest))
        if before is None or self._knobs is None or not self.members.apart:
            return None
        canary, rest = (read(Interval(old, new)) for old, new in zip(before, self._parts, strict=True))
        return Paired(self.tried, canary, rest)

    def _ask(self, name: str) -> None:
        """Whether it has what is in force."""
        self.behind.pop(name, None)
        try:
            missing = {} if self._knobs is None else self._knobs.behind(name)
        except ActuatorError as error:
            self._later(name, error)
            return
        if missing:
            self.behind[name] = missing
            self.members.leave(name, f"it has not got {', '.join(f'{knob} = {v:g}' for knob, v in missing.items())}")
        else:
            self.members.join(name)

    def _later(self, name: str, error: ActuatorError) -> None:
        self.members.leave(name, str(error))
        self._patience[name] = ASK_AGAIN_SWEEPS

    def _url_of(self, name: str) -> str | None:
        return self._known[name].url


def _ended(one: Component | None) -> bool:
    return one is None or bool(one.pid and not one.start)
