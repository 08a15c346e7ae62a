"""Values that were asked for in vain: not asked for again for a growing time, after a restart neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from controller.arbiter import Move
from controller.shield import Reason, Refusal
from envs.scaling import KnobScaling
from envs.spec import SystemSpec

TRIES = 2
"""Periods in a row in which a value is asked for in vain. Two, since some actuators act a period late."""


class Infeasible:
    """What is remembered of each knob: values, until when they are left alone, and how often they failed.

    Args:
        spec: knobs; values nearer to each other than its dead band are one.
        first_seconds: pause after the first failure; doubled by each further one.
        longest_seconds: longest pause.
    """

    STATE = ("known", "_asked")

    def __init__(self, spec: SystemSpec, first_seconds: float, longest_seconds: float) -> None:
        self.spec = spec
        self.known: dict[str, list[list[float]]] = {}
        """Knob -> [value, seconds until which it is left alone, failures]."""
        self._first, self._longest = first_seconds, longest_seconds
        self._scaling = KnobScaling(spec.knobs)
        self._asked: dict[str, list[float]] = {}  # knob -> [value, times in a row]

    def sift(self, moves: Sequence[Move], now: float) -> tuple[list[Move], list[Refusal]]:
        """The moves without what is known not to take force, and why something is left out.

        Args:
            moves: proposed.
            now: seconds on the loop's clock.
        """
        left: list[Move] = []
        refusals: list[Refusal] = []
        for move in moves:
            good = []
            for knob, value in zip(move.knobs, move.values, strict=True):
                entry = self._entry(knob, value)
                if entry is None or entry[1] <= now:
                    good.append((knob, value))
                    continue
                name = self.spec.knobs[knob].name
                detail = f"{name}: {value:g} did not take force; asked again in {entry[1] - now:.0f} s"
                refusals.append(Refusal(Reason.INFEASIBLE, detail))
            if len(good) == len(move.knobs):
                left.append(move)
            elif good:
                knobs, values = zip(*good, strict=True)
                left.append(replace(move, knobs=knobs, values=values))
        return left, refusals

    def read_back(self, before: np.ndarray, wanted: np.ndarray, found: np.ndarray, now: float) -> None:
        """Learn from a change that was attempted on a system that answers.

        A value that was bent is in force as far as it can be; only one that changed nothing is infeasible.

        Args:
            before: (n_knobs,) in force before.
            wanted: (n_knobs,) asked for.
            found: (n_knobs,) in force now.
            now: seconds on the loop's clock.
        """
        for knob, name in enumerate(self.spec.knob_names):
            if not np.isfinite([before[knob], wanted[knob], found[knob]]).all() or wanted[knob] == before[knob]:
                continue
            value = float(wanted[knob])
            if found[knob] != before[knob]:
                self._asked.pop(name, None)
                self._forget(knob, value)
                continue
            last, times = self._asked.get(name, [value, 0.0])
            times = times + 1.0 if self._near(knob, last, value) else 1.0
            self._asked[name] = [value, times]
            if times >= TRIES:
                del self._asked[name]
                self._remember(knob, value, now)

    def entries(self, now: float) -> list[dict[str, float | str]]:
        """What is left alone, with the seconds that are left, for the disk."""
        return [
            {"knob": name, "value": value, "seconds": until - now, "failures": failures}
            for name, known in self.known.items()
            for value, until, failures in known
            if until > now
        ]

    def restore(self, entries: Sequence[Mapping[str, Any]], now: float) -> None:
        """Take over what an earlier controller wrote down; what is not of this spec, or no number, is left out."""
        for entry in entries:
            name, numbers = entry.get("knob"), [entry.get(key) for key in ("value", "seconds", "failures")]
            if name in self.spec.knob_names and all(isinstance(n, int | float) and np.isfinite(n) for n in numbers):
                value, seconds, failures = (float(n) for n in numbers if n is not None)
                self.known.setdefault(str(name), []).append([value, now + min(seconds, self._longest), failures])

    def _remember(self, knob: int, value: float, now: float) -> None:
        entry = self._entry(knob, value)
        if entry is None:
            entry = [value, now, 0.0]
            self.known.setdefault(self.spec.knobs[knob].name, []).append(entry)
        entry[2] += 1.0
        entry[1] = now + min(self._first * 2.0 ** min(entry[2] - 1.0, 60.0), self._longest)

    def _forget(self, knob: int, value: float) -> None:
        entry = self._entry(knob, value)
        if entry is not None:
            self.known[self.spec.knobs[knob].name].remove(entry)

    def _entry(self, knob: int, value: float) -> list[float] | None:
        known = self.known.get(self.spec.knobs[knob].name, [])
        return next((entry for entry in known if self._near(knob, entry[0], value)), None)

    def _near(self, knob: int, one: float, other: float) -> bool:
        low, high = self._scaling.low[knob], self._scaling.high[knob]
        pair = np.tile(self.spec.default_setting, (2, 1))
        pair[:, knob] = np.clip([one, other], low, high)
        scaled = self._scaling.scale(pair)[:, knob]
        return bool(abs(scaled[0] - scaled[1]) < self.spec.dead_band)
