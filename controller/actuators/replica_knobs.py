"""The knobs inside a component that has replicas: set on all that are ready, or on none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

from controller.actuators.actuator import ActuatorError, Capability, SetElsewhere
from controller.actuators.http import HttpKnobs
from controller.components import Component
from controller.replicas import Members
from controller.revert import Step

APPLY_SECONDS = 1.0
"""In which all replicas must have taken a change. Default: a period; one that hangs uses half of it up."""


class ReplicaKnobs:
    """One value of each knob for all replicas.

    A replica that does not take a change in time fails it: those that did are brought back. One that does not even
    answer is not ready from then on, so that it cannot hold up the next change, a rollback perhaps; it is set to what
    is in force by `catch_up`, before it counts again.

    Args:
        workload: whose knobs.
        knobs: their names.
        component: with its replicas.
        deadline: seconds for one request.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        workload: str,
        knobs: tuple[str, ...],
        component: Component,
        *,
        deadline: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workload, self.knobs, self._clock = workload, knobs, clock
        self.members = Members(component)
        self._each = {
            one.name: HttpKnobs(workload, knobs, one, deadline=deadline, clock=clock) for one in component.replicas
        }
        self._seen: dict[str, dict[str, float]] = {}  # replica -> values in force, as it last told them
        self._agreed: dict[str, float] = {}  # what a replica has to have before it counts
        self.tried: dict[str, float] = {}
        """Knobs that the canaries have otherwise, while a change is tried on them."""

    def probe(self) -> Capability:
        """Asks all replicas; one that does not answer now joins later."""
        try:
            self.read()
        except ActuatorError as error:
            return Capability(False, True, str(error))
        ready, all_ = len(self.members.ready), len(self.members.names)
        return Capability(True, True, f"PATCH /knobs of {ready} of {all_} replicas, all or none")

    def read(self) -> dict[str, float]:
        """The values in force; where a replica has another one than all had, its: somebody has set it there.

        Raises:
            ActuatorError: no replica is ready, or they differ at first, so that nobody can say what is in force.
        """
        for name in self.members.ready:
            try:
                self._seen[name] = self._each[name].read()
            except ActuatorError as error:  # one answer may come late; who is gone is told by its missing pages
                if name not in self._seen:
                    self.members.leave(name, str(error))
        ready = self._ready()
        if not self._agreed:
            self._agreed = self._equal_at_first(ready)
        found = {}
        for knob in self.knobs:
            values = [self._seen[name][knob] for name in ready if not self._tries(name, knob)]
            found[knob] = next((value for value in values if value != self._agreed[knob]), self._agreed[knob])
            if values and values.count(found[knob]) == len(values):
                self._agreed[knob] = found[knob]
        return found

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Set some knobs on all ready replicas, and read them back; where one fails, on none.

        Raises:
            ActuatorError: which replica failed, why, and how many were brought back.
            SetElsewhere: the same, where somebody has set a knob of one after we read it.
        """
        if not self._agreed:
            self.read()
        ready, end = self._ready(), self._clock() + APPLY_SECONDS
        former = {name: {knob: self._seen[name][knob] for knob in values} for name in ready}
        answers: dict[str, dict[str, float]] = {}
        for name, reads_back in [(name, False) for name in ready] + [(name, True) for name in ready]:
            one = self._each[name]
            try:
                if self._clock() > end:
                    raise ActuatorError(f"{name} was not reached within {APPLY_SECONDS:g} s")
                answers[name] = one.read() if reads_back else one.apply(values)
                self._compare(name, answers[name], answers[ready[0]], values)
            except ActuatorError as error:
                raise self._failed(error, former, list(answers), name) from None
        self._seen |= answers
        self._agreed |= {knob: answers[ready[0]][knob] for knob in values}
        return dict(self._agreed)

    def try_on(self, values: Mapping[str, float]) -> None:
        """Set knobs on the canaries alone, all or none; empty: give them what the rest has.

        Raises:
            ActuatorError: one of them did not take it; the others were brought back.
        """
        foreign = set(values).difference(self.knobs)
        if foreign:
            raise ActuatorError(f"{self.workload} has no knob {min(foreign)!r}; it has {', '.join(self.knobs)}")
        names = [name for name in self.members.canaries if name in self.members.ready]
        wanted = values or {knob: self._agreed[knob] for knob in self.tried}
        former = {name: {knob: self._agreed[knob] for knob in wanted} for name in names}
        for number, name in enumerate(names):
            try:
                self._seen[name] = self._each[name].apply(wanted)
                self._compare(name, self._seen[name], wanted, wanted)
            except ActuatorError as error:
                self.tried = {}
                raise self._failed(error, former, names[:number], name) from None
        self.tried = dict(values)

    def attach(self, component: Component) -> None:
        """Go on with another process of the replica of that name; it counts when it has caught up."""
        self._each[component.name].attach(component)

    def behind(self, name: str) -> dict[str, float]:
        """The values that a replica which answers again still has to get; empty if it has what is in force.

        Raises:
            ActuatorError: it does not tell its knobs.
        """
        self._seen[name] = self._each[name].read()
        if not self._agreed:  # the first that answers at all
            self._agreed = dict(self._seen[name])
        return {knob: value for knob, value in self._agreed.items() if self._seen[name][knob] != value}

    def catch_up(self, name: str) -> None:
        """Set a replica to what is in force, read it back, and let it count.

        Raises:
            ActuatorError: it does not take the values.
        """
        self._each[name].apply(self._agreed)
        missing = self.behind(name)
        if missing:
            raise ActuatorError(f"{name} did not take {_told(missing)}")
        self._each[name].set_elsewhere()  # who has set it while it was out is overwritten now
        self.members.join(name)

    @property
    def token(self) -> Callable[[], int]:
        """Tells our fencing token, the same for all replicas."""
        return next(iter(self._each.values())).token

    @token.setter
    def token(self, token: Callable[[], int]) -> None:
        for one in self._each.values():
            one.token = token

    @property
    def newest_token(self) -> int:
        """The highest that a replica has seen."""
        return max(one.newest_token for one in self._each.values())

    def set_elsewhere(self) -> set[str]:
        """The knobs that somebody else was seen to set since the last call, on any ready replica."""
        return {knob for name in self.members.ready for knob in self._each[name].set_elsewhere()}

    def revert_steps(self) -> list[Step]:
        """Of every replica that ever answered."""
        return [step for one in self._each.values() for step in one.revert_steps()]

    def undo(self) -> None:
        """Send each replica the values that it was found with."""
        self.tried = {}
        for one in self._each.values():
            with contextlib.suppress(ActuatorError):  # what it was sent last may have come after all
                one.read()
            one.undo()

    def _tries(self, name: str, knob: str) -> bool:
        """Whether a replica has a value of its own because a change is tried on it."""
        return name in self.members.canaries and self._seen[name][knob] == self.tried.get(knob)

    def _ready(self) -> list[str]:
        ready = self.members.ready
        if not ready:
            raise ActuatorError(f"no replica of {self.workload} is ready: {self.members.problem}")
        return ready

    def _equal_at_first(self, ready: Sequence[str]) -> dict[str, float]:
        first = self._seen[ready[0]]
        for name in ready[1:]:
            for knob in self.knobs:
                if self._seen[name][knob] != first[knob]:
                    raise ActuatorError(
                        f"{knob} is {first[knob]:g} on {ready[0]} and {self._seen[name][knob]:g} on {name}; "
                        "make the replicas equal first"
                    )
        return dict(first)

    def _compare(
        self, name: str, found: Mapping[str, float], first: Mapping[str, float], values: Mapping[str, float]
    ) -> None:
        """All round alike, or one of them did not take the change."""
        other = {knob: found[knob] for knob in values if found[knob] != first[knob]}
        if other:
            raise ActuatorError(f"{name} has {_told(other)} in force, asked for {_told(values)}")

    def _failed(
        self, error: ActuatorError, former: Mapping[str, dict[str, float]], taken: Sequence[str], failed: str
    ) -> ActuatorError:
        """What is told of a change that one replica did not take, after the others were brought back."""
        if isinstance(error, SetElsewhere):  # it keeps what somebody has set there
            return SetElsewhere(f"{error}; {self._bring_back(former, [name for name in taken if name != failed], '')}")
        return ActuatorError(f"{error}; {self._bring_back(former, taken, failed)}")

    def _bring_back(self, former: Mapping[str, dict[str, float]], taken: Sequence[str], failed: str) -> str:
        """Give everybody the former values who may have the new ones; tells how many have them."""
        asked = [name for name in former if name in taken or name == failed]
        back = []
        for name in asked:
            one = self._each[name]
            if name == failed and not one.answers:
                self.members.leave(name, "it did not answer to a change")
                continue
            try:
                self._seen[name] = one.apply(former[name])
                left = {k: value for k, value in self._seen[name].items() if former[name].get(k, value) != value}
                if left:
                    raise ActuatorError(f"it has {_told(left)}")
                back.append(name)
            except ActuatorError as error:
                self.members.leave(name, f"it could not be brought back: {error}")
        return f"{len(back)} of {len(asked)} replicas that were asked have the former values"


def _told(values: Mapping[str, float]) -> str:
    return ", ".join(f"{knob} = {value:g}" for knob, value in values.items())
