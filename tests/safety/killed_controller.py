"""A controller to be killed: killed_controller.py DIRECTORY POINT LEASE_SECONDS. Not a test; the tests start it.

It controls a component over HTTP, its CPU, and a file. It says "applied" when everything is set, and goes on; or kills
itself with SIGKILL when it comes to POINT.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from controller.budget_file import BudgetFile
from controller.guard import Guard, GuardConfig
from controller.journal import Journal
from controller.live_plant import LivePlant
from controller.loop import Controller
from controller.revert import Step
from envs.spec import SystemSpec
from telemetry.processes import boot_seconds

PINS = {"serving_batch_size": 16.0, "serving_cpu_cores": 0.5}


class PlantWithFile(LivePlant):
    """Writes a file with every setting, as a program that is tuned by its configuration file."""

    file = Path()

    def apply(self, setting: np.ndarray) -> None:
        super().apply(setting)
        self.file.write_text("risky")

    def revert_steps(self) -> list[Step]:
        return [*super().revert_steps(), {"kind": "file", "path": str(self.file), "text": "found", "replace": True}]


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(call: Callable[..., Any], when: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
    """Dies instead of calling."""
    return lambda *arguments, **named: die() if when(*arguments) else call(*arguments, **named)


def after(call: Callable[..., Any], when: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
    """Calls, and dies."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        result = call(*arguments, **named)
        return die() if when(*arguments) else result

    return wrapped


def of_kind(kind: str) -> Callable[..., bool]:
    return lambda record, *_: record["kind"] == kind


def took_it(knobs: object) -> bool:
    return getattr(knobs, "_in_force", {}).get("serving_batch_size") == PINS["serving_batch_size"]


def arm(point: str, controller: Controller, plant: LivePlant) -> None:
    """Put the deadly point in its place."""
    journal, last = controller.journal, plant.actuators.used[1]
    second = getattr(last, "_each", {}).get("serving-1", last)  # of two replicas
    points: dict[str, tuple[object, str, Callable[..., Any]]] = {
        "before the intent is written": (journal, "append", before(journal.append, of_kind("intent"))),
        "after the intent is written": (journal, "append", after(journal.append, of_kind("intent"))),
        "after the lease is written": (plant, "apply", before(plant.apply)),
        "between two actuators": (last, "apply", before(last.apply)),
        "between two replicas": (second, "apply", before(second.apply)),
        "between change and read back": (second, "read", before(second.read, lambda *_: took_it(second))),
        "after everything is set": (plant, "apply", after(plant.apply)),
        "before the decision is recorded": (journal, "append", before(journal.append, of_kind("decision"))),
        "after the decision is recorded": (journal, "append", after(journal.append, of_kind("decision"))),
    }
    if point:
        target, name, deadly = points[point]
        setattr(target, name, deadly)


def main(directory: Path, point: str, lease_seconds: float) -> None:
    plain = SystemSpec.load("reference").model_dump(mode="json")
    spec = SystemSpec.model_validate({**plain, "control_period_seconds": 0.1})
    guard = Guard(directory, GuardConfig(lease_seconds=lease_seconds))
    journal = Journal(directory / "journal.jsonl")
    entries = json.loads((directory / "entries.json").read_text())
    plant = PlantWithFile(spec, entries, clock=boot_seconds, extra_sources=[])
    plant.file = directory / "knob"
    controller = Controller(plant, {}, {}, journal, mode="act", guard=guard, clock=boot_seconds)
    budgets = BudgetFile(directory, controller.kernel, boot_seconds)
    controller.announce = budgets.announce
    arm(point, controller, plant)
    controller.pins = PINS
    controller.step()
    print("applied", flush=True)
    while True:
        budgets.save(plant.setting)
        controller.step()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
