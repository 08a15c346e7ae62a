"""`docs/metrics.md`, made from the series catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from telemetry.series_catalogue import GROUPS, Family

COMMAND = "trimtab docs"
"""What writes the page; it says so itself."""

INTRODUCTION = f"""# Metrics

Written by `{COMMAND}` from `telemetry/series_tables.py`; tests compare the page with the tables, and the tables with
what the sources give.

`trimtab monitor` reads these series, `--serve PORT` shows them as Prometheus text or OpenMetrics, `--store FOLDER`
keeps them, `--otlp URL` sends them to an OpenTelemetry collector. Names are node_exporter's and cAdvisor's where these
have the quantity, so that their dashboards and rules work. Units are base units and stand at the end of the name. A
value that could not be read is absent, and counted in `trimtab_sampler_missing_total`.

A `*` stands for what the kernel calls its figure. *untyped* is what the kernel counts without saying whether it only
grows. The OpenTelemetry name is that of its semantic conventions; where several of our series share one, they are told
apart by an attribute there (`system.memory.usage` by `system.memory.state`)."""


def write(path: str | Path) -> None:
    """Write the page."""
    Path(path).write_text(page(), encoding="utf-8")


def page() -> str:
    """Markdown: every family of every source."""
    parts = [INTRODUCTION]
    for title, families in GROUPS.items():
        parts += [f"## {title}", _table(families)]
    return "\n\n".join(parts) + "\n"


def _table(families: Iterable[Family]) -> str:
    lines = ["| series | kind | unit | meaning | read from | OpenTelemetry |", "| --- | --- | --- | --- | --- | --- |"]
    for family in families:
        otel = f"`{family.otel}`" if family.otel else ""
        cells = f"`{family.name}`", family.kind, family.unit, family.help, family.source, otel
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
