"""The overview on a terminal, redrawn in place; the only module of the monitor that loads rich."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from telemetry import live_format as fmt
from telemetry.collectors.source import parse_key
from telemetry.host_summary import HostSummary, Traffic
from telemetry.overview import Overview, Watcher
from telemetry.sweep import Sweep
from telemetry.workload_rows import SPARK

WIDE = 110
"""Columns from which what moves stands beside the host, not below the workloads."""
COLOURS = (("cyan", ("user", "nice")), ("magenta", ("system", "irq", "softirq")), ("red", ("steal",)))
HOT = 0.85
"""A share from which a number is coloured as a warning."""
SHOWN_DEVICES = 2
LEAST_CORES = 0.1
"""Height of a workload's columns at least: an idle one must not look busy."""
SHOWN_PROCESSORS = 16
"""With more, each is one column of a line: a wall of bars says less."""


class LiveView:
    """Shows each sweep on the terminal's other screen until it is closed; the last look stays on the first screen.

    Args:
        console: default: stdout.
        wall_clock: seconds since 1970.
    """

    def __init__(self, console: Console | None = None, wall_clock: Callable[[], float] = time.time) -> None:
        self._console, self._wall_clock = console or Console(), wall_clock
        self._watcher = Watcher()
        self._live = Live(console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop")
        self._last: RenderableType = Text("no sweep yet")
        self._live.start()

    def __call__(self, sweep: Sweep) -> None:
        """Show this sweep."""
        overview = self._watcher.look(sweep)
        self._last = picture(overview, self._console.width, self._console.height, self._wall_clock())
        self._live.update(self._last, refresh=True)

    def close(self) -> None:
        """Leave the other screen."""
        self._live.stop()
        self._console.print(self._last)


def picture(overview: Overview, width: int, height: int, now: float) -> RenderableType:
    """Everything, fitted to a terminal of so many columns and lines."""
    wide = width >= WIDE
    inner = (width * 3 // 5 if wide else width) - 4
    host = Panel(_host(overview, inner), title="host", title_align="left", border_style="bright_black", padding=(0, 1))
    workloads = _workloads(overview, width)
    failing = _failing(overview)
    if wide:
        top = Table.grid(expand=True)
        top.add_column(ratio=3)
        top.add_column(ratio=2)
        top.add_row(host, _movers(overview, 8, width * 2 // 5 - 4))
        return Group(_head(overview, now), top, workloads, *failing, _own(overview))
    used = 13 + len(overview.host.processors) // 2 + len(overview.workloads) + len(overview.errors)
    movers = _movers(overview, max(height - used - 5, 3), width - 4)
    return Group(_head(overview, now), host, workloads, movers, *failing, _own(overview))


def _head(overview: Overview, now: float) -> Text:
    parts = [
        socket.gethostname(),
        f"up {fmt.age(overview.host.uptime)}",
        time.strftime("%H:%M:%S", time.localtime(now)),
    ]
    text = Text(" trimtab monitor", style="bold")
    text.append("  " + "  ·  ".join(parts), style="not bold bright_black")
    if overview.errors:
        text.append(f"  {len(overview.errors)} failing", style="bold red")
    return text


def _host(overview: Overview, width: int) -> RenderableType:
    host = overview.host
    memory = host.memory_used / host.memory_total if host.memory_total > 0 else math.nan
    rows = [
        *_processors(host, width),
        Text.assemble(("past ", "bold"), (fmt.sparkline(overview.cpu_past, min(SPARK, width - 5), 1.0), "cyan")),
        Text.assemble(
            ("mem  ", "bold"),
            _gauge(24, [("green", memory)]),
            f" {fmt.size(host.memory_used)} of {fmt.size(host.memory_total)}",
            f"   swap {fmt.size(host.swap_used)}",
        ),
        Text.assemble(
            ("load ", "bold"), "  ".join(f"{load:.2f}" for load in host.load), "   ", ("pressure ", "bold")
        ).append_text(Text("  ").join(_pressure(name, some) for name, (some, _) in host.pressure.items())),
        *(_device("disk ", one, "r", "w") for one in host.disks[:SHOWN_DEVICES]),
        *(_device("net  ", one, "↓", "↑") for one in host.networks[:SHOWN_DEVICES]),
    ]
    for row in rows:
        row.truncate(width, overflow="ellipsis")
    return Group(*rows)


def _processors(host: HostSummary, width: int) -> list[Text]:
    """A bar for each of a few processors; a column for each of many."""
    if len(host.processors) > SHOWN_PROCESSORS:
        columns = "".join(fmt.sparkline([used], 1, 1.0) for used in host.used)
        return [Text.assemble(("cpu  ", "bold"), columns[: width - 12], f" {fmt.share(host.cpu_used)}")]
    across = max(1, width // 38)
    lines = []
    for begin in range(0, len(host.processors), across):
        text = Text("cpu  " if begin == 0 else "     ", style="bold")
        for number, modes in list(enumerate(host.processors))[begin : begin + across]:
            shares = [(colour, sum(modes.get(mode, 0.0) for mode in group)) for colour, group in COLOURS]
            text.append_text(_gauge(24, shares))
            text.append(f" {fmt.share(host.used[number]):>4}  ", style="not bold")
        lines.append(text)
    return lines


def _gauge(width: int, shares: list[tuple[str, float]]) -> Text:
    text, pieces = Text(style="not bold"), fmt.bar(width, [one for _, one in shares])
    for (colour, _), piece in zip(shares, pieces, strict=True):
        text.append(piece, style=colour)
    return text.append("·" * (width - len(text)), style="bright_black")


def _pressure(name: str, some: float) -> Text:
    return Text.assemble(f"{name} ", (fmt.share(some), "bold red" if some >= 0.2 else "yellow" if some >= 0.02 else ""))


def _device(title: str, one: Traffic, into: str, out: str) -> Text:
    text = Text.assemble((title, "bold"), f"{one.device:<10.10} {into} {fmt.traffic(one.into):<10} ")
    text.append(f"{out} {fmt.traffic(one.out):<10}")
    if one.busy == one.busy:
        text.append(f" busy {fmt.share(one.busy)}", style="bold red" if one.busy > HOT else "")
    return text


def _workloads(overview: Overview, width: int) -> RenderableType:
    if not overview.workloads and not overview.errors:
        hint = "no workloads: --components testbed.json, --pid, --name, --cgroup or --scrape watch some"
        return Text(f" {hint}", style="bright_black")
    table = Table(box=None, expand=True, padding=(0, 1), header_style="bright_black")
    table.add_column("workload", no_wrap=True, overflow="ellipsis", ratio=2)
    spark = 20 if width >= WIDE else 10
    for title in ("cores", "", "memory", "rate", *([""] if width >= WIDE else []), "p50", "p99"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for row in overview.workloads:
        rate = f"{fmt.amount(row.rate)} {row.counted}/s" if row.rate == row.rate else fmt.UNKNOWN
        trend = [Text(fmt.sparkline(row.rate_past, spark), style="green")] if width >= WIDE else []
        table.add_row(
            Text(row.name, style="bold"),
            fmt.cores(row.cores),
            Text(fmt.sparkline(row.cores_past, spark, least=LEAST_CORES), style="cyan"),
            fmt.size(row.memory),
            rate,
            *trend,
            fmt.seconds(row.p50),
            fmt.seconds(row.p99),
        )
    return table


def _movers(overview: Overview, most: int, width: int) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="bright_black")
    table.add_column("unusual now", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("now", justify="right", no_wrap=True)
    table.add_column("usual", justify="right", no_wrap=True, style="bright_black")
    rows = []
    for mover in overview.movers[:most]:
        arrow, style = ("▲", "yellow") if mover.value > mover.usual else ("▼", "blue")
        now, usual = (fmt.quantity(mover.series, value, mover.is_rate) for value in (mover.value, mover.usual))
        rows.append((mover.series, Text(f"{arrow} {now}", style=style), usual))
    taken = max((len(now) for _, now, _ in rows), default=0) + max((len(usual) for *_, usual in rows), default=0)
    for series, now_text, usual in rows:
        table.add_row(_short(series, width - max(taken, 8) - 3), now_text, usual)
    if not overview.movers:
        table.add_row(Text("nothing", style="bright_black"), "", "")
    return Panel(table, border_style="bright_black", padding=(0, 1))


def _short(series: str, width: int) -> Text:
    """A series in few words: without what goes without saying, and if need be without its middle."""
    metric, labels = parse_key(series)
    name = " ".join([metric.removeprefix("node_").removesuffix("_total"), *filter(None, labels.values())])
    kept = max(width - 1, 8)
    return Text(name if len(name) <= width else f"{name[: kept * 3 // 5]}…{name[-(kept * 2 // 5) :]}")


def _failing(overview: Overview) -> list[RenderableType]:
    return [Text.assemble((f" {name} fails: ", "bold red"), reason) for name, reason in overview.errors.items()]


def _own(overview: Overview) -> Text:
    own = overview.own
    cost = "–" if math.isnan(own.core_share) else f"{100 * own.core_share:.1f}% of a core"
    missed = "–" if math.isnan(own.missed_periods) else f"{own.missed_periods:.0f}"
    sweep, memory = f"sweep {fmt.seconds(own.sweep_seconds)}", fmt.size(own.memory)
    parts = " · ".join((f"{own.series:,} series", cost, sweep, f"{missed} missed", memory))
    return Text(f" watching: {parts}", style="bright_black", no_wrap=True, overflow="ellipsis")
