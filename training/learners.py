"""Trainings as independent learner processes of one machine: results are files, one that dies costs no other.

Nothing in a training's hot loop crosses a process; a learner only sends its progress.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from agents.progress import Progress

SINGLE_THREADED = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclass(frozen=True)
class Learner:
    """One training that can run in any process."""

    train: Callable[[Progress | None], dict[str, Any]]
    """Picklable; returns a JSON-able result."""
    folder: Path
    """Where `result.json` goes, or `error.txt` with the traceback."""

    @property
    def result_file(self) -> Path:
        """What it leaves when it is done."""
        return self.folder / "result.json"

    def write(self, result: Mapping[str, Any]) -> None:
        """Leave it."""
        write_json(self.result_file, result)

    def result(self) -> dict[str, Any]:
        """What it left."""
        return dict(json.loads(self.result_file.read_text()))


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file, and its folder, so that it is there whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, file)


Failures = dict[str, str]
"""Learner -> why it has no result, one line."""


def run_learners(learners: Mapping[str, Learner], on_progress: Progress | None = None, *, jobs: int = 0) -> Failures:
    """Run all of them, `jobs` at a time, each in a fresh single-threaded process; with 0 one after the other in this.

    A learner that raises or is killed is reported, the others go on. In this process, where a crash could not be
    survived, errors are raised. A process that is left behind by the death of this one ends with its next report.

    Args:
        learners: by name.
        on_progress: called with what all have done of what all have to do, in the learners' own counts.
        jobs: processes at a time.
    """
    shares = _Shares(list(learners), on_progress)
    if jobs == 0:
        for name, learner in learners.items():
            learner.write(learner.train(shares.of(name)))
        return {}
    waiting, running, failures = list(learners), dict[str, _Running](), Failures()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                running[name] = _Running.start(name, learners[name])
            for name in _wait(running, shares):
                reason = running.pop(name).reason()
                shares.done(name)
                if reason:
                    failures[name] = reason
    finally:
        for left in running.values():  # Ctrl-C
            left.process.terminate()
            left.process.join()
    return failures


@dataclass
class _Running:
    learner: Learner
    process: BaseProcess
    reports: Connection

    @classmethod
    def start(cls, name: str, learner: Learner) -> _Running:
        context = get_context("spawn")  # a fork would share torch's threads and the parent's memory
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_learn, args=(learner, sender), name=name, daemon=True)
        with _environment(SINGLE_THREADED):
            process.start()
        sender.close()  # ours; so that the end of the process is the end of the pipe
        return cls(learner, process, receiver)

    def reason(self) -> str:
        """Why it failed, empty if it did not; waits for its end."""
        self.process.join()
        self.reports.close()
        code = self.process.exitcode
        if code == 0:
            return ""
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        error = self.learner.folder / "error.txt"
        last = error.read_text().strip().splitlines()[-1:] if error.is_file() else []
        return f"{''.join(last) or f'ended with status {code}'} (see {error})"


def _wait(running: dict[str, _Running], shares: _Shares) -> list[str]:
    """Pass reports on until a learner has ended; the names of those that have."""
    while True:
        ready, ended = connection.wait([one.reports for one in running.values()]), []
        for name, one in running.items():
            if one.reports not in ready:
                continue
            try:
                shares.of(name)(*one.reports.recv())
            except (EOFError, OSError):  # the second, of one killed in the middle of a report
                ended.append(name)
        if ended:
            return ended


def _learn(learner: Learner, reports: Connection) -> None:
    """The life of a learner process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    learner.folder.mkdir(parents=True, exist_ok=True)
    error = learner.folder / "error.txt"
    error.unlink(missing_ok=True)
    learner.result_file.unlink(missing_ok=True)
    try:
        learner.write(learner.train(lambda done, total, message: reports.send((done, total, message))))
    except Exception:  # whatever it is, it goes to the parent's report; the process is at its end
        error.write_text(traceback.format_exc())
        sys.exit(1)


class _Shares:
    """The learners' progress as one; those that have not said how much they have to do count as the others."""

    def __init__(self, names: list[str], on_progress: Progress | None) -> None:
        self._on_progress = on_progress
        self._done: dict[str, tuple[int, int]] = {}
        self._count = len(names)

    def of(self, name: str) -> Progress:
        """Where one of them reports."""

        def report(done: int, total: int, message: str) -> None:
            self._done[name] = (done, total)
            self._report(f"{name}: {message}")

        return report

    def done(self, name: str) -> None:
        """It has ended, well or not: nothing of it is left to do."""
        if name in self._done:
            self._done[name] = (self._done[name][1],) * 2
            self._report(f"{name}: ended")

    def _report(self, message: str) -> None:
        if self._on_progress:
            total = max(total for _, total in self._done.values())
            self._on_progress(sum(done for done, _ in self._done.values()), self._count * total, message)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that a child started meanwhile has."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
