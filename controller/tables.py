"""`trimtab control status` and `history` for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from telemetry.options import console

COLOURS = {"keep": "green", "rolled_back": "red", "running": "cyan"}
WIDE = 160
"""Columns where the output is no terminal, so that a file has whole lines."""


def status_lines(status: Mapping[str, Any]) -> list[str]:
    """What a controller says about itself, a line for each thing.

    Args:
        status: as `controller.commands.status` gives it.
    """
    found = []
    for key, value in status.items():
        parts = _parts(value)
        found += [f"{key if number == 0 else '':24} {part}" for number, part in enumerate(parts or ["none"])]
    return found


def _parts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name:38} {f'{item:.6g}' if isinstance(item, float) else item}" for name, item in value.items()]
    if isinstance(value, list):
        return [_waiting(item) if isinstance(item, Mapping) and "knobs" in item else str(item) for item in value]
    return ["" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)]


def _waiting(advice: Mapping[str, Any]) -> str:
    knobs = ", ".join(f"{name} {old:.4g} -> {new:.4g}" for name, (old, new) in advice["knobs"].items())
    left = "approved" if advice["approved"] else f"{advice['expires_in_seconds']:.0f} s left"
    return f"{advice['id']}  {left}  {advice['role']} of {advice['workload']}: {knobs}"


def print_history(changes: Sequence[dict[str, Any]]) -> None:
    """Print changes, the newest last.

    Args:
        changes: as `controller.commands.history` gives them.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    terminal = console()
    if not terminal.is_terminal:
        terminal.width = WIDE
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("at (UTC)", no_wrap=True)
    table.add_column("id", no_wrap=True)
    table.add_column("change", no_wrap=True)
    table.add_column("mode", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("reason")
    for change in changes:
        knobs = "\n".join(f"{name} {old:.4g} -> {new:.4g}" for name, (old, new) in change["knobs"].items())
        outcome = Text(change["outcome"], style=COLOURS.get(change["outcome"], "yellow"))
        gain = "" if change["gain"] is None else f"{change['gain']:+.1%}"
        when = str(change["at"]).partition(".")[0].replace("T", " ")
        table.add_row(when, change["id"], Text(knobs), change["mode"], outcome, gain, Text(change["reason"]))
    if changes:
        terminal.print(table)
    else:
        terminal.print("no change was made yet")
