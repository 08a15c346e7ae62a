"""A learning system on a virtual clock: simulated, but set through files, so that the real reverts can undo it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from controller.actuators.actuator import ActuatorError, Capability
from controller.actuators.choose import Actuators
from controller.actuators.versions import Versions
from controller.components import Component
from controller.live_plant import READ_BACK_PERIODS, LivePlant
from controller.plant_events import Event, EventKind
from controller.revert import Step
from envs.plant import PlantError
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.metrics import Snapshot


class VirtualClock:
    """Seconds since the host was started; moves when told to. Call it for the time."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Write:
    """One write of an actuator.

    Attributes:
        time: seconds.
        values: asked for, by knob.
        before: in force before, by knob.
    """

    time: float
    values: dict[str, float]
    before: dict[str, float]


@dataclass
class Misbehaviour:
    """What an actuator does instead of its work.

    Attributes:
        fails: raises, and sets nothing.
        partial: sets the first knob and raises.
        ignores: says yes and sets nothing.
        bends: sets another value than was asked.
        late_seconds: sets it so much later.
    """

    fails: bool = False
    partial: bool = False
    ignores: bool = False
    bends: Callable[[float], float] | None = None
    late_seconds: float = 0.0


class FileActuator:
    """Knobs of one workload as a JSON file, which is what is really in force.

    Args:
        workload: whose.
        values: file of the knobs in force; made with the given defaults if missing.
        defaults: knob -> value.
        clock: seconds.
        misbehaviour: shared with the faults.
        on_write: every write of the controller is told to it, before it is made.
        set_at: knob -> version of its last change, shared by all hands, as a component counts them; None for limits of
            the kernel, which counts nothing.
    """

    def __init__(
        self,
        workload: str,
        path: Path,
        defaults: Mapping[str, float],
        clock: Callable[[], float],
        misbehaviour: Misbehaviour,
        on_write: Callable[[Write], None],
        set_at: dict[str, str] | None = None,
    ) -> None:
        self.workload, self.knobs, self.path = workload, tuple(defaults), path
        self._set_at, self._versions = set_at, Versions()
        self._clock, self.misbehaviour, self._on_write = clock, misbehaviour, on_write
        self._late: list[tuple[float, dict[str, float]]] = []
        if not path.exists():
            path.write_text(json.dumps(dict(defaults)))
        self._found = path.read_text()

    def probe(self) -> Capability:
        """Always works."""
        return Capability(True, True, "a simulated limit")

    def read(self) -> dict[str, float]:
        """What is in force."""
        if self._set_at is not None:
            self._versions.saw(_newest(self._set_at), {name: self._set_at.get(name, "sim-0") for name in self.knobs})
        return {name: float(value) for name, value in json.loads(self.path.read_text()).items()}

    def set_elsewhere(self) -> set[str]:
        """What other hands have set since the last call."""
        found = self._versions.elsewhere()
        self._versions.forget()
        return found

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Set, or misbehave.

        Raises:
            ActuatorError: as told by the fault.
        """
        asked, before, does = dict(values), self.read(), self.misbehaviour
        self._on_write(Write(self._clock(), asked, before))
        if does.fails:
            raise ActuatorError(f"{self.workload}: the actuator failed")
        if does.late_seconds:
            self._late.append((self._clock() + does.late_seconds, asked))
            return before
        if does.ignores:
            return before
        if does.bends is not None:
            asked = {name: does.bends(value) for name, value in asked.items()}
        if does.partial:
            first = next(iter(asked))
            self.write({first: asked[first]})
            raise ActuatorError(f"{self.workload}: only {first} was set")
        self.write(asked)
        return self.read()

    def carry_out_late(self) -> None:
        """What was put off until now."""
        for due, values in list(self._late):
            if due <= self._clock():
                self._late.remove((due, values))
                self.write(values)

    def write(self, values: Mapping[str, float]) -> None:
        """Put values in force for whoever holds this actuator."""
        self.path.write_text(json.dumps(self.read() | dict(values)))
        if self._set_at is not None:
            newest = f"sim-{int(_newest(self._set_at).removeprefix('sim-')) + 1}"
            self._set_at |= dict.fromkeys(values, newest)
            self._versions.wrote(newest, values)

    def attach(self, component: Component) -> None:
        """Nothing to do."""

    def revert_steps(self) -> list[Step]:
        """The file as it was found."""
        return [{"kind": "file", "path": str(self.path), "text": self._found, "replace": True}]

    def undo(self) -> None:
        """The file as it was found."""
        if self.path.exists():
            self.path.write_text(self._found)


@dataclass
class Rig:
    """What outlives a controller: the simulated system, the files that hold its knobs, and what goes wrong with both.

    Attributes:
        spec: of the system.
        simulator: a single system.
        directory: of the files.
        clock: virtual.
        misbehaviour: of the actuators, by workload.
        bends: functions of (values, truth) -> values that change what is read; see `SimulatedHost.advance`.
        writes: of the actuators, since the world cleared them.
        on_time: called with the seconds that a period takes; moves the clock.
        on_write: called before each write.
        delay_periods: by how many periods a setting reaches the system late.
        cpu_seconds: that the simulation itself has used.
        set_at: version of the last change of each knob that a component counts.
        delivered: the values that the controller was last given to read; empty if there was nothing.
    """

    spec: SystemSpec
    simulator: SimulatedPlant
    directory: Path
    clock: VirtualClock
    misbehaviour: dict[str, Misbehaviour] = field(default_factory=dict)
    bends: list[Callable[[Snapshot], Snapshot]] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    on_time: Callable[[float], None] = lambda seconds: None
    on_write: Callable[[Write], None] = lambda write: None
    delay_periods: int = 0
    cpu_seconds: float = 0.0
    set_at: dict[str, str] = field(default_factory=dict)
    delivered: np.ndarray = field(default_factory=lambda: np.empty(0))
    _pending: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.misbehaviour = {workload: Misbehaviour() for workload in self.spec.workloads}

    def actuators(self) -> list[FileActuator]:
        """One for the CPU and one for the component's own knobs of each workload, over the same files each time."""
        made, counts = [], {"allocation": None, "tuning": self.set_at}
        for workload in self.spec.workloads:
            for role in ("allocation", "tuning"):
                own = {k.name: k.default for k in self.spec.knobs if (k.workload, k.role) == (workload, role)}
                path = self.directory / f"{workload}-{role}.json"
                does = self.misbehaviour[workload]
                made.append(FileActuator(workload, path, own, self.clock, does, self._note, counts[role]))
        return made

    @property
    def in_force(self) -> np.ndarray:
        """The truth, (n_knobs,): what the files hold."""
        values: dict[str, float] = {}
        for workload in self.spec.workloads:
            for role in ("allocation", "tuning"):
                values |= json.loads((self.directory / f"{workload}-{role}.json").read_text())
        return np.array([float(values[name]) for name in self.spec.knob_names])

    def put(self, **knobs: float) -> None:
        """Another hand than the controller's sets knobs."""
        for actuator in self.actuators():
            own = {name: value for name, value in knobs.items() if name in actuator.knobs}
            if own:
                actuator.write(own)

    def advance(self, seconds: float) -> Snapshot:
        """Let time pass for the system, under what is in force."""
        begin = time.thread_time()
        self._pending.append(self.in_force)
        if len(self._pending) > self.delay_periods:
            self.simulator.apply(self._pending[-1 - self.delay_periods])
            del self._pending[: -1 - self.delay_periods]
        self.on_time(seconds)
        snapshot = self.simulator.advance(seconds)
        self.cpu_seconds += time.thread_time() - begin
        return Snapshot(self.clock(), snapshot.values, snapshot.day)

    def _note(self, write: Write) -> None:
        self.writes.append(write)
        self.on_write(write)


class SimulatedHost(LivePlant):
    """The live plant, real in how it sets, reads back, compares and reverts; its readings are the rig's.

    Args:
        rig: the system.

    Raises:
        PlantError: what is in force cannot be read.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        used = rig.actuators()
        nowhere = {str(name): {"url": "http://127.0.0.1:9"} for name in rig.spec.workloads}
        super().__init__(
            rig.spec,
            nowhere,
            clock=rig.clock,
            sleep=lambda seconds: None,
            extra_sources=[],
            actuators=Actuators(list(used), [actuator.probe() for actuator in used]),
        )
        self._used = used

    def advance(self, seconds: float) -> Snapshot:
        """A period of the rig, as the faults let it be read.

        Raises:
            PlantError: a fault says so.
        """
        snapshot = self.rig.advance(seconds)
        for actuator in self._used:
            actuator.carry_out_late()
        self._period += 1
        if self._period % READ_BACK_PERIODS == 0:
            self._look_for_other_hands()
        self.rig.delivered = np.empty(0)
        for bend in list(self.rig.bends):
            snapshot = bend(snapshot)
        self.rig.delivered = snapshot.values
        return snapshot

    def restarted(self, workload: str) -> None:
        """A component came back with the knobs of a fresh process."""
        for actuator in self.actuators.of(workload):
            if isinstance(actuator, FileActuator):
                defaults = {k.name: float(k.default) for k in self.spec.knobs if k.name in actuator.knobs}
                actuator.write(defaults)
                self._in_force(actuator.read())
        self._events.append(Event(EventKind.RESTARTED, workload, f"{workload} was restarted"))


def _newest(set_at: Mapping[str, str]) -> str:
    return max(set_at.values(), key=lambda version: int(version.removeprefix("sim-")), default="sim-0")


def missing(message: str) -> Callable[[Snapshot], Snapshot]:
    """A reading that does not come."""

    def bend(snapshot: Snapshot) -> Snapshot:
        raise PlantError(message)

    return bend
