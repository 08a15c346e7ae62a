"""Replays a journal: the same inputs must lead a fresh kernel to the same decisions, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller import checkpoint
from controller.chain import Chain, check
from controller.commands import JOURNAL, CommandError
from controller.decision import decision_record
from controller.journal import Journal, plain
from controller.kernel import Kernel
from controller.period import Effect, Inputs, decision_of
from controller.recorder import AFTER_GAP

TOLD_ONLY = ("at", "stage_seconds", "inputs", "effect")
"""Parts of a decision's record that no kernel decides."""


@dataclass
class Replay:
    """What replaying a journal showed.

    Attributes:
        periods: that were decided again, and equally.
        segments: stretches of periods that begin with a checkpoint and follow each other without a gap.
        checkpoints: within segments, equal to what the kernel remembered there.
        before: periods that nothing can be said about: before the oldest checkpoint, or after what a full disk kept out
            and before the next one.
        unwritten: periods that the journal lacks before a checkpoint: the disk was full, or the period failed.
        problem: the first difference, one line; empty if there is none.
    """

    periods: int = 0
    segments: int = 0
    checkpoints: int = 0
    before: int = 0
    unwritten: int = 0
    problem: str = ""


def audit(state_dir: str | Path) -> tuple[Chain, Replay]:
    """Whether the journal's lines follow each other, and whether its decisions follow from their inputs.

    Raises:
        CommandError: there is no journal.
    """
    path = Path(state_dir) / JOURNAL
    if not path.exists():
        raise CommandError(f"no journal {str(path)!r}; it is begun when the controller is started")
    return check(path), replay(Journal.records(path))


def replay(records: Iterable[Mapping[str, Any]]) -> Replay:
    """Decide again what a journal says was decided; stops at the first difference.

    Args:
        records: of a journal, oldest first, as `Journal.records` gives them.
    """
    found, kernel = Replay(), None
    for record in records:
        try:
            if record.get("kind") == checkpoint.KIND:
                kernel = _at_checkpoint(found, kernel, record)
            elif record.get("kind") == "decision" and kernel is not None and not record.get(AFTER_GAP):
                found.problem = _difference(kernel, record)
                found.periods += not found.problem
            else:
                found.before += record.get("kind") == "decision"
        except (KeyError, ValueError, TypeError) as error:
            found.problem = f"the record of {record.get('at')} cannot be understood: {type(error).__name__}: {error}"
        if found.problem:
            break
    return found


def _at_checkpoint(found: Replay, kernel: Kernel | None, record: Mapping[str, Any]) -> Kernel:
    """The kernel to go on with; compares the one until now with the checkpoint, where it should have got there."""
    period = record["period"]
    goes_on = kernel is not None and kernel.run_id == record["run"] and 0 < kernel.period <= period
    if kernel is None or not goes_on or kernel.period < period:
        found.segments += 1
        found.unwritten += period - kernel.period if kernel is not None and goes_on else 0
        return checkpoint.kernel_of(record)
    found.checkpoints += 1
    for part, remembered in checkpoint.memory(kernel).items():
        for name, value in remembered.items() if part in record["memory"] or part not in checkpoint.YOUNGER else ():
            if _text(value) != _text(record["memory"][part][name]):
                found.problem = f"checkpoint after period {kernel.period}: {part} {name.strip('_')} differs"
    return kernel


def _difference(kernel: Kernel, record: Mapping[str, Any]) -> str:
    """Where the period decided again differs from the one in the journal, in one line; empty if nowhere."""
    if record["period"] != kernel.period + 1:
        return f"after period {kernel.period} comes period {record['period']}: records are missing"
    inputs, effect = Inputs.of(record["inputs"]), Effect.of(record["effect"])
    plan = kernel.decide(inputs)
    decision = decision_of(plan, effect, kernel.applied(plan, effect), record["at"], kernel.period)
    again = plain(decision_record(kernel.spec, decision))
    for name in [name for name in again if name not in TOLD_ONLY]:
        written, now = _text(record[name]), _text(again[name])
        if written != now:
            return f"period {kernel.period} ({record['at']}): {name} was {written[:200]}, replayed it is {now[:200]}"
    return ""


def _text(value: Any) -> str:
    return json.dumps(value)
