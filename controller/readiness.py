"""Whether a controller does what it is there for, told from its state directory alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.commands import CommandError, status
from controller.guard import GuardConfig
from controller.lease import BEAT, read_lease, read_number
from controller.modes import told
from controller.own_metrics import PREFIX
from telemetry.processes import boot_seconds

BLOCKING = ("broken period", "no reading", "blind", "journal", "no right to act", "frozen")
"""Conditions under which nothing new can be done. Others, such as a policy on its fallback, are only shown."""
DETAIL_LENGTH = 200
STALE_PERIODS = 3.0
"""A period is late after so many: as for readings (`ShieldConfig.stale_after_seconds`)."""


@dataclass(frozen=True)
class Check:
    """One thing that readiness needs.

    Attributes:
        name: of it.
        ok: whether it is as it should be.
        detail: one line.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Readiness:
    """The checks and the figures behind them.

    Attributes:
        checks: all of them.
        status: what the controller last said, empty where there is none.
        period_age: seconds since the last completed period; None where there was none.
        warden_silence: seconds since the warden's last sign of life; None where there was none.
        leased: whether something would be taken back.
    """

    checks: list[Check]
    status: dict[str, Any]
    period_age: float | None
    warden_silence: float | None
    leased: bool

    @property
    def running(self) -> bool:
        """Whether the process of the controller is alive."""
        return bool(self.status.get("running"))

    @property
    def reasons(self) -> list[str]:
        """Why it is not ready; empty if it is."""
        return [f"{check.name}: {check.detail}" for check in self.checks if not check.ok]

    def series(self) -> dict[str, float]:
        """As metrics, by name; what is not known is absent."""
        ages = {"seconds_since_last_period": self.period_age, "warden_silence_seconds": self.warden_silence}
        flags = {"up": self.running, "ready": not self.reasons, "leased": self.leased}
        known = {name: age for name, age in ages.items() if age is not None}
        return {PREFIX + name: float(value) for name, value in {**flags, **known}.items()}


def examine(state_dir: str | Path, clock: Callable[[], float] = boot_seconds) -> Readiness:
    """Look at the files of a controller; whatever is missing or damaged there speaks against readiness.

    Args:
        state_dir: of the controller.
        clock: seconds since the host was started.
    """
    found, problem = _status(state_dir)
    now = clock()
    running = bool(found.get("running"))
    completed, beat = _number(found.get("completed_at")), read_number(str(Path(state_dir) / BEAT))
    # What is there of a controller that has ended, or of the host's last start, has no age that means anything.
    age = now - completed if running and completed is not None else None
    silence = now - beat if running and beat is not None else None
    checks = [
        Check("controller", running, problem or f"process {found.get('pid')} {'runs' if running else 'has ended'}"),
        _late("last period", age, STALE_PERIODS * (_number(found.get("period_seconds")) or 1.0)),
        _late("warden", silence, GuardConfig.warden_silence_seconds),
        Check("kill switch", not found.get("killed"), "on" if found.get("killed") else "off"),
        _conditions(found.get("conditions")),
        Check("mode", True, f"{_mode(found)}{', paused' if found.get('paused') else ''}"),
    ]
    return Readiness(checks, found, age, silence, read_lease(str(state_dir)) is not None)


def _mode(status: Mapping[str, Any]) -> str:
    modes = status.get("modes")
    return told(str(status.get("mode")), modes if isinstance(modes, dict) else {})


def _status(state_dir: str | Path) -> tuple[dict[str, Any], str]:
    try:
        return status(state_dir), ""
    except CommandError as error:
        return {}, str(error)


def _late(name: str, age: float | None, most: float) -> Check:
    if age is None:
        return Check(name, False, "none")
    return Check(name, age <= most, f"{age:.1f} s ago, at most {most:g}")


def _conditions(active: Any) -> Check:
    """Those that block, with their detail; the others by name."""
    active = active if isinstance(active, dict) else {}
    blocking = [f"{name} ({str(active[name])[:DETAIL_LENGTH]})" for name in active if name in BLOCKING]
    others = [str(name) for name in active if name not in BLOCKING]
    return Check("conditions", not blocking, "; ".join([*blocking, *others]) or "none")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
