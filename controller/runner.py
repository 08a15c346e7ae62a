"""Runs the controller as a program: from files to a loop, and back to where everything was at the end."""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agents.artifact import load
from agents.heuristics.fallback import fallback_policy
from agents.policy import Policy
from controller.actuators.actuator import Actuator
from controller.budget_file import BudgetFile
from controller.commands import (
    APPROVE,
    FORECAST,
    JOURNAL,
    KILL,
    METRICS,
    PAUSE,
    PINS,
    REVERT,
    ROLLBACK,
    STATUS,
    Pin,
    kill,
    pause,
    read_pins,
    write_atomically,
)
from controller.deadlines import Deadlines
from controller.decision import Decision, Mode, advice_record
from controller.guard import Guard, GuardConfig
from controller.infeasible_file import InfeasibleFile
from controller.journal import Journal
from controller.live_plant import LivePlant
from controller.loop import Controller, ControllerConfig
from controller.mode_files import ModeFiles
from controller.modes import told
from controller.operation import Operation, Overseer
from controller.own_cost import Limits, OwnCost
from controller.own_metrics import OwnMetrics
from controller.policy_host import HostedPolicy, PolicyHost, PolicyHostError
from controller.prescale import read_alarms
from controller.reverts import Reverts
from controller.sd_notify import Notifier
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.processes import boot_id, boot_seconds, process_start

logger = logging.getLogger(__name__)


def run_controller(
    spec: SystemSpec,
    components: str | Path | Mapping[str, Mapping[str, Any]],
    policies: Mapping[Role, Policy],
    state_dir: str | Path,
    *,
    mode: Mode | str = Mode.SHADOW,
    stop: threading.Event | None = None,
    after_step: Callable[[Controller, Decision], None] | None = None,
    config: ControllerConfig | None = None,
    guard_config: GuardConfig | None = None,
    limits: Limits | None = None,
    own_actuators: Sequence[Actuator] = (),
    operation: Operation | None = None,
) -> None:
    """Control a running learning system until SIGTERM, SIGINT or `stop`; then restore the setting found at start.

    SIGUSR1 is the kill switch: everything goes back to the setting found at start, until `commands.arm`. SIGHUP reads
    the configuration file again.

    Args:
        spec: of the system.
        components: path of the launcher's `testbed.json`, or the same content.
        policies: by role; see `load_policies`.
        state_dir: journal, status and command files.
        mode: to begin with; a `mode` file in the state directory wins. Those of workloads are files only.
        stop: ends the loop from another thread.
        after_step: called after each period, on the loop's thread.
        config: limits and windows.
        guard_config: times of lease and warden.
        limits: what the controller itself may cost.
        own_actuators: for knobs of the program that this runs in; see `CallbackKnobs`.
        operation: what may be exchanged while it runs; with a configuration file, `config` is left out.

    Raises:
        PlantError: the system cannot be read or set at all.
        JournalError: the journal cannot be written.
        GuardError: another controller holds this system, it is not there, or what an earlier controller left cannot be
            taken back.
    """
    directory, stop = Path(state_dir), stop or threading.Event()
    targets = [] if isinstance(components, Mapping) else [components]
    with ExitStack() as stack:
        guard = Guard(directory, guard_config, targets=targets)
        stack.callback(guard.close)
        journal = _begun_journal(directory, guard, mode, stack)
        reverts = Reverts(directory)
        reverts.tell(journal)
        plant = _live_plant(spec, components, own_actuators, stack)
        guard.outrank(plant.fence_with(lambda: guard.token))
        # Tuning is held rather than handed over: going back to untuned knobs in a blackout would make matters worse.
        fallback = {Role.ALLOCATION: fallback_policy(Task(spec, Role.ALLOCATION))}
        operation = operation or Operation()
        config = config if operation.config_file is None else operation.config_file.config
        controller = Controller(
            plant, policies, fallback, journal, mode=mode, config=config, guard=guard, clock=boot_seconds
        )
        budgets = BudgetFile(directory, controller.kernel, boot_seconds)
        controller.announce = budgets.announce
        infeasible = InfeasibleFile(directory, controller.kernel.infeasible, boot_seconds)
        cost = OwnCost(lambda: _own_processes(guard, controller.proposer.policies), limits)
        overseer = Overseer(operation, controller)
        files = CommandFiles(directory, controller, plant, cost, overseer)
        controller.heed = files.obey
        notifier = Notifier.from_environment()
        stack.callback(notifier.stopping)  # before anything is closed

        def finish_period(decision: Decision) -> None:
            files.finish_period(decision)
            infeasible.save()
            budgets.save(controller.plant.setting)
            reverts.tell(journal)
            notify(notifier, controller)
            if after_step is not None:
                after_step(controller, decision)

        with _obeying_signals(stop, directory, overseer.reload):
            files.obey()
            controller.run(stop, finish_period)


def _begun_journal(directory: Path, guard: Guard, mode: Mode | str, stack: ExitStack) -> Journal:
    """The journal with the record of this start in it; the stack closes it."""
    journal = Journal(directory / JOURNAL)
    stack.callback(journal.close)
    started = {"kind": "start", "at": time.time(), "pid": os.getpid(), "boot": boot_id(), "mode": mode}
    journal.append({**started, "reconciled": guard.reconciled}, durable=True)
    return journal


def _live_plant(
    spec: SystemSpec,
    components: str | Path | Mapping[str, Mapping[str, Any]],
    own_actuators: Sequence[Actuator],
    stack: ExitStack,
) -> LivePlant:
    """The running system; the stack, or the end of the process, restores what was found."""
    # CLOCK_BOOTTIME, unlike the monotonic clock, goes on while the host is suspended: readings get old then too.
    plant = LivePlant(spec, components, clock=boot_seconds, own_actuators=own_actuators)
    logger.info("actuators:\n%s", plant.actuators.report())
    atexit.register(plant.close)
    stack.callback(atexit.unregister, plant.close)
    stack.callback(plant.close)
    return plant


def notify(notifier: Notifier, controller: Controller) -> None:
    """Tell systemd about a period that was completed: only one that was written down feeds its watchdog."""
    problem = controller.conditions.active.get("journal")
    if problem is None:
        mode = told(controller.mode, controller.modes_in_force)
        notifier.healthy(f"mode {mode}{', killed' if controller.killed else ''}")
    else:
        notifier.unhealthy(f"journal: {problem[1]}")


def _own_processes(guard: Guard, policies: Mapping[Role, Policy]) -> dict[str, int]:
    """The processes that belong to the controller."""
    hosts = [policy.host.pid for policy in policies.values() if isinstance(policy, HostedPolicy)]
    return {"controller": os.getpid(), "warden": guard.warden_pid, **({"policies": hosts[0]} if hosts else {})}


def load_policies(models_dir: str | Path, spec: SystemSpec) -> dict[Role, Policy]:
    """The policy artifacts of a directory, `<models_dir>/<role>`; a role without one is driven by its fallback rule.

    Args:
        models_dir: e.g. the shipped `models`.
        spec: that they must have been made for.

    Raises:
        ArtifactError: an artifact is damaged or was made for another spec.
    """
    policies: dict[Role, Policy] = {}
    for role in Role:
        directory = Path(models_dir) / role
        policies[role] = load(directory, spec, role) if directory.is_dir() else fallback_policy(Task(spec, role))
    return policies


def host_policies(policies: Mapping[Role, Policy], models_dir: str | Path, spec: SystemSpec) -> PolicyHost | None:
    """A process for those policies that come from artifacts; None if there are none. See `HostedPolicy`.

    Args:
        policies: as `load_policies` gave them; loading them here first means that a damaged artifact is told at once.
        models_dir: where it found them.
        spec: that they were made for.

    Raises:
        PolicyHostError: the process does not start.
    """
    directories = {role: Path(models_dir) / role for role in policies if (Path(models_dir) / role).is_dir()}
    if not directories:
        return None
    host = PolicyHost(spec, directories)
    try:
        host.wait_ready()
    except PolicyHostError:
        host.close()
        raise
    return host


class CommandFiles:
    """The state directory as the running controller sees it.

    Args:
        directory: with the command files; see `controller.commands`.
        controller: that obeys.
        plant: whose actuators are reported.
        cost: measured once per period.
        overseer: of mode, configuration and policies.
        deadlines: of pauses and pins; None for the host's clocks.
    """

    def __init__(
        self, directory: Path, controller: Controller, plant: LivePlant, cost: OwnCost, overseer: Overseer,
        deadlines: Deadlines | None = None,
    ) -> None:  # fmt: skip
        self._directory, self._controller, self._plant, self._overseer = directory, controller, plant, overseer
        self._cost, self._metrics = cost, OwnMetrics()
        self._there: frozenset[str] = frozenset()
        """Names of the files in the directory at the last look."""
        self._deadlines = deadlines or Deadlines()
        self._modes = ModeFiles(directory, controller, overseer)
        self._last_pins: dict[str, Pin] = {}
        self._started_at = time.time()

    def obey(self) -> None:
        """Take over what the files say. What cannot be understood is logged once and left aside."""
        controller = self._controller
        self._there = self._names()
        killed = KILL in self._there
        if killed != controller.killed:
            logger.warning("kill switch %s", "on: back to the setting found at start" if killed else "off")
            controller.killed = killed
        if controller.frozen:
            pause(self._directory)  # so that it does not try again by a restart
            self._there |= {PAUSE}
            controller.frozen = ""
        controller.paused = self._in_force(PAUSE)
        self._modes.obey()
        self._overseer.take_over()
        controller.pins = self._pins()
        for name in sorted(name for name in self._there if name.startswith(APPROVE)):
            controller.approve(name.removeprefix(APPROVE))
            (self._directory / name).unlink(missing_ok=True)
        known = FORECAST in self._there
        controller.alarms = read_alarms(self._directory / FORECAST, time.time()) if known else ()
        if ROLLBACK in self._there:
            controller.rollback(self._text(ROLLBACK))
            (self._directory / ROLLBACK).unlink(missing_ok=True)
        if REVERT in self._there:
            controller.revert()
            (self._directory / REVERT).unlink(missing_ok=True)

    def finish_period(self, decision: Decision) -> None:
        """Write what `status` and `control serve` show; a disk that is full costs the files, not the loop."""
        controller = self._controller
        self._cost.measure()
        controller.conditions.note("own cost", self._cost.problem(), boot_seconds())
        self._metrics.count(decision)
        figures = self._metrics.text(controller, self._plant.missed_periods, self._cost)
        try:
            write_atomically(self._directory / STATUS, json.dumps(self._status(), allow_nan=False))
            write_atomically(self._directory / METRICS, figures)
        except OSError as error:
            logger.debug("cannot write the status: %s", error)

    def _status(self) -> dict[str, Any]:
        controller, decision = self._controller, self._controller.last_decision
        names = controller.spec.knob_names
        success = controller.success
        return {
            "pid": os.getpid(),
            "process_start": process_start(os.getpid()),
            "started_at": self._started_at,
            "updated_at": time.time(),
            "completed_at": boot_seconds(),
            "period_seconds": controller.spec.control_period_seconds,
            "mode": controller.mode,
            "modes": controller.modes_in_force,
            "modes_wanted": controller.modes,
            "killed": controller.killed,
            "paused": controller.paused,
            "pins": controller.pins,
            "setting": dict(zip(names, controller.plant.setting.tolist(), strict=True)),
            "found": dict(zip(names, controller.found.tolist(), strict=True)),
            "last_known_good": dict(zip(names, controller.last_known_good.tolist(), strict=True)),
            "advice": [
                advice_record(controller.spec, advice)
                | {"expires_in_seconds": round(advice.expires_at - boot_seconds(), 1)}
                for advice in controller.kernel.adviser.waiting.values()
            ],
            **self._overseer.status(),
            "trials_running": {workload: trial.id for workload, trial in controller.trials.running.items()},
            "outcomes": dict(controller.outcomes),
            "success": {name: None if figure != figure else figure for name, figure in success._asdict().items()},
            "infeasible": controller.kernel.infeasible.entries(boot_seconds()),
            "conditions": {name: detail for name, (_, detail) in controller.conditions.active.items()},
            "reasons": [str(reason) for reason in decision.reasons] if decision else [],
            "availability": controller.availability,
            "missed_periods": self._plant.missed_periods,
            "cpu_used_cores": round(self._cost.cpu_cores, 4),
            "resident_bytes": {name: usage.resident_bytes for name, usage in self._cost.usage.items()},
            "root": self._plant.actuators.enforced,
            "actuators": self._plant.actuators.report().splitlines(),
        }

    def _pins(self) -> dict[str, float]:
        pins = read_pins(self._directory) if PINS in self._there else {}
        # Broken: the former ones stand, since letting go by mistake is the greater risk.
        self._last_pins = self._last_pins if pins is None else pins
        left = self._deadlines.still_to_come
        return {name: pin.value for name, pin in self._last_pins.items() if left(f"pin of {name}", pin.until)}

    def _in_force(self, name: str) -> bool:
        """Whether a file is there that holds no end, or one that is still to come (seconds since 1970)."""
        if name not in self._there:
            return False
        try:
            return self._deadlines.still_to_come(name, float(self._text(name)))
        except ValueError:
            return True

    def _names(self) -> frozenset[str]:
        """What is there, in one look for all commands."""
        try:
            return frozenset(os.listdir(self._directory))
        except OSError as error:
            logger.debug("cannot look for commands: %s", error)
            return self._there

    def _text(self, name: str) -> str:
        try:
            return (self._directory / name).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""


@contextmanager
def _obeying_signals(stop: threading.Event, directory: Path, reload: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT end the loop after the period that is running, SIGUSR1 turns the kill switch on.

    SIGHUP calls `reload`.

    Elsewhere than on the main thread, nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    former[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda *_: kill(directory))
    former[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: reload())
    try:
        yield
    finally:
        for number, action in former.items():
            signal.signal(number, action)
