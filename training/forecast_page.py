"""What the forecaster says and what it is worth, as tables for the terminal and as HTML pages."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from telemetry.foresight import TABLE, Chance, Foresight
from telemetry.issues import DAY_HOURS, TARGETS
from telemetry.trace_files import sparkline
from telemetry.trajectory import trajectory
from training.report import STYLE

SHOWN_DAYS = 4
WIDE = 100
"""Columns of a terminal that hold the whole table."""
FIRST_DATED = 365 * 86_400.0


def foresight_table(found: Sequence[Foresight], *, narrow: bool = False) -> Table:
    """One metric a row: now, its limit, the next day as a sparkline, and the chances of an issue.

    Args:
        found: at least one.
        narrow: for less than `WIDE` columns: two hours in a block, and not the worst level to come.
    """
    table = Table(title="The next 24 hours", caption=_caption(found), box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("metric", overflow="fold")
    for name in ("now", "limit", "next 24 h", *([] if narrow else ["worst"])):
        table.add_column(name, justify="left" if name == "next 24 h" else "right", no_wrap=True)
    for target in TARGETS:
        table.add_column(target.name.replace("_", " "), justify="right", min_width=4)
    limited = any(one.until_limit is not None for one in found)
    if limited:
        table.add_column("reaches its limit")
    for one in found:
        expected = one.levels.expected
        worst = np.nanmin if one.mirrored else np.nanmax
        highest = f"{worst(expected):.4g}" if not np.isnan(expected).all() else "-"
        chances = [_chance(one.chances[target.name]) for target in TARGETS]
        drawn = "" if highest == "-" else sparkline(expected, DAY_HOURS // 2 if narrow else DAY_HOURS)
        figures = f"{one.now:.4g}", f"{one.limit:.4g}", drawn, *([] if narrow else [highest])
        table.add_row(one.metric, *figures, *chances, *([_until(one)] if limited else []))
    return table


def bars_table(result: Mapping[str, Any]) -> Table:
    """What was to be reached, and what was."""
    data = result["data"]
    table = Table(
        title=f"{data['series']} series of {data['hosts']} hosts, {data['held_out_hosts']} of them held out",
        caption=f"data {data['digest']}",
    )
    for name in ("bar", "goal", "reached", ""):
        table.add_column(name, justify="right" if name in ("goal", "reached") else "left")
    for row in result["bars"]:
        goal = f"{'≤' if row['at_most'] else '≥'} {row['goal']:.2f}"
        table.add_row(row["name"], goal, f"{row['reached']:.3f}", "met" if row["met"] else "missed")
    return table


def plants_table(result: Mapping[str, Any]) -> Table:
    """A day ahead on simulated plants, by how irregular their demand is, beside what its generator allows."""
    table = Table(
        title="Simulated plants, 24 h ahead",
        caption="Residual: standard deviation of the log demand around its day. Ceiling: who knows the generator, and "
        "takes the best threshold in hindsight.",
    )
    for name in ("residual", "series", "base rate", "ceiling", "balanced accuracy", "with an hour of tolerance"):
        table.add_column(name, justify="right")
    for row in result["plants"]:
        low, high = row["balanced_accuracy_ci"]
        table.add_row(
            f"{row['residual']:g}", str(row["series"]), f"{row['base_rate']:.3f}", f"{row['ceiling']:.3f}",
            f"{row['balanced_accuracy']:.3f} ({low:.3f} to {high:.3f})",
            f"{row['balanced_accuracy_tolerance_1h']:.3f}",
        )  # fmt: skip
    return table


def horizon_tables(result: Mapping[str, Any]) -> list[Table]:
    """Scores by horizon beside always-no and the baselines: of frequent and rare issues on held-out hosts."""
    return [_horizon_table(result[kind]["held_out"], f"{kind} issues, held-out hosts") for kind in ("frequent", "rare")]


def _horizon_table(horizons: Mapping[str, Any], title: str) -> Table:
    table = Table(title=title)
    heads = ("horizon", "base rate", "balanced accuracy", "best baseline", "precision", "recall", "AUROC")
    for name in (*heads, "Brier skill", "ECE", "alarmed", "confident: right / found", "onsets foretold, alarmed"):
        table.add_column(name, justify="left" if name == "horizon" else "right")
    for name, score in horizons.items():
        rival, scores = max(_baselines(score), key=lambda item: item[1]["balanced_accuracy"])
        confident, onset = score["confident"], score["onsets"]["balanced"]
        low, high = score["balanced_accuracy_ci"]
        table.add_row(
            name, f"{score['base_rate']:.3f}", f"{score['balanced_accuracy']:.3f} ({low:.3f} to {high:.3f})",
            f"{scores['balanced_accuracy']:.3f} {rival.replace('_', ' ')}", f"{score['precision']:.2f}",
            f"{score['recall']:.2f}", f"{score['auroc']:.3f}", f"{score['brier_skill']:.2f}",
            f"{score['calibration_error']:.3f}", f"{score['alarm_share']:.0%}",
            f"{confident['precision']:.2f} / {confident['recall']:.2f}",
            f"{onset['recall']:.0%}, {onset['calm_alarm_share']:.0%}",
        )  # fmt: skip
    return table


def _baselines(score: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    return [(name, scores) for name, scores in score["naive"].items() if name != "model_alone"]


def write_backtest_page(path: Path, result: Mapping[str, Any]) -> None:
    """One HTML file: bars, scores by horizon and group, reliability."""
    sections = [
        "<h1>Backtest of the forecaster</h1>",
        "<p class=muted>Later in time, thresholds from before each block of the test; intervals over series. Always "
        "saying no has a balanced accuracy of 0.5, and an accuracy of 1 minus the base rate.</p>",
        _html_table(bars_table(result)),
        *([_html_table(plants_table(result))] if "plants" in result else []),
        "<h2>Reliability</h2><p class=muted>Frequency with which issues came, by the probability given.</p>",
        _svg(_reliability_figure(result["horizons"])),
    ]
    for kind in ("frequent", "rare"):
        for group, horizons in result[kind].items():
            title = f"{kind} issues, {group.replace('_', ' ')} series"
            sections += [f"<h2>{title}</h2>", _html_table(_horizon_table(horizons, ""))]
    _write(path, sections)


def write_foresight_page(path: Path, found: Sequence[Foresight], levels: Sequence[np.ndarray]) -> None:
    """One HTML file with the table and a fan chart for each metric.

    Args:
        path: of the file.
        found: what is foretold.
        levels: (H,) hourly of each, drawn before it.
    """
    charts = [_svg(_fan_figure(one, past)) for one, past in zip(found, levels, strict=True)]
    _write(path, ["<h1>The next 24 hours</h1>", _html_table(foresight_table(found)), *charts])


def _caption(found: Sequence[Foresight]) -> str:
    first = found[0]
    dated = first.made_at >= FIRST_DATED
    until = f"{datetime.fromtimestamp(first.expires_at, UTC):%Y-%m-%d %H:%M} UTC" if dated else "2 hours after the end"
    return (
        "Chance of at least 15 minutes of an hour over the limit (under it, for an SLO that is a "
        "least value). !: a confident alarm, of which 95 of 100 are to come "
        "true. t: by the hour-of-day table. ?: not predictable, by "
        f"the metric's last week, so the table is shown. -: less than a day is known. Valid until {until}."
    )


def _chance(chance: Chance) -> str:
    if np.isnan(chance.probability):
        return "-"
    mark = "?" if chance.predictable is False else "t" if chance.source == TABLE else ""
    return f"{chance.probability:.0%}{'!' if chance.alarm else mark}"


def _until(one: Foresight) -> str:
    if one.until_limit is None:
        return ""
    hours = (one.until_limit.seconds, one.until_limit.earliest, one.until_limit.latest)
    return "in {:.0f} h ({:.0f} to {:.0f})".format(*(seconds / 3600.0 for seconds in hours))


def _reliability_figure(horizons: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 2.6), layout="constrained")
    for axis, (name, score) in zip(figure.subplots(1, len(horizons), sharey=True), horizons.items(), strict=True):
        given, came, count = (np.array(row, dtype=float) for row in score["reliability"])
        axis.plot([0, 1], [0, 1], color="#aaa", lw=0.8)
        axis.plot(given, came, color="#0b7285", lw=1.2)
        axis.scatter(given, came, s=4 + 60 * count / max(count.sum(), 1), color="#0b7285")
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _fan_figure(one: Foresight, past: np.ndarray) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 2.2), layout="constrained")
    axis = figure.subplots()
    recent = past[-SHOWN_DAYS * DAY_HOURS :]
    ahead = np.arange(1, DAY_HOURS + 1)
    if len(past) > 2 * DAY_HOURS:
        yesterday = trajectory(past[:-DAY_HOURS])
        axis.fill_between(ahead - DAY_HOURS, yesterday.low, yesterday.high, color="#888", alpha=0.2, lw=0)
        axis.plot(ahead - DAY_HOURS, yesterday.expected, color="#888", lw=1.0)
    axis.plot(np.arange(1 - len(recent), 1), recent, color="#222", lw=1.0)
    axis.fill_between(ahead, one.levels.low, one.levels.high, color="#0b7285", alpha=0.2, lw=0)
    axis.plot(ahead, one.levels.expected, color="#0b7285", lw=1.4)
    axis.axhline(one.limit, color="#b3372f", lw=0.9, ls="--")
    axis.set_title(one.metric, fontsize=9, loc="left")
    axis.set_xlabel(
        "hours from now; black: what came; grey: foretold from a day ago; bands are to hold 80 % of what comes",
        fontsize=8,
    )
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _html_table(table: Table) -> str:
    cells = list(zip(*(list(column.cells) for column in table.columns), strict=True))
    head = "".join(f"<th>{html.escape(str(column.header))}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in cells)
    caption = f"<p class=muted>{html.escape(str(table.caption))}</p>" if table.caption else ""
    return f"<div style='overflow-x:auto'><table><tr>{head}</tr>{rows}</table></div>{caption}"


def _svg(figure: Any) -> str:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    return drawn.getvalue().partition("?>")[2]


def _write(path: Path, sections: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"<!doctype html><meta charset=utf-8><title>Trimtab: forecast</title><style>{STYLE}</style>"
    path.write_text(head + "\n".join(sections), encoding="utf-8")
