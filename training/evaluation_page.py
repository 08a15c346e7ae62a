"""The self-contained HTML page of an evaluation: no scripts, no links to other hosts."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.evaluation_plots import intervals_plot, pareto_plot, shown_policies, weights_plot
from training.evaluation_tables import notes, protocol_lines, reference_label
from training.report import STYLE

OWN_STYLE = (
    ".scroll { overflow-x: auto; } td { white-space: nowrap; } tr.judged td { background: #e6f3f5; }"
    " .scroll table { font-size: .8rem; } .headline div { flex: 1; }"
)


def write_page(path: Path, result: Mapping[str, Any]) -> None:
    """Write one HTML file with everything in it.

    Args:
        path: of the file; its folder is made if missing.
        result: of `training.judging.evaluate_policies`.
    """
    judged = html.escape(result["judged"])
    sections = [
        f"<h1>{judged} against the references</h1>",
        f"<p class=muted>System {html.escape(result['spec'])}; {html.escape('; '.join(protocol_lines(result)))}</p>",
        _headline(result),
        "<h2>What is reached, and at which price</h2>",
        "<p class=muted>Without the static default: it holds so few SLOs that all others would lie in one corner.</p>",
        _svg(pareto_plot(result)),
        "<h2>Gain over each reference</h2>",
        "<p class=muted>Relative efficiency, paired by trace and seed, with 95 % intervals over training seeds, traces "
        "and episodes. Hollow: the SLOs hold less often than with the reference, so that the gain does not count.</p>",
        _svg(intervals_plot(result)),
        _summary(result),
        "<h2>All policies</h2>",
        _policies(result),
        "".join(f"<p>{html.escape(line)}</p>" for line in notes(result)),
        "<h2>Robust aggregates</h2>",
        _aggregates(result),
        "<h2>When the weights change</h2>",
        _svg(weights_plot(result)),
        "<h2>By trace</h2><p class=muted>Efficiency relative to the static default; share of periods in which all SLOs "
        "hold.</p>",
        _traces(result),
        "<h2>Protocol</h2>",
        _protocol(result),
    ]
    title = f"<title>Trimtab: {judged} judged</title>"
    page = f"<!doctype html><html lang=en><meta charset=utf-8>{title}<style>{STYLE}{OWN_STYLE}</style>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page + "\n".join(sections) + "</html>\n", encoding="utf-8")


def _headline(result: Mapping[str, Any]) -> str:
    cards = []
    for key in ("vs_static", "vs_best_static", "vs_best_heuristic", "vs_best_by_efficiency_at_slo"):
        line = result["summary"].get(key)
        if line:
            against = reference_label(key, line["name"])
            note = f"95 %: {_range(line['efficiency_gain_ci'], '{:+.1%}')}"
            note += f"; SLOs {100 * line['slo_attainment_delta']:+.1f} points"
            cards.append((f"against {against}", f"{line['efficiency_gain']:+.1%}", note))
    if result["headroom"]:
        reward = result["headroom"]["reward"]
        if reward["share"] == reward["share"]:
            cards.append(
                ("share of the headroom, reward", f"{reward['share']:.0%}", _range(reward["share_ci"], "{:.0%}"))
            )
    return (
        "<div class=headline>"
        + "".join(
            f"<div>{html.escape(name)}<b>{value}</b><span class=muted>{note}</span></div>"
            for name, value, note in cards
        )
        + "</div>"
    )


def _summary(result: Mapping[str, Any]) -> str:
    head = ("reference", "efficiency gain", "95 %", "reserved saving", "used saving", "SLOs met", "95 %", "counts")
    rows = []
    for key, line in result["summary"].items():
        low, high = line["efficiency_gain_ci"]
        mark = "good" if low > 0 and line["counts"] else "bad" if high < 0 else ""
        delta = [f"{100 * end:+.1f}" for end in line["slo_attainment_delta_ci"]]
        cells = [
            reference_label(key, line["name"]),
            f"{line['efficiency_gain']:+.1%}",
            f"{low:+.1%} to {high:+.1%}",
            f"{line['reserved_saving']:+.1%}",
            f"{line['used_saving']:+.1%}",
            f"{100 * line['slo_attainment_delta']:+.1f} points",
            f"{delta[0]} to {delta[1]}",
            "yes" if line["counts"] else "no",
        ]
        rows.append((mark, cells))
    return _table(head, rows)


def _policies(result: Mapping[str, Any]) -> str:
    head = (
        "policy", "efficiency", "95 %", "SLOs met", "cores reserved", "used", "memory, GiB", "storage, MB/s",
        "network, MB/s", *(f"{name} done, /s" for name in result["policies"][0]["work"]), "in time",
        "p50, ms", "p99, ms", "right", "ingest lag, s", "changes", "flaps", "obtained in, s",
    )  # fmt: skip
    rows = []
    for row in result["policies"]:
        used, reserved = row["used_by_resource"], row["reserved_by_resource"]
        spent = row["obtained_seconds"]
        cells = [
            row["policy"] + (" (knows the future)" if row["leaks_future"] else ""),
            f"{row['efficiency']:.2f}", _range(row["efficiency_ci"], "{:.2f}"), f"{row['slo_attainment']:.1%}",
            f"{reserved['cpu_cores']:.2f}", f"{used['cpu_cores']:.2f}",
            *(f"{reserved[name]:.2f}" for name in list(reserved)[1:]),
            *(f"{done:.0f}" for done in row["work"].values()), f"{row['within_slo']:.1%}",
            *(f"{1e3 * row[f'latency_{name}_seconds']:.0f}" for name in ("p50", "p99")), f"{row['accuracy']:.1%}",
            f"{row['ingest_lag_seconds']:.2f}", f"{row['changes']:.0f}", f"{row['flaps']:.0f}",
            "" if spent is None else f"{spent:.0f}",
        ]  # fmt: skip
        rows.append(("judged" if row["policy"] == result["judged"] else "", cells))
    return _table(head, rows, by_row=True)


def _aggregates(result: Mapping[str, Any]) -> str:
    head = ("policy", "IQM", "95 %", "median", "95 %", "optimality gap", "95 %", "improved by the judged", "95 %")
    rows = []
    for name, found in result["aggregate"]["policies"].items():
        cells = [name]
        for key in ("iqm", "median", "optimality_gap"):
            there = key in found
            cells += [f"{found[key]:.3f}", _range(found[f"{key}_ci"], "{:.3f}")] if there else ["", ""]
        improved = result["aggregate"]["probability_of_improvement"].get(name)
        cells += [f"{improved['probability']:.1%}", _range(improved["ci"], "{:.1%}")] if improved else ["", ""]
        rows.append(("judged" if name == result["judged"] else "", cells))
    return _table(head, rows, by_row=True)


def _traces(result: Mapping[str, Any]) -> str:
    names = shown_policies(result)
    found = {(row["trace"], row["policy"]): row for row in result["rows"]}
    rows = []
    for trace in dict.fromkeys(row["trace"] for row in result["rows"]):
        chosen = [found[trace, name] for name in names]
        rows.append(("", [trace, *(f"{row['efficiency']:.2f} · {row['slo_attainment']:.1%}" for row in chosen)]))
    return _table(("trace", *names), rows)


def _protocol(result: Mapping[str, Any]) -> str:
    protocol = result.get("protocol") or {}
    rows: list[tuple[str, Sequence[str]]] = []
    generated = protocol.get("generated")
    if generated:
        seeds = ", ".join(map(str, generated["seeds"]))
        rows.append(("", [f"generated days, seeds {seeds}", generated["set"], generated["sha256"]]))
    rows += [("", [trace["file"], trace["set"], trace["sha256"]]) for trace in protocol.get("traces") or []]
    return _table(("demand", "set", "sha256"), rows)


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], *, by_row: bool = False) -> str:
    """A table; a row's mark is the class of its cells, or of the row."""
    cells = [
        f"<tr class='{mark if by_row else ''}'>"
        + "".join(f"<td class='{'' if by_row else mark}'>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for mark, row in rows
    ]
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<div class=scroll><table><tr>{names}</tr>{''.join(cells)}</table></div>"


def _range(ends: Sequence[float], form: str) -> str:
    return " to ".join(form.format(end) for end in ends)


def _svg(figure: Any) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
