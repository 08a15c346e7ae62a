"""The self-contained HTML report of a live comparison, and its TensorBoard log."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.spec import Role, SystemSpec
from training.live import Window
from training.live_arms import ControllerArm

TRIMTAB = ControllerArm.name
COLOURS = ("#8a8f98", "#d9822b", "#7b4fa3")
"""Of the references."""
OURS, BAD = "#0b7285", "#b3372f"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } svg { width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #e3e6ea; text-align: right; }
th:first-child, td:first-child { text-align: left; } .good { color: #2b7a3d; } .bad { color: #b3372f; }
.headline { display: flex; gap: 1rem; flex-wrap: wrap; } .headline div { background: #f2f5f7; border-radius: 8px;
padding: .7rem 1rem; min-width: 9rem; } .headline b { display: block; font-size: 1.4rem; } .muted { color: #667; }
"""


def write_html(
    path: Path,
    spec: SystemSpec,
    comparisons: Sequence[Mapping[str, Any]],
    windows: Sequence[Window],
    decisions: Sequence[Mapping[str, Any]],
) -> None:
    """Write one HTML file with everything in it: no scripts, no links to other hosts.

    Args:
        path: of the file.
        spec: names of metrics and knobs.
        comparisons: of `training.comparison.compare`; the first also with what `training.pooling.pool` adds, and
            `notes`, lines for people: which actuators are off, what the references are.
        windows: of all arms.
        decisions: the journal's optimizations: at least `time`, `workload`, `changes`, `verdict`, `reason`.
    """
    first = comparisons[0]
    sections = [
        f"<h1>Trimtab against the {html.escape(str(first['reference']))}</h1>",
        "".join(f"<p class=muted>{html.escape(note)}</p>" for note in first["notes"]),
        _headline(first),
        *(
            f"<h2>Against the {html.escape(comparison['reference'])}</h2>{_table(comparison)}"
            for comparison in comparisons
        ),
        "<h2>Load, latency and settings over time</h2>",
        "<p class=muted>Each segment of demand was replayed to all, in turn; the lines are aligned by segment. A tick "
        "in the row of CPU is a change that the controller made, red if it was rolled back.</p>",
        _svg(timeline(spec, windows, decisions)),
        "<h2>Efficiency, pair by pair</h2>",
        _svg(pairs_plot(comparisons)),
        "<h2>When the weights change</h2>",
        _weights(comparisons),
        "<h2>Optimizations</h2>",
        _optimizations(decisions),
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>Trimtab report</title><style>{STYLE}</style>"
    path.write_text(page + "\n".join(sections) + "</html>\n", encoding="utf-8")


def timeline(spec: SystemSpec, windows: Sequence[Window], decisions: Sequence[Mapping[str, Any]]) -> Any:
    """Figure: load, p99, CPU reserved and used, training, and the tuning knobs that moved; all arms, by segment."""
    from matplotlib.figure import Figure

    tuned = _moved_knobs(spec, windows)
    figure = Figure(figsize=(11, 1.9 * (4 + len(tuned))), layout="constrained")
    axes = figure.subplots(4 + len(tuned), 1, sharex=True, squeeze=False)[:, 0]
    arms = _by_arm(windows)
    for (arm, chosen), colour in zip(arms.items(), _colours(len(arms)), strict=True):
        values = np.concatenate([w.values for w in chosen])  # (T, n_metrics)
        settings = np.concatenate([w.settings for w in chosen])
        _draw_arm(axes, spec, arm, values, settings, colour, tuned)
        if arm == TRIMTAB:
            _mark(axes[2], chosen, decisions, spec.control_period_seconds)
    length, count = len(windows[0].values) * spec.control_period_seconds, len(windows) // len(arms)
    for axis in axes:
        for index in range(1, count):
            axis.axvline(index * length, color="#ddd", lw=0.6, zorder=0)
    axes[1].axhline(spec.latency_slo_seconds, color=BAD, lw=1, ls="--", label="SLO")
    axes[1].set_yscale("log")
    names = ["requests/s", "p99, s", "CPU, cores", "training, samples/s", *(spec.knob_names[k] for k in tuned)]
    for axis, name in zip(axes, names, strict=True):
        axis.set_ylabel(name.replace("_", "\n") if len(name) > 20 else name, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1.0, 0.95), frameon=False, ncols=5)
    axes[-1].set_xlabel("seconds of demand", fontsize=8)
    return figure


def _draw_arm(
    axes: Any,
    spec: SystemSpec,
    arm: str,
    values: np.ndarray,
    settings: np.ndarray,
    colour: str,
    tuned: Sequence[int],
) -> None:
    catalogue = spec.catalogue
    at = np.arange(len(values)) * spec.control_period_seconds
    cpu_knobs = [spec.knob_index(o.cpu_knob) for o in spec.workloads.values()]
    cpu_used = catalogue.indices([o.cpu_used for o in spec.workloads.values()])

    def metric(name: str) -> np.ndarray:
        return values[:, catalogue.index(name)]

    if arm == TRIMTAB:
        axes[0].plot(at, metric("serving_arrivals_per_second"), color="#444", lw=0.8, label="arrivals")
    axes[0].plot(at, metric("serving_goodput_per_second"), color=colour, lw=1.2, label=f"goodput, {arm}")
    axes[1].plot(at, metric("serving_latency_p99_seconds"), color=colour, lw=1.2, label=arm)
    axes[2].step(at, settings[:, cpu_knobs].sum(axis=1), color=colour, lw=1.6, where="post", label=f"reserved, {arm}")
    axes[2].plot(at, values[:, cpu_used].sum(axis=1), color=colour, lw=0.9, ls=":", label=f"used, {arm}")
    axes[3].plot(at, metric("training_goodput_per_second"), color=colour, lw=1.2, label=arm)
    for axis, knob in zip(axes[4:], tuned, strict=True):
        axis.step(at, settings[:, knob], color=colour, lw=1.4, where="post", label=arm)


def pairs_plot(comparisons: Sequence[Mapping[str, Any]]) -> Any:
    """Figure: efficiency relative to each reference for each pair, with the mean and its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.4), layout="constrained")
    axes = figure.subplots(1, len(comparisons), squeeze=False)[0]
    for axis, comparison, colour in zip(axes, comparisons, COLOURS, strict=True):
        ratios = np.asarray(comparison["efficiency_by_pair"])
        axis.bar(np.arange(1, len(ratios) + 1), ratios, color=OURS, width=0.6)
        low, high = (1 + end for end in comparison["efficiency_gain_ci"])
        if np.isfinite([low, high]).all():
            axis.axhspan(low, high, color=OURS, alpha=0.15, lw=0, label="95 % interval of the mean")
        axis.axhline(1.0, color=colour, lw=1.6, label=str(comparison["reference"]))
        axis.set_xlabel("segment", fontsize=8)
        axis.set_ylabel("efficiency, relative", fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, frameon=False)
    return figure


def write_tensorboard(directory: Path, spec: SystemSpec, windows: Sequence[Window]) -> None:
    """Write every metric and knob of every counted period as scalars, one run an arm; step is the second of demand."""
    from tensorboard.summary import Writer

    for arm, chosen in _by_arm(windows).items():
        writer = Writer(str(directory / re.sub(r"\W+", "-", arm).strip("-")))
        step = 0
        for window in chosen:
            for values, setting in zip(window.values, window.settings, strict=True):
                for name, value in zip(spec.catalogue.names, values, strict=True):
                    if np.isfinite(value):
                        writer.add_scalar(f"{name.split('_')[0]}/{name}", float(value), step)
                for name, value in zip(spec.knob_names, setting, strict=True):
                    writer.add_scalar(f"setting/{name}", float(value), step)
                step += 1
        writer.close()


def _by_arm(windows: Sequence[Window]) -> dict[str, list[Window]]:
    """Windows of each arm in the order of runs and segments, Trimtab last."""
    arms: dict[str, list[Window]] = {}
    for window in sorted(windows, key=lambda w: (w.arm == TRIMTAB, w.run, w.segment)):
        arms.setdefault(window.arm, []).append(window)
    return arms


def _colours(arms: int) -> tuple[str, ...]:
    return (*COLOURS[: arms - 1], OURS)


def _moved_knobs(spec: SystemSpec, windows: Sequence[Window]) -> list[int]:
    """Tuning knobs that an arm moved; where the others are held stands in the notes."""
    moved = np.zeros(len(spec.knobs), dtype=bool)
    for chosen in _by_arm(windows).values():
        settings = np.concatenate([w.settings for w in chosen])  # (T, n_knobs)
        moved |= (settings != settings[0]).any(axis=0)
    return [i for i, knob in enumerate(spec.knobs) if knob.role is Role.TUNING and moved[i]]


def _mark(axis: Any, chosen: Sequence[Window], decisions: Sequence[Mapping[str, Any]], period: float) -> None:
    """A tick for each applied change, red where it was rolled back."""
    for offset, window in enumerate(chosen):
        begin = window.times[0] - period  # a time stands at the end of its period
        for decision in decisions:
            into = decision["time"] - begin
            if 0 <= into <= window.times[-1] - begin:
                colour = BAD if decision["verdict"] == "rolled_back" else OURS
                at = offset * len(window.times) * period + into
                axis.plot([at], [0.02], marker="|", color=colour, transform=axis.get_xaxis_transform(), ms=7)


def _headline(result: Mapping[str, Any]) -> str:
    low, high = result["efficiency_gain_ci"]
    slo, accuracy = result["slo_attainment"], result["accuracy"]
    certain = np.isfinite([low, high]).all()  # it is not where an arm did nothing; the notes tell it
    cards = [
        (
            "efficiency",
            _gain(result["efficiency_gain"]),
            f"95 %: {low:+.0%} to {high:+.0%}" if certain else "no interval",
        ),
        ("CPU reserved", f"{-result['reserved_saving']:+.0%}", f"used {-result['used_saving']:+.0%}"),
        ("within SLO", f"{slo['trimtab']:.1%}", f"reference {slo['reference']:.1%}"),
        ("right answers", f"{accuracy['trimtab']:.1%}", f"reference {accuracy['reference']:.1%}"),
        ("availability", f"{result['availability']:.2%}", f"reference {result['availability_reference']:.2%}"),
        ("optimizations", str(result["optimizations"]), f"{result['rolled_back']} rolled back"),
    ]
    return (
        "<div class=headline>"
        + "".join(f"<div>{name}<b>{value}</b><span class=muted>{note}</span></div>" for name, value, note in cards)
        + "</div>"
    )


def _gain(gain: float) -> str:
    return f"{gain:+.0%}" if np.isfinite(gain) else "no comparison"


def _table(comparison: Mapping[str, Any]) -> str:
    names = ("", html.escape(comparison["reference"]), "Trimtab", "difference", "95 % interval")
    head = "<tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"
    return "<table>" + head + "".join(_table_row(row) for row in comparison["rows"]) + "</table>"


def _table_row(row: Mapping[str, Any]) -> str:
    low, high = row["difference_ci"]
    better = low > 0 if row["better"] == "more" else high < 0
    worse = high < 0 if row["better"] == "more" else low > 0
    mark = "good" if better else "bad" if worse else ""
    cells = [f"{row[key]:.4g}" for key in ("reference", "trimtab", "difference")] + [f"{low:.3g} to {high:.3g}"]
    name = f"{html.escape(row['name'])} <span class=muted>{html.escape(row['unit'])}</span>"
    return f"<tr><td>{name}</td>" + "".join(f"<td class='{mark}'>{cell}</td>" for cell in cells) + "</tr>"


def _weights(comparisons: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>gain against the {html.escape(comparison['reference'])}</th>" for comparison in comparisons)
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{c['weights'][name]:+.0%}</td>" for c in comparisons)
        + "</tr>"
        for name in comparisons[0]["weights"]
    )
    return f"<table><tr><th>weight</th>{head}</tr>{rows}</table>"


def _optimizations(decisions: Sequence[Mapping[str, Any]]) -> str:
    if not decisions:
        return "<p>None.</p>"
    head = "<tr><th>after</th><th>workload</th><th>change</th><th>verdict</th><th>reason</th></tr>"
    first = decisions[0]["time"]
    body = "".join(
        f"<tr><td>{d['time'] - first:.0f} s</td><td>{html.escape(str(d['workload']))}</td>"
        f"<td>{html.escape(str(d['changes']))}</td><td>{html.escape(str(d['verdict']))}</td>"
        f"<td>{html.escape(str(d['reason']))}</td></tr>"
        for d in decisions
    )
    return f"<table>{head}{body}</table>"


def _svg(figure: Any) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
