"""What `trimtab evaluate` shows on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

COLUMNS = (
    "policy",
    "effi-\nciency",
    "SLOs\nmet",
    "cores\nreserved",
    "cores\nused",
    "p99,\ns",
    "accu-\nracy",
    "changes",
    "flaps",
)


def evaluation_table(result: Mapping[str, Any]) -> Table:
    """One line for each policy: means over traces."""
    # A plain box: with lines between ten columns the figures would not fit into 80 characters.
    table = Table(
        title=f"{result['spec']}: efficiency relative to the static default", box=SIMPLE, padding=(0, 0, 0, 1)
    )
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "policy" else "right", no_wrap=True)
    for row in result["policies"]:
        table.add_row(
            row["policy"] + (" (knows the future)" if row["leaks_future"] else ""),
            f"{row['efficiency']:.2f}",
            f"{row['slo_attainment']:.1%}",
            f"{row['reserved_by_resource']['cpu_cores']:.2f}",
            f"{row['used_by_resource']['cpu_cores']:.2f}",
            f"{row['latency_p99_seconds']:.3f}",
            f"{row['accuracy']:.2f}",
            f"{row['changes']:.0f}",
            f"{row['flaps']:.0f}",
        )
    return table


def summary_table(result: Mapping[str, Any]) -> Table:
    """The judged policy against each reference."""
    table = Table(title=f"{result['judged']} against the references", box=SIMPLE, padding=(0, 0, 0, 1))
    for column in ("reference", "effi-\nciency", "95 %\ninterval, %", "reserved\nsaving", "SLOs,\npoints"):
        table.add_column(column, justify="left" if column == "reference" else "right", no_wrap=True)
    if not all(line["counts"] for line in result["summary"].values()):
        table.caption = "* the SLOs hold less often: neither gain nor saving counts"
    for key, line in result["summary"].items():
        low, high = line["efficiency_gain_ci"]
        table.add_row(
            reference_label(key, line["name"]),
            f"{line['efficiency_gain']:+.1%}",
            f"{100 * low:+.1f} to {100 * high:+.1f}",
            f"{line['reserved_saving']:+.1%}",
            f"{100 * line['slo_attainment_delta']:+.2f}" + (" " if line["counts"] else "*"),
        )
    return table


def reference_label(key: str, name: str) -> str:
    """How a line of the summary is called: the reference, and what it is the best of."""
    roles = {"vs_best_heuristic": "best heuristic", "vs_best_by_efficiency_at_slo": "best at the SLOs"}
    return f"{roles[key]}: {name}" if key in roles else name


def notes(result: Mapping[str, Any]) -> list[str]:
    """Lines below the tables: headroom, who leads at the SLO, and what the traces are."""
    lines = []
    if result["headroom"]:
        headroom, reward = result["headroom"]["efficiency"], result["headroom"]["reward"]
        line = f"headroom: the oracle leads {result['headroom']['over']} by {headroom['lead']:+.1%} in efficiency"
        shares = [
            f"{part['share']:.0%} of its lead in {name} ({part['share_ci'][0]:.0%} to {part['share_ci'][1]:.0%})"
            for name, part in (("efficiency", headroom), ("reward", reward))
            if part["share"] == part["share"]
        ]
        lines.append(line + (f"; {result['judged']} has " + " and ".join(shares) if shares else ""))
    best = result["best_by_efficiency_at_slo"]
    if best:
        lines.append(
            f"most efficient of those that hold the SLOs as often as the best static setting: {best['name']} "
            f"({best['efficiency']:.2f}, {best['slo_attainment']:.1%})"
        )
    return lines + [f"traces: {line}" for line in protocol_lines(result)]


def protocol_lines(result: Mapping[str, Any]) -> list[str]:
    """What the protocol says about the demands that were judged on."""
    protocol = result.get("protocol") or {}
    generated = protocol.get("generated")
    lines = []
    if generated:
        agrees = "as declared" if generated["agrees"] else "NOT the declared days: the generator has changed"
        lines.append(f"generated test days, seeds {', '.join(map(str, generated['seeds']))}, {agrees}")
    found = protocol.get("traces") or []
    for kind, text in (("test", "declared as test data"), ("yours", "not declared: yours")):
        names = [trace["trace"] for trace in found if trace["set"] == kind]
        if names:
            lines.append(f"{len(names)} {text}: {', '.join(names)}")
    apart = [f"{file} ({state})" for file, state in (protocol.get("declared") or {}).items() if state != "ok"]
    if apart:
        lines.append(f"declared, but not judged on: {', '.join(apart)}")
    known = [trace["trace"] for trace in found if trace.get("trained_on")]
    return lines + ([f"SEEN IN TRAINING, so that they say little: {', '.join(known)}"] if known else [])
