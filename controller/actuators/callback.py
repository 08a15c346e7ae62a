"""Knobs of the program that the controller itself runs in."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping

from controller.actuators.actuator import ActuatorError, Capability
from controller.components import Component
from controller.revert import Step


class CallbackKnobs:
    """Knobs that are read and set by functions of the same process.

    Nobody can call them when this process has died; but then what they set died with it. A function that hangs holds up
    the loop, and its lease runs out, without anybody to take its values back.

    Args:
        workload: whose knobs.
        read: tells the values in force, by knob.
        apply: sets some of them, all or none; called on the loop's thread. What it raises is told as a refusal.

    >>> settings = {"serving_batch_size": 8.0}
    >>> knobs = CallbackKnobs("serving", settings.copy, settings.update)
    >>> knobs.apply({"serving_batch_size": 16.0})
    {'serving_batch_size': 16.0}
    >>> knobs.undo()
    >>> settings
    {'serving_batch_size': 8.0}
    """

    def __init__(
        self,
        workload: str,
        read: Callable[[], Mapping[str, float]],
        apply: Callable[[Mapping[str, float]], object],
    ) -> None:
        self.workload, self._read, self._apply = workload, read, apply
        self._found = self.read()
        self.knobs: tuple[str, ...] = tuple(self._found)

    def probe(self) -> Capability:
        """Reads."""
        try:
            self.read()
        except ActuatorError as error:
            return Capability(False, True, str(error))
        return Capability(True, True, "function of this process")

    def read(self) -> dict[str, float]:
        """What the reading function tells."""
        values = self._call(self._read)
        if not isinstance(values, Mapping):
            raise ActuatorError(f"{self.workload}: the reading function told {values!r}, not values by knob")
        for knob, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ActuatorError(f"{self.workload}: {value!r} is no number for {knob}")
        return {str(knob): float(value) for knob, value in values.items()}

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Call the setting function, and read back."""
        self._call(lambda: self._apply(dict(values)))
        return self.read()

    def attach(self, component: Component) -> None:
        """Nothing to do: this process has not been restarted, or it would not be asked."""

    def revert_steps(self) -> list[Step]:
        """None: what this process had set ends with it."""
        return []

    def undo(self) -> None:
        """Set what was found at first."""
        with contextlib.suppress(ActuatorError):
            self.apply(self._found)

    def _call(self, function: Callable[[], object]) -> object:
        try:
            return function()
        except Exception as error:  # somebody else's code: whatever it raises is a refusal
            raise ActuatorError(f"{self.workload}: {type(error).__name__}: {error}"[:200].replace("\n", " ")) from None
