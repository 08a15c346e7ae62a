"""Budgets on disk: a controller that is started again, or crashes again and again, goes on with what is left of them.

Reversals of knobs, pauses after rollbacks, rollbacks of the last hour: whatever a part of the kernel names in
`BUDGETS`. Their times are of the loop's clock, which begins anew with the host.

- No file: nothing was ever changed from here, and budgets are full. It is written before the first change.
- Another start of the host, another spec, a damaged file: nobody knows what is left, so that budgets begin spent, and
  refill as ever. The other way round, whatever damages the file would give the right to flap on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from controller.checkpoint import budgets, recall_budgets
from controller.commands import write_atomically
from controller.kernel import Kernel
from controller.period import array_of, numbers
from telemetry.processes import boot_id

logger = logging.getLogger(__name__)

BUDGETS = "budgets.json"


class BudgetFile:
    """A file in the state directory; what it holds is put into the kernel at once, before the first period.

    What was set when the file was last written, and is not in force any more, was taken back meanwhile, by the warden
    or at the end of the controller: that is a reversal, and charged. Else a crash would give back what the next
    controller may do again.

    Args:
        directory: of the state.
        kernel: that has not decided yet.
        clock: seconds since the host was started.
        boot: tells one start of the host from another.
    """

    def __init__(
        self, directory: Path, kernel: Kernel, clock: Callable[[], float], boot: Callable[[], str] = boot_id
    ) -> None:
        self._path, self._kernel, self._clock, self._boot = directory / BUDGETS, kernel, clock, boot()
        self._written: dict[str, Any] = {}
        self._load()

    def announce(self, before: np.ndarray, wanted: np.ndarray) -> None:
        """Write down what is about to be set, so that it is charged even if nobody lives to count it.

        Args:
            before: (n_knobs,) in force.
            wanted: (n_knobs,) that is about to be.
        """
        self._write([before, wanted])

    def save(self, setting: np.ndarray) -> None:
        """Write what is new after a period; `setting`, (n_knobs,), is in force, and counted by the kernel."""
        self._write([setting])

    def _write(self, settings: Sequence[np.ndarray]) -> None:
        """A disk that is full costs the memory of it, not the loop: without a journal nothing new is changed then."""
        content = {
            "boot": self._boot,
            "fingerprint": self._kernel.spec.fingerprint,
            "settings": [numbers(setting) for setting in settings],
            "memory": budgets(self._kernel),
        }
        if content == self._written:
            return
        text = json.dumps({"sha256": _hash(content), "content": content}, allow_nan=False)
        try:
            write_atomically(self._path, text)
            self._written = content
        except OSError as error:
            logger.debug("cannot write %s: %s", self._path, error)

    def _load(self) -> None:
        try:
            content = _content(self._path.read_bytes())
            if (content["boot"], content["fingerprint"]) != (self._boot, self._kernel.spec.fingerprint):
                raise ValueError("of another start of the host, or of another spec")
            recall_budgets(self._kernel, content["memory"])
            settings = [*map(array_of, content["settings"]), self._kernel.found]
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            logger.warning("budgets begin spent, and refill with time: %s: %s", self._path, error)
            self._kernel.spend(self._clock())
            return
        for before, after in itertools.pairwise(settings):
            self._kernel.shield.applied(before, after, self._clock())


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _content(text: bytes) -> dict[str, Any]:
    """What a file holds.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: it is damaged.
    """
    whole = json.loads(text)
    if whole["sha256"] != _hash(whole["content"]):
        raise ValueError("it was not written by a controller")
    content: dict[str, Any] = whole["content"]
    return content
