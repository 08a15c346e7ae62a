"""What stands in for an actuator where none works."""

from __future__ import annotations

from collections.abc import Mapping

from controller.actuators.actuator import Capability
from controller.components import Component
from controller.revert import Step
from envs.spec import Knob

LIMITS = (
    "cpu", "processors", "memory", "storage", "storage_operations", "processes", "network", "network_share", "rlimit",
)  # fmt: skip


class Absent:
    """Stands where nothing works for a knob: the workload keeps what it has, and `setting` says so.

    Args:
        knob: without a limit it counts as its upper end, anything else as its default.
        reason: why nothing is tried; empty where everything was.
    """

    def __init__(self, knob: Knob, reason: str = "") -> None:
        self._reason = reason
        self.workload = str(knob.workload)
        self.knobs: tuple[str, ...] = (knob.name,)
        self._name = knob.actuator
        self.is_cpu = knob.actuator in ("cpu", "cpu_weight")
        self._value = knob.high if knob.actuator in LIMITS else knob.default

    def probe(self) -> Capability:
        """Always off."""
        if self._reason:
            return Capability(False, False, self._reason)
        if self._name == "host":
            return Capability(False, False, "actuator 'host' is for simulated hosts")
        if self._name == "callback":
            return Capability(False, False, "no function was given for it (see CallbackKnobs)")
        return Capability(False, False, f"nothing works here for actuator {self._name!r}")

    def read(self) -> dict[str, float]:
        """What a workload has that nobody holds."""
        return {self.knobs[0]: self._value}

    def apply(self, values: Mapping[str, float]) -> dict[str, float]:
        """Changes nothing."""
        return self.read()

    def attach(self, component: Component) -> None:
        """Nothing to do."""

    def revert_steps(self) -> list[Step]:
        """Nothing to do."""
        return []

    def undo(self) -> None:
        """Nothing to do."""
