"""What the warden took back, told in the journal too.

The warden writes to a file of its own (`reverted.jsonl`): the journal has one writer, or its chain would fork, and the
warden has to act when the journal's disk is full. The next controller, or the same one when it wakes, copies it over.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from controller.journal import Journal, JournalError
from controller.lease import REVERTED, read_number, write_in_place

TOLD = "reverted.told"
"""Holds how many bytes of the warden's file stand in the journal."""


class Reverts:
    """Copies what was taken back into the journal, each once; twice if the controller is killed in between.

    Args:
        directory: the controller's state directory.
    """

    def __init__(self, directory: str | Path) -> None:
        self._path, self._told_path = os.path.join(directory, REVERTED), os.path.join(directory, TOLD)
        self._told = int(read_number(self._told_path) or 0)

    def tell(self, journal: Journal) -> None:
        """Copy what is new; cheap when nothing is. What cannot be written now is tried again with the next call."""
        try:
            size = os.stat(self._path).st_size
            if size == self._told:
                return
            with open(self._path, "rb") as file:
                file.seek(self._told if self._told < size else 0)  # a shorter file is another one
                self._told = file.tell()
                lines = file.read().splitlines(keepends=True)
        except OSError:
            return
        with contextlib.suppress(JournalError, OSError):
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # just being written
                journal.append({**_note(line), "kind": "reverted"}, durable=True)
                self._told += len(line)
                write_in_place(self._told_path, self._told)


def _note(line: bytes) -> dict[str, object]:
    try:
        note = json.loads(line)
    except ValueError:
        note = None
    return note if isinstance(note, dict) else {"unreadable": line.decode(errors="replace").strip()}
