"""The live learning system as a Plant: read over HTTP, set through actuators."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from controller import readings
from controller.actuators.actuator import Actuator, ActuatorError, FencedActuator, SetElsewhere, VersionedActuator
from controller.actuators.choose import Actuators, build_actuators
from controller.actuators.replica_knobs import ReplicaKnobs
from controller.canaries import Paired
from controller.component_source import ComponentSource
from controller.components import Component, Components
from controller.plant_events import Event, EventKind
from controller.replica_watch import ReplicaWatch
from controller.replicas import Members
from controller.revert import Step
from envs.plant import PlantError
from envs.scaling import KnobScaling
from envs.spec import SystemSpec
from telemetry.collectors.host import HostSource
from telemetry.collectors.process import ProcessDetail, ProcessSource
from telemetry.collectors.source import Source
from telemetry.metrics import Snapshot
from telemetry.processes import process_start
from telemetry.sampler import Sampler, Sweep

SCRAPED = ("serving", "training", "ingest", "load")
READ_BACK_PERIODS = 10
"""Every so often the knobs are read back from the components, to see what somebody else changed."""


class LivePlant:
    """A running learning system of one spec.

    Start, change and end are gentle: `setting` begins as what is in force, `close` restores it.

    Args:
        spec: metrics and knobs.
        components: path of the launcher's `testbed.json`, or the same content as a mapping.
        clock: seconds, monotonic.
        sleep: waits for seconds.
        wall_clock: seconds since 1970, for the age of the model.
        extra_sources: read in every sweep besides the components; None takes the host's processors.
        actuators: None picks the best that work here.
        own_actuators: the caller's, for the knobs that they have, such as `CallbackKnobs`.

    Raises:
        PlantError: a component that the spec needs is not there, or the spec has a metric that nothing tells.
    """

    def __init__(
        self,
        spec: SystemSpec,
        components: str | Path | Mapping[str, Mapping[str, Any]],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wall_clock: Callable[[], float] = time.time,
        extra_sources: Sequence[Source] | None = None,
        actuators: Actuators | None = None,
        own_actuators: Sequence[Actuator] = (),
    ) -> None:
        self.spec = spec
        self._clock, self._sleep, self._wall_clock = clock, sleep, wall_clock
        self._directory = Components(components)
        self._components = self._directory.read()
        missing = [workload for workload in spec.workloads if workload not in self._components]
        if missing:
            where = "" if isinstance(components, Mapping) else f" in {str(components)!r}"
            found = ", ".join(self._components) or "none; is the system running?"
            raise PlantError(f"no {missing[0]} among the components{where} (found: {found})")
        extra = [HostSource(files=("stat",))] if extra_sources is None else extra_sources
        self._not_taken_over: dict[str, str] = {}
        self._averages = readings.Averages()
        self._scaling = KnobScaling(spec.knobs)
        self._events: list[Event] = []
        self._period = 0
        self._next_tick: float | None = None
        self.missed_periods = 0
        self.last_sweep: Sweep | None = None
        self._before: Sweep | None = None
        self._check_metrics()
        self.actuators = actuators or build_actuators(spec, self._components, own=own_actuators)
        self._paired: dict[str, Paired] = {}
        self._watches = {n: self._watch(one) for n, one in self._components.items() if one.replicas and n in SCRAPED}
        self._sources = [
            self._watches[name].source if name in self._watches else ComponentSource(name, self._url_of, clock)
            for name in SCRAPED
        ]
        # First, so that it is read when the sweep begins and not after the wait for the scrapes.
        processes = ProcessSource(self._processes, detail=ProcessDetail(processes=False), clock=clock)
        self._sampler = Sampler([processes, *self._sources, *extra], spec.control_period_seconds, clock)
        scrapes = len(SCRAPED) + sum(len(watch.members.names) for watch in self._watches.values())
        self._pool = ThreadPoolExecutor(scrapes, thread_name_prefix="scrape")
        self._setting = self._scaling.low.copy()
        try:
            for actuator in self.actuators.used:
                self._in_force(actuator.read())
        except ActuatorError as error:
            self.close()
            raise PlantError(f"the setting in force cannot be read: {error}") from None

    @property
    def setting(self) -> np.ndarray:
        """What is in force as read back from the actuators, (n_knobs,); a copy."""
        return self._setting.copy()

    @property
    def host_cores(self) -> float | None:
        """Of this host, if all workloads run on it; else None."""
        return float(os.cpu_count() or 0) or None if len(self._processes()) == len(self.spec.workloads) else None

    @property
    def limits_hold(self) -> bool:
        """Whether CPU grants are limits, not only weights."""
        driven = {knob for actuator in self.actuators.used for knob in actuator.knobs}
        return self.actuators.enforced and driven.issuperset(o.cpu_knob for o in self.spec.workloads.values())

    def fence_with(self, token: Callable[[], int]) -> int:
        """Let every change carry our fencing token, where the target can refuse it.

        Args:
            token: tells ours; it must be higher than all that were there before.

        Returns:
            The highest that a target has seen; 0 if none tells any.
        """
        fenced = [actuator for actuator in self.actuators.used if isinstance(actuator, FencedActuator)]
        for actuator in fenced:
            actuator.token = token
        return max((actuator.newest_token for actuator in fenced), default=0)

    def apply(self, setting: np.ndarray) -> None:
        """Set what differs; an actuator that fails keeps its former value and is told by `take_events`.

        Args:
            setting: (n_knobs,) in natural units; clipped to the knobs' bounds, integer knobs rounded.

        Raises:
            ValueError: not finite, or of the wrong shape; nothing is changed.
        """
        wanted = np.asarray(setting, dtype=float)
        if wanted.shape != self._setting.shape or not np.isfinite(wanted).all():
            raise ValueError(f"a setting must be {len(self._setting)} finite numbers, given {setting!r}")
        wanted = np.clip(
            np.where(self._scaling.integer, np.rint(wanted), wanted), self._scaling.low, self._scaling.high
        )
        # What is to stay is left as it was read, even where a component holds a value that we would round.
        wanted = np.where(np.asarray(setting, dtype=float) == self._setting, self._setting, wanted)
        for actuator in self.actuators.used:
            changed = [i for i in self._indices(actuator) if wanted[i] != self._setting[i]]
            if changed and self._unchanged_since(actuator):
                self._drive(actuator, {self.spec.knobs[i].name: float(wanted[i]) for i in changed})

    def advance(self, seconds: float) -> Snapshot:
        """Wait for the next tick and read. A late call does not shift later ticks; ticks that passed are left out.

        Args:
            seconds: between ticks.

        Returns:
            The metrics of the time since the last reading; NaN where a reading is missing.
        """
        self._wait(seconds)
        self._follow_restarts()
        for source in self._sources:
            source.begin(self._pool)
        sweep = self._sampler.sweep()
        for watch in self._watches.values():
            watch.after_sweep()
            self._events += watch.members.take_events()
        values = np.full(len(self.spec.metrics), np.nan)
        if self._before is not None:
            interval = readings.Interval(self._before, sweep)
            found = readings.read(interval, self._averages, self.spec.latency_slo_seconds, self._wall_clock)
            values[:] = [found[metric.name] for metric in self.spec.metrics]
        self._paired = self._pairs(sweep.time, values)
        self._before = self.last_sweep = sweep
        self._period += 1
        if self._period % READ_BACK_PERIODS == 0:
            self._look_for_other_hands()
        return Snapshot(sweep.time, values, _share_of_day(self._wall_clock()))

    def take_events(self) -> list[Event]:
        """What happened since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def revert_steps(self) -> list[Step]:
        """How to restore everything found at start, as data; complete before the first change.

        Raises:
            PlantError: an actuator cannot tell, so nothing may be changed.
        """
        steps: list[Step] = []
        for actuator in self.actuators.used:
            try:
                steps += actuator.revert_steps()
            except ActuatorError as error:
                if not self._has_ended(actuator.workload):  # what has ended took its settings along
                    raise PlantError(f"what was found cannot be told: {error}") from None
        return steps

    @property
    def members(self) -> dict[str, Members]:
        """By component that has replicas, which of them are ready."""
        return {name: watch.members for name, watch in self._watches.items()}

    @property
    def behind(self) -> dict[str, dict[str, float]]:
        """Replica that answers again -> knob -> the value in force, which it has not got yet."""
        return {name: values for watch in self._watches.values() for name, values in watch.behind.items()}

    def catch_up(self) -> None:
        """Set the replicas in `behind` to what is in force; who took it counts from then on."""
        for watch in self._watches.values():
            watch.catch_up()

    @property
    def paired(self) -> dict[str, Paired]:
        """By component, what canaries and rest showed in the newest period, where they can be told apart."""
        return dict(self._paired)

    @property
    def tried(self) -> dict[str, dict[str, float]]:
        """By component, the knobs that its canaries have otherwise than the rest."""
        return {name: watch.tried for name, watch in self._watches.items() if watch.tried}

    def try_on(self, component: str, values: Mapping[str, float]) -> None:
        """Set knobs on the canaries of a component alone, all or none; empty: give them what the rest has.

        Raises:
            PlantError: they did not take it, and have what the rest has.
        """
        try:
            self._watches[component].try_on(values)
        except ActuatorError as error:
            raise PlantError(str(error)) from None

    def restore(self) -> None:
        """Put everything back as it was found; an actuator that fails shows in `setting`."""
        self.actuators.undo()
        self.reread()

    def reread(self) -> None:
        """Take what is in force for ours, whoever set it; after the warden has taken everything back."""
        for actuator in self.actuators.used:
            self._read_back(actuator)
            _set_elsewhere(actuator)

    def close(self) -> None:
        """Restore the setting found at start and remove the control groups; may be called twice."""
        self.actuators.undo()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _wait(self, seconds: float) -> None:
        now = self._clock()
        if self._next_tick is None:
            self._next_tick = now
        self._next_tick += seconds
        if now > self._next_tick:
            passed = int((now - self._next_tick) / seconds)
            self.missed_periods += passed
            self._next_tick += passed * seconds
        self._sleep(max(0.0, self._next_tick - now))

    def _follow_restarts(self) -> None:
        """Go on with a component's new process: its counters begin anew, and its knobs are the defaults again."""
        found = self._directory.read()
        for name, watch in self._watches.items():
            watch.follow(found.get(name))
        for name, component in found.items():
            known = self._components.get(name)
            if (
                known is None
                or name in self._watches
                or (component.pid, component.start, component.url) == (known.pid, known.start, known.url)
            ):
                continue
            if component.pid and not component.start:
                continue  # the process has ended, and its successor is not announced yet
            self._components[name] = component
            self._forget(name)
            if name in self.spec.workloads:
                self._not_taken_over[name] = f"{name} was restarted: process {known.pid} -> {component.pid}"
        for name in list(self._not_taken_over):
            if self._take_over(self._components[name]):
                self._events.append(Event(EventKind.RESTARTED, name, self._not_taken_over.pop(name)))

    def _take_over(self, component: Component) -> bool:
        """Whether all actuators hold the new process; it may take seconds until it answers, so this is tried again."""
        try:
            for actuator in self.actuators.of(component.name):
                actuator.attach(component)
                self._in_force(actuator.read())
        except ActuatorError:
            return False
        return True

    def _forget(self, name: str) -> None:
        """No growth may be taken between two processes' counters, even where the new one is ahead."""
        if self._before is not None:
            marks = (f'component="{name}"', f'group="{name}"')
            kept = {s: value for s, value in self._before.values.items() if not any(mark in s for mark in marks)}
            self._before = dataclasses.replace(self._before, values=kept)

    def _look_for_other_hands(self) -> None:
        for actuator in self.actuators.used:
            if actuator.workload not in self._not_taken_over:
                self._changed_elsewhere(actuator)

    def _unchanged_since(self, actuator: Actuator) -> bool:
        """Whether the values are those that we saw last; else they are somebody's who must not be overwritten.

        A process that was restarted has other values too, and nobody is behind them: `advance` will notice it.
        """
        if self._has_ended(actuator.workload):
            detail = f"the process of {actuator.workload} has ended; nothing is set before its successor is known"
            self._events.append(Event(EventKind.ACTUATOR_FAILED, actuator.workload, detail))
            return False
        return not self._changed_elsewhere(actuator)

    def _has_ended(self, workload: str) -> bool:
        known = self._components.get(workload)
        return known is not None and known.pid > 0 and process_start(known.pid) != known.start

    def _changed_elsewhere(self, actuator: Actuator) -> bool:
        """Read back, and tell which values are not those that we saw last, or were set again by somebody."""
        former = self.setting
        self._read_back(actuator)
        moved = np.flatnonzero(np.abs(self._setting - former) > 1e-6 * np.maximum(1.0, np.abs(former)))
        again = {self.spec.knob_index(name) for name in _set_elsewhere(actuator)}.difference(moved)
        told = {i: f"was changed by somebody else: {former[i]:g} -> {self._setting[i]:g}" for i in map(int, moved)}
        told |= {i: f"was set by somebody else, to {former[i]:g} as before" for i in again}
        for i, what in sorted(told.items()):
            knob = self.spec.knobs[i]
            detail = f"{knob.name} {what}"
            self._events.append(Event(EventKind.CHANGED_ELSEWHERE, knob.workload, detail, knob.name))
        return bool(told)

    def _read_back(self, actuator: Actuator) -> None:
        try:
            self._in_force(actuator.read())
        except ActuatorError:
            return  # the former value stands; a component that does not answer shows in its missing metrics

    def _drive(self, actuator: Actuator, values: Mapping[str, float]) -> None:
        try:
            self._in_force(actuator.apply(values))
        except ActuatorError as error:
            if isinstance(error, SetElsewhere) and self._changed_elsewhere(actuator):
                return
            self._events.append(Event(EventKind.ACTUATOR_FAILED, actuator.workload, str(error)))
            self._read_back(actuator)  # it may have been carried out after all

    def _in_force(self, values: Mapping[str, float]) -> None:
        """Quota and nice come in steps, and a component may have wider bounds: what is outside ours is at its edge."""
        for name, value in values.items():
            index = self.spec.knob_index(name)
            self._setting[index] = np.clip(value, self._scaling.low[index], self._scaling.high[index])

    def _pairs(self, time: float, values: np.ndarray) -> dict[str, Paired]:
        found = {name: watch.pair(time, self._with_own_of(name, values)) for name, watch in self._watches.items()}
        return {name: pair for name, pair in found.items() if pair is not None}

    def _with_own_of(self, component: str, values: np.ndarray) -> Callable[[readings.Interval], np.ndarray]:
        """Makes a snapshot of all into one of some replicas: with the metrics that they tell themselves."""

        def read(interval: readings.Interval) -> np.ndarray:
            own = readings.told_by(component, interval, self.spec.latency_slo_seconds, self._wall_clock())
            return np.array([own.get(m.name, value) for m, value in zip(self.spec.metrics, values, strict=True)])

        return read

    def _watch(self, component: Component) -> ReplicaWatch:
        knobs = [one for one in self.actuators.of(component.name) if isinstance(one, ReplicaKnobs)]
        return ReplicaWatch(component, knobs[0] if knobs else None, self._clock)

    def _indices(self, actuator: Actuator) -> list[int]:
        return [self.spec.knob_index(name) for name in actuator.knobs]

    def _url_of(self, name: str) -> str | None:
        component = self._components.get(name)
        return None if component is None else component.url

    def _processes(self) -> dict[str, int]:
        """Process ids of the workloads on this host."""
        found = {name: self._components[name].pid for name in self.spec.workloads}
        return {name: pid for name, pid in found.items() if pid}

    def _check_metrics(self) -> None:
        empty = Sweep(0.0, {})
        known = readings.read(readings.Interval(empty, empty), readings.Averages(), 1.0, self._wall_clock)
        unknown = [metric.name for metric in self.spec.metrics if metric.name not in known]
        if unknown:
            raise PlantError(f"no component tells {unknown[0]!r}; known are: {', '.join(sorted(known))}")


def _set_elsewhere(actuator: Actuator) -> set[str]:
    return actuator.set_elsewhere() if isinstance(actuator, VersionedActuator) else set()


def _share_of_day(wall_time: float) -> float:
    """Of the local day, in [0, 1): what people's habits follow."""
    local = time.localtime(wall_time)
    return (local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec) / 86400.0
