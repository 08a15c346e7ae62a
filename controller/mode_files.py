"""The files `mode` and `mode.WORKLOAD` of the state directory: what operators want, and what a mode fell to."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from controller.commands import MODE, mode_file, write_atomically
from controller.decision import Mode
from controller.loop import Controller
from controller.operation import Overseer

logger = logging.getLogger(__name__)

SYSTEM = ""
"""Stands for the system among the names of workloads."""


class ModeFiles:
    """Takes over what the files say, and writes down what a mode fell to, so that it does not rise by a restart.

    Args:
        directory: of the state.
        controller: whose modes of workloads are set.
        overseer: of the system's mode.
    """

    def __init__(self, directory: Path, controller: Controller, overseer: Overseer) -> None:
        self._controller, self._overseer = controller, overseer
        self._paths = {SYSTEM: directory / MODE}
        self._paths |= {str(name): mode_file(directory, name) for name in controller.spec.workloads}
        self._texts = dict.fromkeys(self._paths, "")
        self._obeyed: dict[str, Mode] = {}
        self._unwritten: dict[str, Mode] = {}

    def obey(self) -> None:
        """Once per period. What cannot be understood is logged once and left aside; a file that is gone says nothing.

        A file is heeded when its content changes: else a mode that fell would rise again while it cannot be written.
        """
        self._write_falls()
        for name, path in self._paths.items():
            text = self._text(path, self._texts[name])
            if text == self._texts[name]:
                continue
            self._texts[name] = text
            if text not in list(Mode):
                logger.warning("mode file %s says %r; allowed are %s", path.name, text[:40], ", ".join(Mode))
                continue
            self._unwritten.pop(name, None)
            self._set(name, Mode(text))

    def _set(self, name: str, mode: Mode) -> None:
        if name == SYSTEM:
            self._overseer.wanted = mode
        else:
            self._controller.modes[name] = self._obeyed[name] = mode

    def _write_falls(self) -> None:
        controller = self._controller
        if controller.demoted:
            controller.demoted = ""
            fallen = {name: mode for name, mode in controller.modes.items() if mode is not self._obeyed.get(name)}
            if controller.mode is not self._overseer.wanted:
                fallen[SYSTEM] = controller.mode
            for name, mode in fallen.items():
                self._set(name, mode)
            self._unwritten |= fallen
        for name, mode in list(self._unwritten.items()):
            with suppress(OSError):  # a full disk: tried again
                write_atomically(self._paths[name], mode)
                del self._unwritten[name]

    @staticmethod
    def _text(path: Path, former: str) -> str:
        try:
            return path.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return former
