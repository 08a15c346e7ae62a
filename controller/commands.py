"""Talking to a running controller through files in its state directory: status, pause, mode, pins, rollback.

Every command is a file that appears whole; the controller looks at them once per period. Pause, mode and pins stay in
force when the controller is started again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.decision import Mode
from controller.journal import Journal
from controller.journal import explain as explain_records
from telemetry.collectors.targets import process_start

JOURNAL, STATUS = "journal.jsonl", "status.json"
PAUSE, MODE, PINS, ROLLBACK = "pause", "mode", "pins.json", "rollback"


class CommandError(RuntimeError):
    """A command that cannot be given; one line."""


def status(state_dir: str | Path) -> dict[str, Any]:
    """What the controller last said about itself, with `running`: whether its process is alive.

    Raises:
        CommandError: there is no status.
    """
    path = Path(state_dir) / STATUS
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise CommandError(
            f"no controller has run with state directory {str(state_dir)!r} (no {STATUS} there)"
        ) from None
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot read {path}: {error}") from None
    alive = process_start(int(content.get("pid", 0))) == content.get("process_start", -1)
    return {**content, "running": alive}


def pause(state_dir: str | Path) -> None:
    """Stop changing anything, from the next period on until `resume`; a harmful change on trial is still taken back."""
    write_atomically(_existing(state_dir) / PAUSE, "")


def resume(state_dir: str | Path) -> None:
    """End a pause; does nothing without one."""
    (_existing(state_dir) / PAUSE).unlink(missing_ok=True)


def set_mode(state_dir: str | Path, mode: Mode | str) -> None:
    """Switch between off, shadow and act.

    Raises:
        ValueError: no such mode.
    """
    write_atomically(_existing(state_dir) / MODE, Mode(mode))


def set_pins(state_dir: str | Path, pins: Mapping[str, float]) -> None:
    """Hold knobs at values that no policy may change; an empty mapping lets all go."""
    write_atomically(_existing(state_dir) / PINS, json.dumps(dict(pins)))


def request_rollback(state_dir: str | Path, id: str = "") -> None:
    """Take back the running trial with this id, or go to the last known good setting."""
    write_atomically(_existing(state_dir) / ROLLBACK, id)


def explain(state_dir: str | Path, id: str) -> str:
    """Why an optimization was made, and what came of it.

    Raises:
        CommandError: no such optimization in the journal.
    """
    try:
        return explain_records(Journal.read(_existing(state_dir) / JOURNAL), id)
    except KeyError as error:
        raise CommandError(str(error.args[0])) from None


def write_atomically(path: Path, text: str) -> None:
    """Replace a file, so that a reader finds the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _existing(state_dir: str | Path) -> Path:
    path = Path(state_dir)
    if not path.is_dir():
        raise CommandError(f"no state directory {str(state_dir)!r}; it is made when the controller is started")
    return path
