"""Figures of an evaluation: what each policy reaches at which price, intervals, sensitivity to weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluation_tables import reference_label
from training.verdict import BEST_STATIC, ORACLE, STATIC

GOOD, BAD, NEUTRAL = "#2b7a3d", "#b3372f", "#667788"
COLOURS = {"static": "#8a8f98", "rule": "#d9822b", "search": "#7b5ea7", "learned": "#0b7285", "oracle": "#1c2733"}
SIGNS = {"static": "s", "rule": "o", "search": "D", "learned": "P", "oracle": "*"}
COMPARED = ("vs_best_static", "vs_best_heuristic", "vs_best_by_efficiency_at_slo")


@dataclass(frozen=True)
class Point:
    """A policy in a plane."""

    name: str
    kind: str
    x: float
    y: float


def pareto_front(points: Sequence[Point], *, less_x: bool = False) -> list[Point]:
    """The points that no other beats in both, by x; more is better but for x with `less_x`."""
    sign = -1.0 if less_x else 1.0
    return sorted(
        (
            p
            for p in points
            if not any(sign * q.x >= sign * p.x and q.y >= p.y and (q.x, q.y) != (p.x, p.y) for q in points)
        ),
        key=lambda p: p.x,
    )


def pareto_plot(result: Mapping[str, Any]) -> Any:
    """Figure: efficiency against SLO attainment, and useful work against the price of what is reserved."""
    from matplotlib.figure import Figure

    # The static default holds next to no SLO and would squeeze all others into a corner; the table has it.
    rows = [row for row in result["policies"] if row["policy"] != STATIC]
    figure = Figure(figsize=(11, 9.5), layout="constrained")
    attained, priced = figure.subplots(2, 1)
    _draw_plane(attained, [Point(r["policy"], r["kind"], r["slo_attainment"], r["efficiency"]) for r in rows])
    attained.set_xlabel("share of periods in which all SLOs hold", fontsize=9)
    attained.set_ylabel("efficiency, relative to the static default", fontsize=9)
    _draw_plane(priced, [Point(r["policy"], r["kind"], r["reserved"], r["useful_work"]) for r in rows], less_x=True)
    priced.set_xlabel("price of what is reserved, in cores", fontsize=9)
    priced.set_ylabel("useful work, share of what was wanted", fontsize=9)
    return figure


def _draw_plane(axis: Any, points: Sequence[Point], *, less_x: bool = False) -> None:
    for point in points:
        size = 150 if point.kind == "oracle" else 60
        axis.scatter([point.x], [point.y], s=size, color=COLOURS[point.kind], marker=SIGNS[point.kind], zorder=3)
    front = pareto_front([p for p in points if p.kind != "oracle"], less_x=less_x)
    axis.plot([p.x for p in front], [p.y for p in front], color=COLOURS["learned"], lw=1.2, alpha=0.5, zorder=1)
    axis.margins(0.08)
    _label(axis, points)
    for kind in dict.fromkeys(p.kind for p in points):
        axis.scatter([], [], color=COLOURS[kind], marker=SIGNS[kind], label=kind)
    axis.plot([], [], color=COLOURS["learned"], lw=1.2, alpha=0.5, label="Pareto front without the oracle")
    axis.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _label(axis: Any, points: Sequence[Point]) -> None:
    """Names in a column on the right, in the order of their points and apart from each other, joined by thin lines."""
    low, high = axis.get_ylim()
    ordered = sorted(points, key=lambda p: p.y)
    heights = [(p.y - low) / (high - low) for p in ordered]
    apart = min(0.05, 1.0 / max(len(ordered), 1))
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + apart)
    over = heights[-1] - 1.0 if heights else 0.0
    if over > 0.0:  # too many at the top: move down as far as needed
        heights[-1] = 1.0
        for i in range(len(heights) - 2, -1, -1):
            heights[i] = min(heights[i], heights[i + 1] - apart)
    for point, height in zip(ordered, heights, strict=True):
        axis.annotate(
            point.name,
            (point.x, point.y),
            xytext=(1.02, height),
            textcoords="axes fraction",
            fontsize=8,
            va="center",
            color=COLOURS[point.kind],
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "#b8c0c8"},
        )


def intervals_plot(result: Mapping[str, Any]) -> Any:
    """Figure: the judged policy's gain over every reference, with its 95 % interval; hollow where it does not count."""
    from matplotlib.figure import Figure

    lines = {key: line for key, line in result["summary"].items() if key != f"vs_{STATIC}"}  # it is off the scale
    figure = Figure(figsize=(11, 1.2 + 0.3 * len(lines)), layout="constrained")
    axis = figure.subplots()
    for row, line in enumerate(lines.values()):
        low, high = line["efficiency_gain_ci"]
        colour = GOOD if low > 0 else BAD if high < 0 else NEUTRAL
        axis.plot([100 * low, 100 * high], [row, row], color=colour, lw=2.2, solid_capstyle="butt")
        face = colour if line["counts"] else "white"
        axis.plot([100 * line["efficiency_gain"]], [row], marker="o", ms=7, color=colour, markerfacecolor=face)
    axis.axvline(0.0, color="#1c2733", lw=0.8)
    axis.set_yticks(range(len(lines)), [reference_label(key, line["name"]) for key, line in lines.items()], fontsize=9)
    axis.invert_yaxis()
    axis.set_xlabel("efficiency gain, %", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="#e3e6ea", lw=0.6)
    return figure


def weights_plot(result: Mapping[str, Any]) -> Any:
    """Figure: the gain over the main references with each value and price halved and doubled."""
    from matplotlib.figure import Figure

    keys = [key for key in COMPARED if key in result["summary"]]
    variants = result["weights"]
    figure = Figure(figsize=(11, 1.2 + 0.28 * len(variants)), layout="constrained")
    axis = figure.subplots()
    rows = np.arange(len(variants))
    for key, colour, sign in zip(keys, (COLOURS["static"], COLOURS["rule"], COLOURS["learned"]), "sox", strict=False):
        gains = [100 * gain[key] for gain in variants.values()]
        label = reference_label(key, result["summary"][key]["name"])
        axis.plot(gains, rows, sign, color=colour, ms=6, label=label)
        axis.axvline(100 * result["summary"][key]["efficiency_gain"], color=colour, lw=0.8, ls=":")
    axis.axvline(0.0, color="#1c2733", lw=0.8)
    axis.set_yticks(rows, list(variants), fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("efficiency gain, %; dotted: with the spec's weights", fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="#e3e6ea", lw=0.6)
    return figure


def shown_policies(result: Mapping[str, Any]) -> list[str]:
    """The columns of a table by trace: best static setting, best heuristics, judged, oracle; without repetition."""
    names = [BEST_STATIC, *(result["summary"][key]["name"] for key in COMPARED if key in result["summary"])]
    there = {row["policy"] for row in result["policies"]}
    return [name for name in dict.fromkeys([*names, result["judged"], ORACLE]) if name in there]
