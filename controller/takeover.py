"""The switch to the fallback, where a workload stays out of its SLO for lack of CPU: the policy had its reaction time.

What `controller.recoverability` reckons with, a fallback that raises grants, is so only if the fallback is asked: the
other half of the Simplex architecture. Off by default, see `takeover_seconds`. It stands outside of the kernel, since
proposals are in the journal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.recoverability import RecoverabilityConfig


class Takeover:
    """Says when the fallback hands out the CPU.

    Args:
        config: how long.
        reaction_periods: in a row in which a workload is starved, before.
    """

    def __init__(self, config: RecoverabilityConfig, reaction_periods: int) -> None:
        self.configure(config, reaction_periods)
        self._starved = 0  # periods in a row
        self._seconds = config.takeover_seconds
        self._until = -np.inf

    def configure(self, config: RecoverabilityConfig, reaction_periods: int) -> None:
        """Other times from now on."""
        self._config, self._reaction = config, reaction_periods

    def reason(self, starved: Sequence[str], now: float) -> str:
        """Why the fallback hands out the CPU in this period; empty if the policy does. To be asked once a period.

        Args:
            starved: workloads that were out of their SLOs and short of CPU.
            now: seconds on the loop's clock.
        """
        config = self._config
        if not (config.enabled and config.takeover_seconds):
            self._until = -np.inf
            return ""
        self._starved = self._starved + 1 if starved else 0
        if now >= self._until and self._starved >= self._reaction:
            again = now < self._until + config.longest_takeover_seconds
            self._seconds = 2.0 * self._seconds if again else config.takeover_seconds
            self._seconds = min(self._seconds, config.longest_takeover_seconds)
            self._until = now + self._seconds
        if now >= self._until:
            return ""
        return f"a workload was short of CPU and out of its SLO; the policy has its turn in {self._until - now:.0f} s"
