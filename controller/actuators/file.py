"""Knobs of a component in a JSON or TOML file that it reads again when it changes, or when it gets a signal."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping

from controller import knob_file
from controller.actuators.actuator import ActuatorError, Capability
from controller.components import Component
from controller.knob_file import KnobFileError
from controller.revert import Step
from telemetry.processes import process_start


class FileKnobs:
    """The knobs of one component that stand in one file. The file is there already, with a number for each.

    Whether the component took the values over is not seen here; read back is what the file says.

    Args:
        workload: whose knobs.
        keys: knob -> key in the file; a dot leads into a table.
        component: that gets the signal.
        path: of the file, `.toml` or else JSON.
        reload: name of the signal; empty for none.
    """

    def __init__(self, workload: str, keys: Mapping[str, str], component: Component, path: str, reload: str) -> None:
        self.workload = workload
        self.knobs: tuple[str, ...] = tuple(keys)
        self._keys, self._component, self._path = dict(keys), component, path
        self._signal = int(signal.Signals[reload]) if reload else 0
        self._found: tuple[str, dict[str, float]] | None = None

    def probe(self) -> Capability:
        """Reads, and looks whether the file can be replaced."""
        try:
            self.read()
            if not os.access(os.path.dirname(os.path.abspath(self._path)), os.W_OK):
                raise ActuatorError(f"{self._path}: a new file cannot be made in its folder")
            if self._signal and self._component.pid:
                os.kill(self._component.pid, 0)
        except (ActuatorError, OSError) as error:
            return Capability(False, False, str(error))
        way = f"and {signal.Signals(self._signal).name}" if self._signal else "which the component looks at"
        return Capability(True, False, f"file {self._path}, {way}")

    def read(self) -> dict[str, float]:
        """What the file says."""
        try:
            values = knob_file.numbers(self._path, list(self._keys.values()))
        except KnobFileError as error:
            raise ActuatorError(str(error)) from None
        return {knob: values[key] for knob, key in self._keys.items()}

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Replace the file as a whole, and send the signal; nothing where the values stand there already."""
        try:
            text = knob_file.read(self._path)
            self._remember(text)
            new = knob_file.changed(self._path, text, {self._keys[knob]: value for knob, value in values.items()})
            if knob_file.parse(self._path, new) != knob_file.parse(self._path, text):
                knob_file.replace(self._path, new)
                self._tell()
        except KnobFileError as error:
            raise ActuatorError(str(error)) from None
        return self.read()

    def attach(self, component: Component) -> None:
        """Send signals to another process from now on; it has read the file when it started."""
        self._component = component

    def revert_steps(self) -> list[Step]:
        """Puts our keys back; byte for byte what was found, where nobody else has changed the file."""
        try:
            text, values = self._remember(knob_file.read(self._path))
        except KnobFileError as error:
            raise ActuatorError(str(error)) from None
        process = {"pid": self._component.pid, "start": self._component.start, "signal": self._signal}
        return [{"kind": "knobs", "path": os.path.abspath(self._path), "text": text, "values": values, **process}]

    def undo(self) -> None:
        """Put our keys back."""
        if self._found is None:
            return
        with contextlib.suppress(KnobFileError):  # it is gone, or is no longer a file of knobs
            if knob_file.restore(self._path, *self._found):
                self._tell()

    def _remember(self, text: str) -> tuple[str, dict[str, float]]:
        if self._found is None:
            self._found = text, knob_file.numbers(self._path, list(self._keys.values()))
        return self._found

    def _tell(self) -> None:
        component = self._component
        if self._signal and component.pid and process_start(component.pid) == component.start:
            with contextlib.suppress(OSError):  # it ended; its successor reads the file
                os.kill(component.pid, self._signal)
