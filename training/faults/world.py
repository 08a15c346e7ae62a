"""One episode: a simulated system, the real controller on it, what goes wrong, and what was seen of it all."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from agents.artifact import load_shipped
from agents.heuristics.fallback import fallback_policy
from agents.policy import Policy
from controller import commands
from controller.config import ControllerConfig
from controller.deadlines import Deadlines
from controller.decision import Decision, Mode
from controller.guard import GuardError
from controller.infeasible_file import InfeasibleFile
from controller.journal import Journal
from controller.lease import read_lease
from controller.loop import Controller
from controller.operation import Operation, Overseer
from controller.own_cost import OwnCost
from controller.runner import CommandFiles
from envs.scaling import KnobScaling
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.metrics import Snapshot
from telemetry.workload import Demand, generate_demand
from training.faults.host import Rig, SimulatedHost, VirtualClock, Write
from training.faults.process import FaultyPolicy, Killed, SimulatedGuard, StandIn, WatchedJournal, steps_of
from training.references import load_references

WARM_UP = 7
"""Periods before the first fault: the window of readings has to be full, and a baseline has to be there."""
LOOKS = 4
"""Of the warden in a period of one second, as often as the real one."""


@dataclass(frozen=True)
class Setup:
    """What all episodes of a campaign share.

    Attributes:
        spec: the reference system.
        policies: the shipped ones, by role.
        start: (n_knobs,) found by the controller at its start.
        demands: days that are replayed.
        controller: makes a controller; a mutant puts a broken one here.
        prepare: called with each world before it begins; a mutant breaks something there.
    """

    spec: SystemSpec
    policies: Mapping[Role, Policy]
    start: np.ndarray
    demands: tuple[Demand, ...]
    controller: Callable[..., Controller] = Controller
    prepare: Callable[[World], None] = lambda world: None


@lru_cache(maxsize=1)
def reference_setup() -> Setup:
    """The shipped policies on the reference system, which begins at the best static setting."""
    spec = SystemSpec.load("reference")
    policies = {role: load_shipped(role, spec) for role in Role}
    demands = tuple(generate_demand(seed).compressed(60.0) for seed in range(7001, 7007))
    return Setup(spec, policies, np.asarray(load_references(spec).best_static), demands)


@dataclass
class SeenWrite:
    """A write of an actuator.

    Attributes:
        write: what was asked for.
        intended: whether an intent in the journal names all its knobs.
        comes_back: whether each of its values was in force at some time before.
        leased: whether a lease that says how to undo it is on the disk.
    """

    write: Write
    intended: bool
    comes_back: bool
    leased: bool


@dataclass
class Seen:
    """One period as the monitors see it.

    Attributes:
        period: number.
        now: seconds at its end.
        alive: whether a controller ran in it.
        decision: of the controller; None without one, or if the period failed.
        error: of a period that failed.
        before: (n_knobs,) truly in force when the controller began.
        after: (n_knobs,) truly in force at the end.
        delivered: what the controller was given to read, bent by faults; empty if there was nothing.
        writes: of actuators, by the controller.
        refused_records: decisions that the journal could not take.
        guard_problem: why nothing new could be changed when the period began; empty if it could.
    """

    period: int
    now: float
    alive: bool
    decision: Decision | None
    error: str
    before: np.ndarray
    after: np.ndarray
    delivered: np.ndarray
    writes: list[SeenWrite]
    refused_records: int
    guard_problem: str


@dataclass
class Notes:
    """What faults tell the monitors.

    Attributes:
        died_at: seconds; when the last controller died or was stopped, None while one runs.
        revert_seconds: from each death to everything being restored.
        stopped: whether it was stopped and not killed, so that its lease has to run out first.
        lied: whether an actuator was told to set other values than asked, or late.
        edits: knob -> (seconds, value) of the last edit by another hand, as long as it is in force.
        harmful: whether from now on each change of serving's tuning breaks the SLO badly.
        broken_at: trial id -> seconds of its first bad reading.
        wardenless: whether no warden is left either, and nobody to start one.
        left_behind: what the next controller did not restore before it began; empty if it did.
        two_writers: whether a second controller could begin beside the first.
        intruder: a command over HTTP that was obeyed though nobody may give it; empty if none was.
        approved: changes that an operator said yes to.
    """

    died_at: float | None = None
    revert_seconds: list[float] = field(default_factory=list)
    stopped: bool = False
    lied: bool = False
    edits: dict[str, tuple[float, float]] = field(default_factory=dict)
    harmful: bool = False
    broken_at: dict[str, float] = field(default_factory=dict)
    wardenless: bool = False
    left_behind: str = ""
    two_writers: bool = False
    intruder: str = ""
    approved: set[str] = field(default_factory=set)


class World:
    """One episode.

    Args:
        setup: shared by all.
        seed: of everything random in it.
        periods: length.
        config: of the controller.
    """

    def __init__(self, setup: Setup, seed: int, periods: int, config: ControllerConfig | None = None) -> None:
        self.setup, self.periods, self.rng = setup, periods, np.random.default_rng(seed)
        self.config = config or ControllerConfig()
        self.directory = Path(tempfile.mkdtemp(prefix="trimtab-faults-", dir=_fast_disk()))
        self.clock, self.wall_offset = VirtualClock(), 0.0
        self.notes = Notes()
        self.seen: list[Seen] = []
        self.journal: WatchedJournal
        self.lives: list[tuple[int, int]] = []
        """(first period, number of decisions that the journal must hold) of each controller."""
        self._actions: dict[int, list[Callable[[], None]]] = defaultdict(list)
        self._writes: list[SeenWrite] = []
        self._stopped_until = -1
        self._was_in_force: dict[str, set[float]] = defaultdict(set)
        self.mode = Mode.ACT
        self.die_at_write: int | None = None
        """The controller is killed before so many further writes of actuators."""
        self.ordered: dict[str, str] = {}
        """What operators want, by command."""
        self.on_close: list[Callable[[], None]] = []
        self.cpu_seconds = 0.0
        """Of all the controller's periods, without those of the simulated system."""
        self.spec = setup.spec
        self._keep_at_hand()
        simulator = SimulatedPlant(
            self.spec, [setup.demands[int(self.rng.integers(len(setup.demands)))]], seed=seed, random_start=True
        )
        simulator.reset(seed, setting=setup.start)
        state = self.directory / "knobs"
        state.mkdir()
        self.rig = Rig(self.spec, simulator, state, self.clock, on_time=self._pass, on_write=self._on_write)
        self.rig.actuators()
        self.rig.put(**dict(zip(self.spec.knob_names, setup.start.tolist(), strict=True)))
        self.policies = {role: FaultyPolicy(policy) for role, policy in setup.policies.items()}
        self.guard: SimulatedGuard | None = None
        self.process: StandIn | None = None
        self.controller: Controller | None = None
        self.found: np.ndarray = setup.start
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    # What faults do.

    def at(self, period: int, action: Callable[[], None]) -> None:
        """Do something before a period."""
        self._actions[period].append(action)

    def spell(self, shortest: int = 3, longest: int = 15) -> range:
        """Some periods after the warm-up in which a fault lasts; drawn."""
        begin = int(self.rng.integers(WARM_UP, max(WARM_UP + 1, self.periods // 2)))
        return range(begin, min(self.periods, begin + int(self.rng.integers(shortest, longest + 1))))

    def during(self, spell: range, begin: Callable[[], None], end: Callable[[], None]) -> None:
        """Do something at the beginning of a spell, and undo it at its end."""
        self.at(spell.start, begin)
        self.at(spell.stop, end)

    def bend(self, spell: range, change: Callable[[Snapshot], Snapshot]) -> None:
        """Let the controller read something else than the truth for a spell."""
        self.during(spell, lambda: self.rig.bends.append(change), lambda: self.rig.bends.remove(change))

    def start(self) -> None:
        """A controller begins; what an earlier one left is taken back first.

        Raises:
            GuardError: another one runs.
        """
        process = StandIn()
        try:
            guard = SimulatedGuard(self.directory, process, self.clock)
        except GuardError:
            process.end()
            raise
        guard.lease.full = self.guard is not None and self.guard.lease.full
        self.process, self.guard = process, guard
        self._stopped_until = -1  # that was another process
        if not self.notes.wardenless:
            self._note_revert()
        elif np.array_equal(self.rig.in_force, self.found):
            self.notes.died_at = None  # nobody was there to do it earlier: no figure of the warden's
        if self.notes.died_at is not None and not self.notes.stopped:
            self.notes.left_behind = "a new controller begins, and what the last one left is not restored"
        self.notes.died_at, self.notes.wardenless = None, False
        journal_full = bool(self.lives) and self.journal.full  # a full disk stays full
        self.journal = WatchedJournal(self.directory / "journal.jsonl")
        self.journal.full = journal_full
        self.host = SimulatedHost(self.rig)
        self.controller = self.setup.controller(
            self.host,
            self.policies,
            {Role.ALLOCATION: fallback_policy(Task(self.spec, Role.ALLOCATION))},
            self.journal,
            mode=self.mode,
            config=self.config,
            guard=guard,
            clock=self.clock,
            wall_clock=self.wall_clock,
        )
        cost, overseer = OwnCost(dict, clock=self.clock), Overseer(Operation(), self.controller)
        deadlines = Deadlines(self.clock, self.wall_clock)
        self.files = CommandFiles(self.directory, self.controller, self.host, cost, overseer, deadlines)
        if self.ordered.get("pause"):
            del self.ordered["pause"]  # one with an end, which a new controller takes over from the wall clock
        self.controller.heed = self.files.obey
        known = self.controller.kernel.infeasible
        self.infeasible = InfeasibleFile(self.directory, known, self.clock, self.wall_clock)
        self.found = self.rig.in_force
        self.notes.edits.clear()  # whose hand set what is found, a new controller cannot know
        self.lives.append((len(self.seen), 0))
        self.setup.prepare(self)

    def wall_clock(self) -> float:
        """Seconds since 1970, as the host tells them."""
        return 1.7e9 + self.clock() + self.wall_offset

    def kill(self) -> None:
        """`kill -9` between two periods."""
        if self.controller is None or self.guard is None or self.process is None:
            return
        self.notes.wardenless |= self.guard.warden is None  # killed a moment ago, and not started anew yet
        self.controller = None
        self.journal.close()
        self.guard.let_go()
        self.process.end()
        self.notes.died_at, self.notes.stopped = self.clock(), False

    def stop(self, periods: int) -> None:
        """SIGSTOP, and SIGCONT so many periods later; nothing where none runs."""
        if self.controller is None:
            return
        self.notes.wardenless |= self.guard is not None and self.guard.warden is None
        self._stopped_until = len(self.seen) + periods
        self.notes.died_at, self.notes.stopped = self.clock(), True

    def kill_warden(self, for_good: bool = False) -> None:
        """`kill -9` of the warden.

        Args:
            for_good: whether none can be started again.
        """
        if self.guard is not None:
            self.guard.warden = None
            self.guard.warden_may_start = not for_good
            # Who would start it anew is stopped or dead himself, and what is in force waits for him or his successor.
            self.notes.wardenless = for_good or self.notes.died_at is not None

    def edit(self, knob: str, value: float) -> None:
        """Another hand sets a knob, now. The kernel does not tell who sets a limit to what is in force already."""
        shows = self.rig.in_force[self.spec.knob_index(knob)] != value or knob in self.rig.set_at
        self.rig.put(**{knob: value})
        if shows:
            self.notes.edits[knob] = (self.clock(), value)

    def command(self, name: str, text: str) -> None:
        """An operator's command, as a file that appears whole: pause, mode, mode.serving, pins, kill and the like."""
        commands.write_atomically(self.directory / self.command_file(name), text)
        self.ordered[name] = text

    def withdraw(self, name: str) -> None:
        """The end of a command that stays in force."""
        (self.directory / self.command_file(name)).unlink(missing_ok=True)
        self.ordered.pop(name, None)

    def ends_by_itself(self, name: str) -> None:
        """From now on a command is not to be in force, though nobody has withdrawn it."""
        self.ordered.pop(name, None)

    @staticmethod
    def command_file(name: str) -> str:
        """Its name in the state directory; `mode.serving` is that of a workload."""
        command, _, workload = name.partition(".")
        return str(getattr(commands, command.upper())) + (f".{workload}" if workload else "")

    def jump(self, seconds: float) -> None:
        """The wall clock jumps."""
        self.wall_offset += seconds

    def suspend(self, seconds: float) -> None:
        """The host sleeps; the warden is the first to wake. What a dead controller left is not awaited meanwhile."""
        self.clock.now += seconds
        if self.notes.died_at is not None:
            self.notes.died_at += seconds
        if self.guard is not None:
            self.guard.look()

    def use(self, spec: SystemSpec) -> None:
        """Another spec with the same metrics and knobs, for the next controller."""
        self.spec = self.rig.spec = spec
        self._keep_at_hand()

    def _keep_at_hand(self) -> None:
        """What monitors ask for in each period."""
        self.catalogue, self.scaling = self.spec.catalogue, KnobScaling(self.spec.knobs)
        objectives = self.spec.workloads.values()
        grants = {objective.cpu_knob for objective in objectives}
        self.is_cpu = np.array([name in grants for name in self.spec.knob_names])  # (n_knobs,)
        guards = {slo.metric for slo in self.spec.slos}
        for objective in objectives:
            guards |= {objective.done, objective.wanted, objective.cpu_used}
        self.guards = np.array(sorted(self.catalogue.index(name) for name in guards))

    # The episode.

    def step(self) -> Seen:
        """One period, with or without a controller."""
        period = len(self.seen)
        for action in self._actions.pop(period, []):
            action()
        before = self.rig.in_force
        for name, value in zip(self.spec.knob_names, before, strict=True):
            self._was_in_force[name].add(float(value))
            if self.notes.edits.get(name, (0.0, value))[1] != value:
                del self.notes.edits[name]  # a restart or the warden has taken it back: nothing is left to be respected
        self._writes = []
        self.journal.written, self.journal.refused = [], 0
        runs = self.controller is not None and period >= self._stopped_until
        if runs and self.notes.stopped:
            self.notes.died_at, self.notes.stopped = None, False
            self.notes.wardenless = self.guard is not None and not self.guard.warden_may_start
        # Not by way of the instance: a mutant may have put something else there.
        problem = (SimulatedGuard.problem(self.guard) or "") if runs and self.guard is not None else ""
        decision, error = self._run() if runs else (None, "")
        if not runs:
            self.rig.advance(self.spec.control_period_seconds)
        seen = Seen(
            period, self.clock(), runs, decision, error, before, self.rig.in_force,
            self.rig.delivered, self._writes, self.journal.refused, problem,
        )  # fmt: skip
        self.seen.append(seen)
        if decision is not None:
            begin, count = self.lives[-1]
            self.lives[-1] = (begin, count + 1 - self.journal.refused)
        return seen

    def close(self) -> None:
        """End everything and remove the files."""
        if self.controller is not None and self.guard is not None:
            self.guard.close()
            self.journal.close()
        if self.process is not None:
            self.process.end()
        for action in self.on_close:
            action()
        shutil.rmtree(self.directory, ignore_errors=True)

    def records(self) -> list[dict[str, Any]]:
        """The journal as it can be read from the disk."""
        return Journal.read(self.directory / "journal.jsonl")

    def _run(self) -> tuple[Decision | None, str]:
        controller = self.controller
        if controller is None:
            return None, ""
        begin = time.thread_time() - self.rig.cpu_seconds
        try:
            decision = controller.step()
            self.infeasible.save()
            return decision, ""
        except Killed:
            self.kill()
            return None, ""
        except Exception as error:  # the campaign has to tell of it, whatever it is
            return None, f"{type(error).__name__}: {error}"
        finally:
            self.cpu_seconds += time.thread_time() - self.rig.cpu_seconds - begin

    def _pass(self, seconds: float) -> None:
        """Let the clock go on; the warden looks at it as often as it does in life when it is needed."""
        looks = LOOKS if self.notes.died_at is not None else 1
        for _ in range(looks):
            self.clock.now += seconds / looks
            if self.guard is not None:
                self.guard.look()
            if not self.notes.wardenless:
                self._note_revert()

    def _note_revert(self) -> None:
        notes = self.notes
        if notes.died_at is not None and np.array_equal(self.rig.in_force, self.found):
            notes.revert_seconds.append(self.clock() - notes.died_at)
            notes.died_at = None

    def _on_write(self, write: Write) -> None:
        intents = [record for record in self.journal.written if record.get("kind") == "intent"]
        intended = any(set(write.values) <= set(record["knobs"]) for record in intents)
        if self.die_at_write is not None:
            self.die_at_write -= 1
            if self.die_at_write < 1:
                self.die_at_write = None
                raise Killed
        lease = read_lease(str(self.directory))
        comes_back = all(
            any(abs(value - earlier) <= 1e-9 + 1e-9 * abs(value) for earlier in self._was_in_force[knob])
            for knob, value in write.values.items()
        )
        self._writes.append(SeenWrite(write, intended, comes_back, bool(steps_of(lease))))


def _fast_disk() -> str | None:
    """Memory where there is some to be had: the campaign waits for thousands of `fsync`s otherwise."""
    path = Path("/dev/shm")
    return str(path) if path.is_dir() else None
