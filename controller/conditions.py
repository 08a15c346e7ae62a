"""Conditions that last: told once when they begin and once when they end, never each period."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


class Conditions:
    """What is wrong at the moment, and since when."""

    def __init__(self) -> None:
        self.active: dict[str, tuple[float, str]] = {}

    def note(self, name: str, detail: str | None, now: float) -> None:
        """Tell whether a condition holds; idempotent.

        Args:
            name: of the condition.
            detail: one line while it holds, None while it does not.
            now: seconds.
        """
        if detail is not None and name not in self.active:
            self.active[name] = (now, detail)
            logger.warning("%s begins: %s", name, detail)
        elif detail is None and name in self.active:
            since, first = self.active.pop(name)
            logger.info("%s is over after %.0f s (%s)", name, now - since, first)
