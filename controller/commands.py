"""Talking to a running controller through files in its state directory: status, pause, mode, pins, kill switch.

Every command is a file that appears whole; the controller looks at them once per period, between reading and deciding.
Pause, mode, pins and kill switch stay in force when the controller is started again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.decision import Mode
from controller.journal import Journal
from telemetry.processes import process_start

JOURNAL, STATUS, METRICS, TOKENS = "journal.jsonl", "status.json", "metrics.prom", "tokens.json"
FORECAST = "forecast.json"
"""What `trimtab forecast --json` last wrote; see `controller.prescale.read_alarms`."""
PAUSE, MODE, PINS, ROLLBACK, REVERT, KILL = "pause", "mode", "pins.json", "rollback", "revert", "kill"
APPROVE = "approve."
"""Begins the name of a file that approves the change whose id follows."""


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
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        pid = int(content.get("pid", 0))
    except FileNotFoundError:
        raise CommandError(
            f"no controller has run with state directory {str(state_dir)!r} (no {STATUS} there)"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise CommandError(f"cannot read {path}: {error}") from None
    alive = process_start(pid) == content.get("process_start", -1)
    return {**content, "running": alive}


def kill(state_dir: str | Path) -> None:
    """Back to the setting found at start within a period, and nothing is changed until `arm`."""
    (existing_state_dir(state_dir) / KILL).touch()


def arm(state_dir: str | Path) -> None:
    """Turn the kill switch off; does nothing if it is not on."""
    (existing_state_dir(state_dir) / KILL).unlink(missing_ok=True)


def pause(state_dir: str | Path, seconds: float | None = None) -> None:
    """Stop changing anything, from the next period on; a harmful change on trial is still taken back.

    Args:
        state_dir: of the controller.
        seconds: for how long; None until `resume`.
    """
    write_atomically(existing_state_dir(state_dir) / PAUSE, "" if seconds is None else repr(time.time() + seconds))


def resume(state_dir: str | Path) -> None:
    """End a pause; does nothing without one."""
    (existing_state_dir(state_dir) / PAUSE).unlink(missing_ok=True)


def set_mode(state_dir: str | Path, mode: Mode | str, workload: str | None = None) -> None:
    """Switch between off, shadow, advise, canary and act.

    Args:
        state_dir: of the controller.
        mode: from the next period on.
        workload: that has this mode at most; None for the system as a whole.

    Raises:
        ValueError: no such mode.
        CommandError: no such workload.
    """
    mode, path = Mode(mode), existing_state_dir(state_dir) / MODE
    if workload is not None:
        known = list(status(state_dir).get("modes", {}))
        if workload not in known:
            raise CommandError(f"no workload {workload!r}; known are: {', '.join(known) or 'none'}")
        path = mode_file(path.parent, workload)
    write_atomically(path, mode)


def mode_file(state_dir: Path, workload: str) -> Path:
    """Where the mode of a workload stands."""
    return state_dir / f"{MODE}.{workload}"


@dataclass(frozen=True)
class Pin:
    """A value that no policy may change.

    Attributes:
        value: in the knob's unit.
        until: seconds since 1970; None for ever.
    """

    value: float
    until: float | None = None


def set_pins(state_dir: str | Path, pins: Mapping[str, float | Pin]) -> None:
    """Hold knobs at values that no policy may change; an empty mapping lets all go."""
    entries = {
        name: {"value": pin.value, "until": pin.until} if isinstance(pin, Pin) else pin for name, pin in pins.items()
    }
    write_atomically(existing_state_dir(state_dir) / PINS, json.dumps(entries))


def read_pins(state_dir: str | Path) -> dict[str, Pin] | None:
    """The pins, those that have ended too; None where the file cannot be understood."""
    try:
        text = (Path(state_dir) / PINS).read_text().strip()
        return {str(name): _pin(entry) for name, entry in (json.loads(text) if text else {}).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return None


def pin(state_dir: str | Path, name: str, value: float, seconds: float | None = None) -> None:
    """Hold one knob.

    Args:
        state_dir: of the controller.
        name: of the knob.
        value: in the knob's unit; beyond its bounds it is clipped to them.
        seconds: for how long; None until `unpin`.

    Raises:
        CommandError: there is no such knob, or the pins there are cannot be read.
    """
    known = list(status(state_dir)["setting"])
    if name not in known:
        raise CommandError(f"no knob {name!r}; known are: {', '.join(known)}")
    until = None if seconds is None else time.time() + seconds
    set_pins(state_dir, {**_good_pins(state_dir), name: Pin(value, until)})


def unpin(state_dir: str | Path, name: str) -> None:
    """Let one knob go.

    Raises:
        CommandError: it is not pinned.
    """
    pins = _good_pins(state_dir)
    if name not in pins:
        raise CommandError(f"{name!r} is not pinned; pinned are: {', '.join(pins) or 'none'}")
    set_pins(state_dir, {other: pin for other, pin in pins.items() if other != name})


def request_revert(state_dir: str | Path) -> None:
    """Go back to the setting found at start; policies begin again from there after a pause."""
    write_atomically(existing_state_dir(state_dir) / REVERT, "")


def history(state_dir: str | Path, count: int = 20) -> list[dict[str, Any]]:
    """The newest optimizations, oldest first: `id`, `at`, `workload`, `role`, `knobs`, `outcome`, `reason`, `gain`.

    `mode` is that of the workload when the change was made.
    """
    found: dict[str, dict[str, Any]] = {}
    for record in Journal.read(existing_state_dir(state_dir) / JOURNAL):
        for change in record.get("opened", []):
            kept = {key: change[key] for key in ("id", "workload", "role", "knobs")}
            mode = record.get("modes", {}).get(change["workload"], record.get("mode", ""))
            begun = {"mode": mode, "outcome": "running", "reason": "", "gain": None}
            found[change["id"]] = {**kept, "at": record["at"], **begun}
        for verdict in record.get("verdicts", []):
            if verdict["id"] in found:
                found[verdict["id"]] |= {key: verdict[key] for key in ("outcome", "reason", "gain")}
    return list(found.values())[-count:]


def approve(state_dir: str | Path, id: str) -> None:
    """In mode `advise`: make the change with this id, as soon as the shield allows it.

    Raises:
        CommandError: no such change waits.
    """
    waiting = [str(advice["id"]) for advice in status(state_dir).get("advice", [])]
    if id not in waiting:
        raise CommandError(f"no change {id!r} waits for approval; waiting are: {', '.join(waiting) or 'none'}")
    write_atomically(existing_state_dir(state_dir) / f"{APPROVE}{id}", "")


def request_rollback(state_dir: str | Path, id: str = "") -> None:
    """Take back the running trial with this id, or go to the last known good setting."""
    write_atomically(existing_state_dir(state_dir) / ROLLBACK, id)


def explain(state_dir: str | Path, id: str) -> str:
    """Trigger, readings, candidates, refusals, verdict and undo of a change that was made or advised.

    Raises:
        CommandError: no such change in the journal.
    """
    from controller.explanation import explain as explain_records  # a running controller does without it

    try:
        return explain_records(Journal.records(existing_state_dir(state_dir) / JOURNAL), id, str(state_dir))
    except KeyError as error:
        raise CommandError(str(error.args[0])) from None


def write_atomically(path: Path, text: str) -> None:
    """Replace a file, so that a reader finds the old content or the new."""
    temporary = os.path.join(path.parent, f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def pin_of(text: str) -> tuple[str, float]:
    """Knob and value of `KNOB=VALUE`.

    Raises:
        CommandError: it is not of that form.
    """
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise CommandError(f"a pin is KNOB=NUMBER, such as serving_batch_size=8; given {text!r}")
    return name, number


def seconds_of(text: str) -> float:
    """Seconds of a time such as 90, 90s, 30m, 2h or 1d.

    Raises:
        CommandError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None:
        raise CommandError(f"a time is a number with s, m, h or d, such as 90s or 2h; given {text!r}")
    return float(match[1]) * {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match[2]]


def _pin(entry: Any) -> Pin:
    if not isinstance(entry, dict):
        return Pin(float(entry))
    until = entry.get("until")
    return Pin(float(entry["value"]), None if until is None else float(until))


def _good_pins(state_dir: str | Path) -> dict[str, Pin]:
    pins = read_pins(existing_state_dir(state_dir))
    if pins is None:
        raise CommandError(f"cannot read {Path(state_dir) / PINS}; correct or delete it first")
    return pins


def existing_state_dir(state_dir: str | Path) -> Path:
    """The folder.

    Raises:
        CommandError: it is not there.
    """
    path = Path(state_dir)
    if not path.is_dir():
        raise CommandError(f"no state directory {str(state_dir)!r}; it is made when the controller is started")
    return path
