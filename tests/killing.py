"""Real controllers in processes of their own, to be killed by the safety tests."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from telemetry.processes import boot_seconds

ROOT = Path(__file__).resolve().parents[1]
CHILD = ROOT / "tests/safety/killed_controller.py"
LEASE_SECONDS = 1.0
"""Of a controller whose lease is to run out soon."""
LONG_LEASE_SECONDS = 60.0
"""Of one that must not lose it, however slow the machine is."""


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> float:
    """Poll something that another process does; returns the seconds that it took.

    Args:
        condition: that is waited for.
        seconds: after which the test has failed; long, since nothing is said of how fast this machine is.
    """
    begin = boot_seconds()
    while not condition():
        if boot_seconds() - begin > seconds:
            raise AssertionError(f"nothing happened within {seconds} s")
        select.select([], [], [], 0.005)
    return boot_seconds() - begin


class KilledController:
    """A controller that changes a component's knob, a file and a control group, and is killed at a given point.

    Attributes:
        directory: its state directory.
        process: the controller.
        file: what it controls besides the component; holds `found` at first.
    """

    def __init__(self, directory: Path, entries: dict[str, Any], point: str, lease: float) -> None:
        self.directory, self.file = directory, directory / "knob"
        directory.mkdir(exist_ok=True)
        self.file.write_text("found")
        (directory / "entries.json").write_text(json.dumps(entries))
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), str(directory), point, str(lease)],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_line(self, expected: str) -> None:
        """Until the controller says so."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == expected

    def reverted(self) -> list[dict[str, Any]]:
        """What was taken back so far."""
        path = self.directory / "reverted.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def close(self) -> None:
        """Leave nothing running."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
