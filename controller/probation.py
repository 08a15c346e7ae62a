"""A policy that is new here first shows in shadow mode that it answers, period after period."""

from __future__ import annotations

import math

from controller.decision import Decision, Mode
from controller.shield import Reason

FAILURES = frozenset({Reason.FALLBACK, Reason.NO_PROPOSAL, Reason.MALFORMED, Reason.NOT_FINITE})
"""What no usable policy causes. Steps that are too long and the like are left out: the shield has them daily."""


class Probation:
    """Counts complete periods in which the policies were asked and all of them answered with something usable.

    Args:
        seconds: so much of that is needed without a failure in between; 0 for none.
        period_seconds: of one control period.
    """

    def __init__(self, seconds: float, period_seconds: float) -> None:
        self.left = math.ceil(seconds / period_seconds)
        """Complete periods that are still needed."""
        self._needed = self.left
        self.failed = ""
        """What the newest failure was; empty without one."""

    @property
    def over(self) -> bool:
        """Whether the policies may act."""
        return self.left <= 0

    def observe(self, decision: Decision) -> None:
        """Count a period; a failure begins the count anew.

        One with missing readings says nothing, nor one in which a policy was not asked since it knows no such period.
        """
        strange = any(refusal.reason is Reason.OUT_OF_DISTRIBUTION for refusal in decision.reasons)
        if self.over or strange or not decision.complete or not decision.proposals:
            return
        failures = [str(refusal) for refusal in decision.reasons if refusal.reason in FAILURES]
        if failures:
            self.left, self.failed = self._needed, failures[0]
        else:
            self.left -= 1

    def mode(self, wanted: Mode) -> Mode:
        """What is in force of a mode that is wanted: no more than `shadow` until it is over."""
        return Mode.SHADOW if wanted.changes and not self.over else wanted
