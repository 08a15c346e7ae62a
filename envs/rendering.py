"""A picture of a learning system: load, latency against its SLO, settings, utilisation. All of matplotlib is here.

The same for a terminal is in `envs.terminal`; what either shows, in `envs.panels`.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.panels import PERIODS, Frames, Lane, Overview, Panel, overview
from envs.terminal import in_place, text
from envs.units import number, quantity

if TYPE_CHECKING:
    from envs.task import Task

__all__ = ["Frames", "picture", "show", "text"]

WIDTH, HEIGHT, DPI = 1280, 800, 100
INK, MUTED, FAINT, BAD = "#1c2733", "#808995", "#dfe3e8", "#c0392b"
COLOURS = {"serving": "#2f6fb3", "training": "#d9822b", "ingest": "#0b8a7d", "": "#5b6675"}
"""Of the workloads, and of what belongs to none."""
OTHERS, FADED = ("#1c2733", "#7a4fb0", "#808995"), "#a9b2bd"
"""Of curves that belong to no workload, in turn; of what this task does not set."""
SHADE = 0.18
"""Opacity of areas: of a shortfall, of what is used, of broken SLOs."""
TICKS = np.outer(10.0 ** np.arange(-6, 7), [1.0, 3.0]).ravel()
"""Where a logarithmic axis may have its labels."""


def picture(task: Task, frames: Frames) -> np.ndarray:
    """The last periods of one system, (HEIGHT, WIDTH, 3) uint8.

    Args:
        task: whose spec names what is shown.
        frames: at least one period; the last `PERIODS` are drawn.

    Raises:
        ValueError: no period, or arrays that are not the spec's.
    """
    seen = overview(task, frames)
    if task not in _PICTURES:
        _PICTURES[task] = _Picture(seen)
    return _PICTURES[task].drawn(seen)


def show(drawn: str) -> None:
    """Print a text in the place of the one before."""
    sys.stdout.write(in_place(drawn))
    sys.stdout.flush()


class _Picture:
    """A figure whose words and axes are made and, where they never change, drawn once: text takes most of the time."""

    LEFT = (0.045, 0.350)
    """Left edge and width of the three curves, as shares of the figure."""
    ROWS = ((0.658, 0.228), (0.353, 0.228), (0.048, 0.228))
    """Bottom and height of load, latency and reward."""
    LANES, SETTINGS = (0.422, 0.285), (0.733, 0.255)
    """Left edge and width of the columns."""

    def __init__(self, seen: Overview) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)
        self.figure.text(0.012, 0.965, seen.title, fontsize=14, fontweight="bold", color=INK, va="center")
        self.summary = self.figure.text(
            0.988, 0.965, "", fontsize=10, color=INK, va="center", ha="right", animated=True
        )
        load, latency, reward = (self.figure.add_axes((self.LEFT[0], y, self.LEFT[1], h)) for y, h in self.ROWS)
        self.curves = [
            _Curves(load, seen.load, seen.period_seconds),
            _Curves(latency, seen.latency, seen.period_seconds, deadline=True),
            _Curves(reward, seen.reward, seen.period_seconds),
        ]
        lanes, settings = (self.figure.add_axes((x, 0.01, w, 0.94)) for x, w in (self.LANES, self.SETTINGS))
        self.columns = [
            _Column(lanes, [seen.levels, seen.waiting, seen.resources], (0.38, 0.66)),
            _Column(settings, [seen.settings], (0.53, 0.755)),
        ]
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(self.figure.bbox)

    def drawn(self, seen: Overview) -> np.ndarray:
        """(HEIGHT, WIDTH, 3) uint8."""
        self.summary.set_text(seen.summary)
        moving = [self.summary]
        for curves, panel in zip(self.curves, (seen.load, seen.latency, seen.reward), strict=True):
            moving += curves.show(panel)
        shown = ((seen.levels, seen.waiting, seen.resources), (seen.settings,))
        for column, panels in zip(self.columns, shown, strict=True):
            moving += column.show([lane for panel in panels for lane in panel.lanes])
        self.canvas.restore_region(self.background)
        for artist in moving:
            self.figure.draw_artist(artist)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


_PICTURES: weakref.WeakKeyDictionary[Task, _Picture] = weakref.WeakKeyDictionary()
"""A figure per task, as long as the task lives. What it shows depends on the frames alone."""


class _Curves:
    """Axes with the lanes of one panel as curves, in natural units over the seconds before now."""

    def __init__(self, axes: Any, panel: Panel, period_seconds: float, *, deadline: bool = False) -> None:
        from matplotlib.collections import PolyCollection

        self.axes, self.period, self.deadline = axes, period_seconds, deadline
        axes.set_xlim(-(PERIODS - 1) * period_seconds, 0.0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(MUTED)
        axes.tick_params(labelsize=8, colors=MUTED, length=3)
        axes.grid(axis="y", color=FAINT, lw=0.6)
        axes.set_xticks(np.linspace(-(PERIODS // 30) * 30 * period_seconds, 0, PERIODS // 30 + 1))
        axes.tick_params(labelbottom=axes.get_position().y0 < 0.1)  # the lowest one's words serve all
        axes.xaxis.set_major_formatter(lambda x, _: "now" if x == 0 else f"{number(x)} s")
        box = axes.get_position()
        axes.figure.text(box.x0, box.y1 + 0.036, panel.title, fontsize=10, fontweight="bold", color=INK)
        axes.set_animated(True)
        shades = _shades(panel, deadline)
        self.areas, self.words, self.lines, self.limits = [], [], [], []
        for i, shade in enumerate(shades):
            self.areas.append(axes.add_collection(PolyCollection([], facecolor=shade, alpha=SHADE, lw=0)))
            self.limits += axes.plot([], [], color=BAD if deadline else shade, lw=1.0, ls="--")
            self.lines += axes.plot([], [], color=shade, lw=1.5)
            at = i / len(panel.lanes)
            self.words.append(axes.text(at, 1.05, "", color=shade, fontsize=8.5, transform=axes.transAxes, va="bottom"))
        broken = PolyCollection([], facecolor=BAD, alpha=SHADE, lw=0, transform=axes.get_xaxis_transform(), zorder=0)
        self.broken = axes.add_collection(broken, autolim=False)

    def show(self, panel: Panel) -> list[Any]:
        """Take these lanes; returns what is to be drawn."""
        if not panel.lanes:
            return [self.axes]
        x = np.arange(1 - len(panel.lanes[0].values), 1) * self.period
        for lane, line, limit, area, words in zip(
            panel.lanes, self.lines, self.limits, self.areas, self.words, strict=True
        ):
            line.set_data(x, lane.values)
            words.set_text(f"{lane.label}  {lane.reading}")
            if lane.limit is not None:
                limit.set_data(x, lane.limit)
                area.set_verts([] if self.deadline else _between(x, lane.values, lane.limit))
        self._scale(panel.lanes)
        self.broken.set_verts(_boxes(x, panel.lanes[0].broken, 0.0, 1.0))
        return [self.axes]

    def _scale(self, lanes: Sequence[Lane]) -> None:
        parts = [part for lane in lanes for part in (lane.values, lane.limit) if part is not None]
        seen = np.concatenate(parts)
        seen = seen[np.isfinite(seen)]
        if not self.deadline:
            high = float(np.max(seen, initial=1e-3))
            low = float(np.min(seen, initial=0.0))
            self.axes.set_ylim(1.08 * low, 1.08 * high)
            self.axes.set_yticks(_round_ticks(1.08 * low, 1.08 * high))
            self.axes.yaxis.set_major_formatter(lambda y, _: number(y))
            return
        positive = seen[seen > 0]
        low, high = 0.7 * float(positive.min()), 1.5 * float(positive.max())
        self.axes.set_yscale("log")
        self.axes.set_ylim(low, high)
        self.axes.set_yticks(TICKS[(low <= TICKS) & (high >= TICKS)])
        self.axes.yaxis.set_major_formatter(lambda y, _: quantity(y, "seconds"))
        self.axes.minorticks_off()


class _Column:
    """Axes in pixels with lanes below one another: a name, a small curve, the last value."""

    TALLEST, TITLE = 40.0, 34.0
    """Pixels of a lane, and of a title with the space above it."""
    FILLED = 0.74
    """Share of a lane's height that its curve may take."""

    def __init__(self, axes: Any, panels: Sequence[Panel], curve: tuple[float, float]) -> None:
        """Make it.

        Args:
            axes: to draw on.
            panels: whose names are drawn.
            curve: where the curves begin and end, as shares of the width.
        """
        from matplotlib.collections import LineCollection, PolyCollection

        self.curve = curve
        box = axes.get_window_extent()
        self.width, self.height = box.width, box.height
        axes.set_xlim(0, self.width)
        axes.set_ylim(self.height, 0)
        axes.axis("off")
        rows = sum(len(panel.lanes) for panel in panels)
        self.row = min((self.height - self.TITLE * len(panels)) / max(rows, 1), self.TALLEST)
        self.bases: list[float] = []
        self.readings: list[Any] = []
        y = 0.0
        for panel in panels:
            y += self.TITLE
            axes.text(0, y - 2.0, panel.title, fontsize=10, fontweight="bold", color=INK, va="bottom")
            for lane in panel.lanes:
                y += self.row
                self._label(axes, lane, y)
        area: dict[str, Any] = {"alpha": SHADE, "lw": 0, "animated": True}
        self.colours = [_lane_colour(lane) for panel in panels for lane in panel.lanes]
        self.broken = axes.add_collection(PolyCollection([], facecolor=BAD, **area))
        self.areas = axes.add_collection(PolyCollection([], facecolor=self.colours, **area))
        self.lines = axes.add_collection(LineCollection([], colors=self.colours, lw=1.3, animated=True))
        self.limits = axes.add_collection(
            LineCollection([], colors=INK, linewidths=0.9, linestyles="--", animated=True)
        )

    def _label(self, axes: Any, lane: Lane, base: float) -> None:
        style: dict[str, Any] = {"fontsize": 8.5, "color": MUTED if lane.own is False else INK, "va": "center"}
        middle = base - 0.5 * self.FILLED * self.row
        axes.text(0, middle, lane.label, **style)
        self.readings.append(axes.text(self.width, middle, "", ha="right", animated=True, **style))
        self.bases.append(base)

    def show(self, lanes: Sequence[Lane]) -> list[Any]:
        """Take these lanes, in the order of the column; returns what is to be drawn."""
        x = np.linspace(*self.curve, PERIODS) * self.width
        curves, limits, areas, spans = [], [], [], []
        for lane, base, reading in zip(lanes, self.bases, self.readings, strict=True):
            at = x[PERIODS - len(lane.values) :]
            y = self._y(lane.height, base)
            curves.append(np.column_stack([at, y]))
            areas.append(_under(at, y, base))
            if lane.limit_height is not None:
                limits.append(np.column_stack([at, self._y(lane.limit_height, base)]))
            if lane.broken is not None:
                spans += _boxes(at, lane.broken, base, base - self.FILLED * self.row)
            reading.set_text(lane.reading)
            reading.set_color(_reading_colour(lane))
        self.lines.set_segments(curves)
        self.limits.set_segments(limits)
        self.areas.set_verts(areas)
        self.broken.set_verts(spans)
        return [self.broken, self.areas, self.lines, self.limits, *self.readings]

    def _y(self, height: np.ndarray, base: float) -> np.ndarray:
        return base - self.FILLED * self.row * np.clip(height, 0.0, 1.0)


def _shades(panel: Panel, deadline: bool) -> list[Any]:
    """A colour for each curve: the workload's, lighter for lower percentiles; others in turn."""
    from matplotlib.colors import to_rgb

    if deadline:
        strength = np.linspace(0.45, 1.0, max(len(panel.lanes), 1))[:, None]
        own = np.array([to_rgb(COLOURS[lane.workload]) for lane in panel.lanes]).reshape(-1, 3)
        return list(1.0 - strength[: len(own)] * (1.0 - own))
    return [COLOURS[lane.workload] if lane.workload else OTHERS[i % len(OTHERS)] for i, lane in enumerate(panel.lanes)]


def _lane_colour(lane: Lane) -> str:
    return FADED if lane.own is False else COLOURS[lane.workload]


def _reading_colour(lane: Lane) -> str:
    if lane.broken is not None and lane.broken[-1]:
        return BAD
    return MUTED if lane.own is False else INK


def _under(x: np.ndarray, y: np.ndarray, base: float) -> np.ndarray:
    """The polygon between a curve and its base, (T + 2, 2); empty where readings are missing."""
    top = np.where(np.isfinite(y), y, base)
    return np.column_stack([np.concatenate([x[:1], x, x[-1:]]), np.concatenate([[base], top, [base]])])


def _between(x: np.ndarray, values: np.ndarray, limit: np.ndarray) -> list[np.ndarray]:
    """The polygon of what is missing up to the limit; nothing where more was done, or readings are missing."""
    upper = np.nan_to_num(limit)
    lower = np.where(np.isfinite(values), np.minimum(values, upper), upper)
    return [np.column_stack([np.concatenate([x, x[::-1]]), np.concatenate([upper, lower[::-1]])])]


def _boxes(x: np.ndarray, where: np.ndarray | None, low: float, high: float) -> list[np.ndarray]:
    """A rectangle (4, 2) for each run of periods, each period as wide as the distance of two."""
    if where is None or not where.any():
        return []
    half = 0.5 * (x[1] - x[0] if len(x) > 1 else 1.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], where.astype(int), [0]])))
    runs = edges.reshape(-1, 2)  # first, and one after the last
    boxes = [(x[first] - half, x[end - 1] + half) for first, end in runs]
    return [np.array([[a, low], [b, low], [b, high], [a, high]]) for a, b in boxes]


def _round_ticks(low: float, high: float) -> np.ndarray:
    """Three to five round values within an axis."""
    rough = (high - low) / 4.0
    size = 10.0 ** np.floor(np.log10(rough))
    step = size * next(factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * size >= rough)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
