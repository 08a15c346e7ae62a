"""Runs the controller as a program: from files to a loop, and back to where everything was at the end."""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents.artifact import load
from agents.heuristics.fallback import fallback_policy
from agents.policy import Policy
from controller.commands import JOURNAL, MODE, PAUSE, PINS, ROLLBACK, STATUS, write_atomically
from controller.decision import Decision, Mode
from controller.journal import Journal
from controller.live_plant import LivePlant
from controller.loop import Controller, ControllerConfig
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.collectors.targets import process_start

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
) -> None:
    """Control a running learning system until SIGTERM, SIGINT or `stop`; then restore the setting found at start.

    Args:
        spec: of the system.
        components: path of the launcher's `testbed.json`, or the same content.
        policies: by role; see `load_policies`.
        state_dir: journal, status and command files.
        mode: to begin with; a `mode` file in the state directory wins.
        stop: ends the loop from another thread.
        after_step: called after each period, on the loop's thread.
        config: limits and windows.

    Raises:
        PlantError: the system cannot be read or set at all.
        JournalError: the journal cannot be written.
    """
    directory, stop = Path(state_dir), stop or threading.Event()
    journal = Journal(directory / JOURNAL)
    plant = LivePlant(spec, components)
    logger.info("actuators:\n%s", plant.actuators.report())
    atexit.register(plant.close)
    try:
        # Tuning is held rather than handed over: going back to untuned knobs in a blackout would make matters worse.
        fallback = {Role.ALLOCATION: fallback_policy(Task(spec, Role.ALLOCATION))}
        controller = Controller(plant, policies, fallback, journal, mode=mode, config=config)
        files = CommandFiles(directory, controller, plant)

        def finish_period(decision: Decision) -> None:
            files.write_status()
            files.obey()
            if after_step is not None:
                after_step(controller, decision)

        with _stopped_by_signals(stop):
            files.obey()
            controller.run(stop, finish_period)
    finally:
        plant.close()
        atexit.unregister(plant.close)
        journal.close()


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


class CommandFiles:
    """The state directory as the running controller sees it.

    Args:
        directory: with the command files; see `controller.commands`.
        controller: that obeys.
        plant: whose actuators are reported.
    """

    def __init__(self, directory: Path, controller: Controller, plant: LivePlant) -> None:
        self._directory, self._controller, self._plant = directory, controller, plant
        self._mode_text = ""
        self._started_at = time.time()

    def obey(self) -> None:
        """Take over pause, mode, pins and rollback. What cannot be understood is logged once and left aside."""
        controller = self._controller
        controller.paused = (self._directory / PAUSE).exists()
        mode = self._text(MODE)
        if mode != self._mode_text:
            self._mode_text = mode
            if mode in list(Mode):
                controller.mode = Mode(mode)
            else:
                logger.warning("mode file says %r; allowed are %s", mode, ", ".join(Mode))
        controller.pins = self._pins()
        rollback = self._directory / ROLLBACK
        if rollback.exists():
            controller.rollback(self._text(ROLLBACK))
            rollback.unlink(missing_ok=True)

    def write_status(self) -> None:
        """What `status` shows; a disk that is full costs the status, not the loop."""
        try:
            write_atomically(self._directory / STATUS, json.dumps(self._status(), allow_nan=False))
        except OSError as error:
            logger.debug("cannot write the status: %s", error)

    def _status(self) -> dict[str, Any]:
        controller, decision = self._controller, self._controller.last_decision
        names = controller.spec.knob_names
        return {
            "pid": os.getpid(),
            "process_start": process_start(os.getpid()),
            "started_at": self._started_at,
            "updated_at": time.time(),
            "mode": controller.mode,
            "paused": controller.paused,
            "pins": controller.pins,
            "setting": dict(zip(names, controller.plant.setting.tolist(), strict=True)),
            "last_known_good": dict(zip(names, controller.last_known_good.tolist(), strict=True)),
            "trials_running": {workload: trial.id for workload, trial in controller.trials.running.items()},
            "outcomes": dict(controller.outcomes),
            "conditions": {name: detail for name, (_, detail) in controller.conditions.active.items()},
            "reasons": [str(reason) for reason in decision.reasons] if decision else [],
            "availability": controller.availability,
            "missed_periods": self._plant.missed_periods,
            "root": self._plant.actuators.enforced,
            "actuators": self._plant.actuators.report().splitlines(),
        }

    def _pins(self) -> dict[str, float]:
        text = self._text(PINS)
        try:
            pins = json.loads(text) if text else {}
            return {str(name): float(value) for name, value in pins.items()}
        except (ValueError, AttributeError, TypeError):
            return self._controller.pins  # the former ones stand: letting go by mistake is the greater risk

    def _text(self, name: str) -> str:
        try:
            return (self._directory / name).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return self._mode_text if name == MODE else ""


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT end the loop after the period that is running; elsewhere than on the main thread, nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, action in former.items():
            signal.signal(number, action)
