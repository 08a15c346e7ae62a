"""Writes periods into the journal so that they can be replayed: with what the kernel remembers, where it is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from controller.checkpoint import checkpoint_record
from controller.journal import Journal, JournalError
from controller.kernel import Kernel

AFTER_GAP = "after_gap"
"""Marks a decision before which something could not be written: nothing in the journal leads to it."""


class Recorder:
    """Adds a checkpoint at the start, in each new file, and after a period that could not be written down.

    Args:
        journal: to write to.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._replayable = False  # whether the journal as it stands leads to what the kernel remembers
        self._begun_replayable = False

    @property
    def journal(self) -> Journal:
        """Written to; another one begins with a checkpoint."""
        return self._journal

    @journal.setter
    def journal(self, journal: Journal) -> None:
        self._journal, self._replayable = journal, False

    def begin(self, kernel: Kernel, at: str) -> None:
        """To be called before the kernel decides.

        Args:
            kernel: as it is before the period.
            at: wall clock, ISO 8601.
        """
        if not self._replayable:
            with contextlib.suppress(JournalError):  # the decision will not be written either, and tells it
                self._append(checkpoint_record(kernel, at))
                self._replayable = True
        # Until the period is written down, which an error may prevent, the kernel knows more than the journal.
        self._begun_replayable, self._replayable = self._replayable, False

    def intent(self, record: Mapping[str, Any], *, urgent: bool) -> None:
        """Write down what is about to be changed, and wait for the disk.

        Args:
            record: see `controller.decision`.
            urgent: whether it takes something back; see `Journal.append`.

        Raises:
            JournalError: it cannot be written.
        """
        self._append(record, durable=True, urgent=urgent)

    def decision(self, record: Mapping[str, Any], *, changed: bool) -> None:
        """Write down a period that is over.

        Args:
            record: see `controller.decision`.
            changed: whether another setting is in force.

        Raises:
            JournalError: it cannot be written.
        """
        alone = {} if self._begun_replayable else {AFTER_GAP: True}
        self._append({**record, **alone}, durable=changed, urgent=changed)
        self._replayable = self._begun_replayable

    def _append(self, record: Mapping[str, Any], *, durable: bool = False, urgent: bool = False) -> None:
        if self._journal.append(record, durable=durable, urgent=urgent):
            self._begun_replayable = False  # the file that this period's checkpoint stands in may go
