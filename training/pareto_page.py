"""A Pareto front as a table, a picture and a page, beside the references."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from training.report import STYLE

NAMED = {"static": "left", "best_static": "left", "ppo": "left", "cma-es": "right"}
"""References that the picture names, and the side of the name that is at the point; the others are drawn as one group,
since most of them would lie over each other."""
TITLES = ("work", "price, cores", "SLOs met", "work per price")


def front_table(result: Mapping[str, Any]) -> Table:
    """The part of the front that matters most, and the references."""
    table = Table(
        title=f"{result['study']}: {result['trials']} trials, {len(result['front'])} on the front", box=SIMPLE
    )
    for column in ("trial or reference", *TITLES):
        table.add_column(column, justify="left" if column == "trial or reference" else "right")
    for row in efficient(result["front"]):
        table.add_row(str(row["trial"]), *_cells(_figures(row)))
    table.add_section()
    for name, figures in result["references"].items():
        table.add_row(name, *_cells(figures))
    return table


def efficient(front: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of a front, the points with the most work per price for their SLO attainment; the highest attainment first."""
    best, chosen = -np.inf, []
    for row in sorted(front, key=lambda row: (-row["slo_attainment"], -row["work"] / row["price"])):
        if row["work"] / row["price"] > best:
            best = row["work"] / row["price"]
            chosen.append(row)
    return chosen


def draw(result: Mapping[str, Any]) -> Any:
    """Figure: useful work over price, and work per price over SLO attainment."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    front = np.array([_figures(row) for row in result["front"]]).reshape(-1, 3)  # (n, 3)
    shown = _plot(left, right, front, "front", marker="o", s=22, edgecolors="#d9822b")
    _draw_references(left, right, result["references"])
    left.set(xlabel="price of what is reserved, in cores", ylabel="share of the wanted work that was done")
    right.set(xlabel="share of periods in which every SLO held", ylabel="work per price")
    left.legend(frameon=False, fontsize=8)
    figure.colorbar(shown, ax=[left, right], label="SLOs met", fraction=0.03, pad=0.01)
    for axes in (left, right):
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure


def write_page(path: Path, result: Mapping[str, Any]) -> None:
    """Write one HTML file with everything in it: picture, front with all its parameters, references."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    svg = io.StringIO()
    FigureCanvasSVG(draw(result)).print_svg(svg)
    title = f"Pareto front: {html.escape(result['study'])}"
    references = "".join(_row([html.escape(name), *_cells(of)]) for name, of in result["references"].items())
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}"
        "div.wide { overflow-x: auto; }</style>",
        f"<h1>{title}</h1><p class=muted>{result['trials']} trials, {result['failed']} failed. A point is on the front "
        "if none does more work at no higher price and no lower SLO attainment.</p>",
        svg.getvalue()[svg.getvalue().index("<svg") :],
        f"<h2>References, on the same episodes</h2><table>{_head(['', *TITLES])}{references}</table>",
        f"<h2>The front, by price</h2><div class=wide><table>{_front_rows(result['front'])}</table></div>",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "</html>\n", encoding="utf-8")


def write_plot(path: Path, result: Mapping[str, Any]) -> None:
    """Write the picture alone; the ending of the name says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(result).savefig(path, dpi=85, metadata={"Software": None} if path.suffix == ".png" else None)


def _plot(left: Any, right: Any, points: np.ndarray, label: str | None, **style: Any) -> Any:
    """Points (n, 3) in both panels, coloured by SLO attainment."""
    work, price, met = points.T
    coloured = {"c": met, "vmin": 0.0, "vmax": 1.0, "cmap": "viridis_r", "lw": 0.8, **style}
    right.scatter(met, work / price, **coloured)
    return left.scatter(price, work, label=label, **coloured)


def _draw_references(left: Any, right: Any, references: Mapping[str, Sequence[float]]) -> None:
    from matplotlib.patheffects import withStroke

    others = np.array([figures for name, figures in references.items() if name not in NAMED]).reshape(-1, 3)
    _plot(left, right, others, "tuned rules, other searches", marker="^", s=34, edgecolors="#1c2733")
    for name in (name for name in NAMED if name in references):
        _plot(left, right, np.array([references[name]]), None, marker="*", s=150, edgecolors="#1c2733")
        work, price, met = references[name]
        for axes, at in ((left, (price, work)), (right, (met, work / price))):
            beside = (8 if NAMED[name] == "left" else -8, -3)
            words = axes.annotate(name, at, beside, textcoords="offset points", ha=NAMED[name], fontsize=8)
            words.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _front_rows(front: Sequence[Mapping[str, Any]]) -> str:
    if not front:
        return ""
    names = list(front[0]["parameters"])
    rows = (
        [str(row["trial"]), *_cells(_figures(row))]
        + [f"{(row['parameters'] | row['setting'])[name]:.4g}" for name in names]
        for row in front
    )
    return _head(["trial", *TITLES, *(name.replace("_", " ") for name in names)]) + "".join(map(_row, rows))


def _head(names: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in names) + "</tr>"


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _figures(row: Mapping[str, Any]) -> tuple[float, float, float]:
    return row["work"], row["price"], row["slo_attainment"]


def _cells(figures: Sequence[float]) -> tuple[str, str, str, str]:
    work, price, met = figures
    return f"{work:.3f}", f"{price:.3f}", f"{met:.1%}", f"{work / price:.3f}"
