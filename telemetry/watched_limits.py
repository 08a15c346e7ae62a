"""Over which level a watched series has an issue: as given, as its SLO says, or what is unusual for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import numpy as np

from telemetry.watched import Watched, is_named

LIMIT_QUANTILE = 0.98


class LimitError(ValueError):
    """Limits of series that are not there; one line."""


class Limits:
    """Limits by series.

    Args:
        given: by full name.
        slos: by name, full or without labels: the bound, and whether low readings break it.
    """

    def __init__(self, given: Mapping[str, float], slos: Mapping[str, tuple[float, bool]] | None = None) -> None:
        self._given, self._slos = dict(given), dict(slos or {})

    @property
    def mirrored(self) -> set[str]:
        """Names of the series whose low readings are the issue, also where another limit is given."""
        return {name for name, (_, low) in self._slos.items() if low}

    def of(self, one: Watched) -> float:
        """The limit of a series, negated where it is mirrored; without one, what 98 % of its own hours stay below."""
        sign = -1.0 if one.mirrored else 1.0
        if one.name in self._given:
            return sign * self._given[one.name]
        for name, (bound, _) in self._slos.items():
            if is_named(one.name, (name,)):
                return sign * bound
        return float(np.nanquantile(one.levels, LIMIT_QUANTILE))

    def check(self, series: Iterable[str]) -> None:
        """Whether they fit what is watched.

        Raises:
            LimitError: a limit of a series that is not there, or SLOs of which none is.
        """
        known = list(series)
        for name in self._given:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise LimitError(f"limit of {name}: no such series here{hint}")
        if self._slos and not any(is_named(name, self._slos) for name in known):
            raise LimitError(
                f"the spec has SLOs on {', '.join(sorted(self._slos))}, and none of them is among the "
                f"{len(known)} series here; watch their components (`trimtab monitor`), or leave the spec out"
            )
