"""What an operator may exchange while the controller runs: mode, configuration and policies."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from controller import policy_store
from controller.config_file import ConfigFile
from controller.decision import Decision
from controller.loop import Controller
from controller.probation import Probation

if TYPE_CHECKING:
    from controller.policy_source import PolicySource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Operation:
    """Where the controller's configuration and policies come from; None stays as it is at start."""

    config_file: ConfigFile | None = None
    """Watched: what is valid is taken over between two periods."""
    source: PolicySource | None = None
    """Watched: another version is taken over when it is loaded."""
    probation_seconds: float = 60.0
    """So long policies that are new here stay in shadow mode, whatever mode is wanted. Default: sixty answers at a
    period of one second, and an operator who looks at what they propose."""


class Overseer:
    """Takes over what has been exchanged, between two periods.

    Args:
        operation: what to watch.
        controller: that is told; its mode is what the operator wants to begin with.
    """

    def __init__(self, operation: Operation, controller: Controller) -> None:
        self._operation, self._controller = operation, controller
        self.wanted = controller.mode
        """Mode that the operator wants; `shadow` at most is in force while policies are on probation."""
        self._probation = self._probation_of_current()
        self._last: Decision | None = controller.last_decision
        self.take_over()

    def reload(self) -> None:
        """Read the configuration again before the next period, changed or not."""
        if self._operation.config_file is not None:
            self._operation.config_file.ask()

    def take_over(self) -> None:
        """What is new of configuration, policies and mode."""
        self._exchange_configuration()
        self._exchange_policies()
        self._watch_probation()
        self._controller.mode = self._probation.mode(self.wanted)

    def status(self) -> dict[str, Any]:
        """What `control status` shows of it."""
        file, source = self._operation.config_file, self._operation.source
        return {
            "mode_wanted": self.wanted,
            "policies": {role: policy.name for role, policy in self._controller.proposer.policies.items()},
            "policy_version": None if source is None else source.version,
            "probation_periods_left": self._probation.left,
            "probation_failed": self._probation.failed,
            "config_file": None if file is None else str(file.path),
        }

    def _exchange_configuration(self) -> None:
        file, controller = self._operation.config_file, self._controller
        if file is None:
            return
        config = file.poll()
        controller.note("configuration", file.problem)
        if config is not None:
            logger.info("configuration of %s is in force", file.path)
            controller.reconfigure(config)

    def _exchange_policies(self) -> None:
        source = self._operation.source
        if source is None:
            return
        if source.poll():
            self._controller.use(source.policies)
            self._probation, self._last = self._probation_of_current(), self._controller.last_decision
        self._controller.note("policies", source.problem)

    def _watch_probation(self) -> None:
        decision, probation = self._controller.last_decision, self._probation
        was_over = probation.over
        if decision is not None and decision is not self._last:
            self._last = decision
            probation.observe(decision)
        waits = self.wanted.changes and not probation.over
        self._controller.note("probation", "the policies are new here: mode shadow at first" if waits else None)
        if probation.over and not was_over and self._operation.source is not None:
            policy_store.mark_proven(self._operation.source.state_dir, self._operation.source.version)

    def _probation_of_current(self) -> Probation:
        source, period = self._operation.source, self._controller.spec.control_period_seconds
        new = source is not None and not policy_store.is_proven(source.state_dir, source.version)
        return Probation(self._operation.probation_seconds if new else 0.0, period)
