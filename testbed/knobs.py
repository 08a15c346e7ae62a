"""Knobs: the settings of a component that may change while it runs, and who may change them."""

import secrets
import threading
from dataclasses import dataclass
from typing import Any


class KnobError(ValueError):
    """A change of knobs that is not allowed; the message is the answer to the client."""


class VersionError(KnobError):
    """A change by somebody who has not seen the newest one; nothing has changed."""


class FenceError(KnobError):
    """A change by somebody whose right to it has gone to another; nothing has changed."""


@dataclass(frozen=True)
class Knob:
    """One setting, with the range it may take.

    Args:
        name: global name, with its unit where it has one.
        default: value at start.
        low: smallest allowed value.
        high: largest allowed value.
        integer: whether only whole numbers are allowed.
    """

    name: str
    default: float
    low: float
    high: float
    integer: bool = True

    def check(self, value: Any) -> float:
        """The value as this knob's own type.

        Raises:
            KnobError: `value` is not a number, out of range, or has a fraction where none is allowed.
        """
        kind = "an integer" if self.integer else "a number"
        allowed = f"allowed is {kind} from {self.low:g} to {self.high:g}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise KnobError(f"{self.name} was given {_short(value)}; {allowed}")
        # Written so that NaN, for which every comparison is false, is refused too.
        if not self.low <= value <= self.high or (self.integer and value != int(value)):
            raise KnobError(f"{self.name} was given {_short(value)}; {allowed}")
        return int(value) if self.integer else float(value)


class Knobs:
    """The knobs of one component and the values in force, safe to read and change from any thread.

    Attributes:
        version: of the values, `instance-count`: another count after each change, another instance after a restart.
        fence: the highest fencing token that a change came with; 0 before the first.
    """

    def __init__(self, *knobs: Knob) -> None:
        self._knobs = {knob.name: knob for knob in knobs}
        self._values = {knob.name: knob.check(knob.default) for knob in knobs}
        self._lock = threading.Lock()
        self._instance, self._changes = secrets.token_hex(4), 0
        self.version, self.fence = f"{self._instance}-0", 0
        self._set_at = dict.fromkeys(self._knobs, self.version)

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def count(self, name: str) -> int:
        """The value of an integer knob."""
        return int(self._values[name])

    def describe(self) -> dict[str, dict[str, Any]]:
        """Value, range, and version at its last change of every knob, as `GET /knobs` shows them."""
        values, set_at = self._values, self._set_at
        return {
            name: {
                "value": values[name],
                "low": knob.low,
                "high": knob.high,
                "integer": knob.integer,
                "version": set_at[name],
            }
            for name, knob in self._knobs.items()
        }

    def apply(
        self, changes: dict[str, Any], *, expected: str | None = None, fence: int | None = None
    ) -> dict[str, float]:
        """Change all the named knobs, or none; the same values twice are in force as once.

        Args:
            changes: by name.
            expected: the version that they were made for; None for any.
            fence: of who changes them, a number that grows with each that takes over; None asks for no right.

        Returns:
            The values now in force of the knobs that were named.

        Raises:
            KnobError: a name is unknown or a value not allowed. Nothing has changed then.
            FenceError: somebody with a higher token was here.
            VersionError: somebody has changed something since.
        """
        checked = {name: self._known(name).check(value) for name, value in changes.items()}
        with self._lock:
            if fence is not None and fence < self.fence:
                raise FenceError(f"fencing token {fence} is old, {self.fence} was here; take a higher one, or none")
            self.fence = max(self.fence, fence or 0)
            if expected not in (None, self.version):
                raise VersionError(f"the knobs are at version {self.version}, not {_short(expected)}; read them again")
            # One assignment, so that a reader in another thread sees either the old setting or the new one.
            self._values = {**self._values, **checked}
            if checked:
                self._changes += 1
                self.version = f"{self._instance}-{self._changes}"
                self._set_at = {**self._set_at, **dict.fromkeys(checked, self.version)}
        return checked

    def _known(self, name: str) -> Knob:
        if name not in self._knobs:
            known = ", ".join(self._knobs) or "none"
            raise KnobError(f"unknown knob {_short(name)}; the knobs here are: {known}")
        return self._knobs[name]


def _short(value: Any) -> str:
    # A hostile value may be megabytes long, or an integer that Python refuses to print.
    try:
        text = repr(value)
    except ValueError:
        return "an integer of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."
