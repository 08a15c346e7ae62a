"""What is known to be infeasible, on disk: a controller that is started again does not try it all anew."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from controller.commands import write_atomically
from controller.infeasible import Infeasible

logger = logging.getLogger(__name__)

INFEASIBLE = "infeasible.json"


class InfeasibleFile:
    """A file in the state directory. Its times are of the wall clock, since the loop's begins anew with the host.

    Args:
        directory: of the state.
        infeasible: of the controller; what the file holds is put into it at once.
        clock: seconds, of the loop.
        wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        directory: Path,
        infeasible: Infeasible,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._infeasible = directory / INFEASIBLE, infeasible
        self._clock, self._wall_clock = clock, wall_clock
        self._load()
        self._written = self._state()

    def save(self) -> None:
        """Write what is new; a disk that is full costs the memory of it, not the loop."""
        state = self._state()
        if state == self._written:
            return
        wall = self._wall_clock()
        entries = [
            {"knob": e["knob"], "value": e["value"], "until": wall + float(e["seconds"]), "failures": e["failures"]}
            for e in self._infeasible.entries(self._clock())
        ]
        try:
            write_atomically(self._path, json.dumps(entries, allow_nan=False))
            self._written = state
        except OSError as error:
            logger.debug("cannot write %s: %s", self._path, error)

    def _load(self) -> None:
        try:
            entries = json.loads(self._path.read_text())
            wall = self._wall_clock()
            left = [{**entry, "seconds": entry["until"] - wall} for entry in entries if entry["until"] > wall]
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning("cannot use %s, begin without it: %s", self._path, error)
            return
        self._infeasible.restore(left, self._clock())

    def _state(self) -> str:
        return json.dumps(self._infeasible.known)
