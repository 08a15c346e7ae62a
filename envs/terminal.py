"""The picture of a learning system for a terminal: sparklines and numbers, at most 100 columns by 30 lines."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from envs.panels import PERIODS, Frames, Lane, Panel, overview

if TYPE_CHECKING:
    from envs.task import Task

COLUMNS, LINES = 100, 30
BARS = "▁▂▃▄▅▆▇█"
MISSING = "·"
RED, BOLD, DIM, PLAIN = "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"
HOME, CLEAR_LINE, CLEAR = "\x1b[H", "\x1b[K", "\x1b[J"


class Widths(NamedTuple):
    """Characters of the parts of a lane, which a mark and two spaces make whole."""

    label: int
    cells: int
    reading: int

    @property
    def total(self) -> int:
        """Characters of the whole lane."""
        return sum(self) + 3


LEFT, RIGHT = Widths(16, 13, 18), Widths(22, 12, 12)
"""Of the two columns: with a space between them, they fill a line."""


def text(task: Task, frames: Frames, *, colour: bool = False) -> str:
    """The last periods in `COLUMNS` x `LINES` characters.

    `!` marks an SLO that was broken in the last period, `>` a knob that this task sets.

    Args:
        task: whose spec names what is shown.
        frames: the last periods of one system.
        colour: with ANSI colours.

    Raises:
        ValueError: no period, or arrays that are not the spec's.
    """
    seen = overview(task, frames)
    left = _column([seen.load, seen.latency, seen.levels, seen.waiting, seen.resources], LEFT, colour)
    right = _column([seen.settings, seen.reward], RIGHT, colour)
    title = _styled(f"{seen.title}   {seen.summary}"[:COLUMNS], BOLD, colour)
    body = [f"{a or ' ' * LEFT.total} {b}".rstrip() for a, b in zip_longest(left, right, fillvalue="")]
    return "\n".join([title, *body])


def in_place(drawn: str) -> str:
    """What to print so that a text takes the place of the one before: from the top, clearing what is left of it."""
    return HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in drawn.split("\n")) + CLEAR


def _column(panels: list[Panel], widths: Widths, colour: bool) -> list[str]:
    """Titles and lanes of some panels, as many lines as there is room for."""
    room = LINES - 1 - len(panels)
    lines = []
    for place, panel in enumerate(panels):
        later = sum(len(other.lanes) for other in panels[place + 1 :])
        shown = _most_important(panel.lanes, room - min(later, room // 2))
        room -= len(shown)
        more = f" ({len(panel.lanes) - len(shown)} more)" if len(shown) < len(panel.lanes) else ""
        lines.append(_styled(f" {panel.title.upper()}{more}".ljust(widths.total), DIM, colour))
        lines += [_line(lane, widths, colour) for lane in shown]
    return lines


def _most_important(lanes: list[Lane], room: int) -> list[Lane]:
    """As many lanes as fit, in their order; what this task does not set goes first."""
    last = sorted(range(len(lanes)), key=lambda i: lanes[i].own is False)
    return [lanes[i] for i in sorted(last[: max(room, 0)])]


def _line(lane: Lane, widths: Widths, colour: bool) -> str:
    broken = lane.broken is not None and bool(lane.broken[-1])
    mark = "!" if broken else ">" if lane.own else " "
    bars = sparkline(lane.height, widths.cells)
    content = f"{mark}{_cut(lane.label, widths.label)} {bars} {_cut(lane.reading, widths.reading)}"
    style = RED if broken else DIM if lane.own is False else ""
    return _styled(content, style, colour and style != "")


def sparkline(height: np.ndarray, cells: int) -> str:
    """Heights from 0 to 1 as `cells` bars, the newest at the right; a dot where every reading is missing.

    Args:
        height: (T,); `PERIODS` of them fill the line, fewer leave its left end empty.
        cells: characters.
    """
    padded = np.full(PERIODS + (-PERIODS) % cells, np.nan)
    padded[len(padded) - len(height) :] = height
    per_cell = len(padded) // cells
    empty = (len(padded) - len(height)) // per_cell  # cells that lie before the first period
    marks = []
    for place, cell in enumerate(padded.reshape(cells, per_cell)):
        known = cell[np.isfinite(cell)]
        if len(known):
            marks.append(BARS[min(int(known.mean() * len(BARS)), len(BARS) - 1)])
        else:
            marks.append(" " if place < empty else MISSING)
    return "".join(marks)


def _cut(words: str, width: int) -> str:
    return words.ljust(width) if len(words) <= width else words[: width - 1] + "…"


def _styled(content: str, style: str, colour: bool) -> str:
    return f"{style}{content}{PLAIN}" if colour else content
