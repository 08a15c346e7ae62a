"""Numbers as people read them at a glance; `–` where one is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNKNOWN = "–"
EIGHTHS = " ▁▂▃▄▅▆▇█"
PARTS = " ▏▎▍▌▋▊▉█"


def size(value: float) -> str:
    """Bytes: `312 MiB`."""
    return _scaled(value, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB"))


def amount(value: float) -> str:
    """Anything counted: `1.2 k`."""
    return _scaled(value, 1000.0, ("", "k", "M", "G", "T")).rstrip()


def traffic(value: float) -> str:
    """Bytes per second, with decimal prefixes as networks and disks are sold: `1.2 MB/s`."""
    return _scaled(value, 1000.0, ("B/s", "kB/s", "MB/s", "GB/s", "TB/s"))


def seconds(value: float) -> str:
    """A latency: `4.1 ms`."""
    if math.isnan(value):
        return UNKNOWN
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if value * factor >= 1.0:
            return f"{_digits(value * factor)} {unit}"
    return f"{_digits(value * 1e6)} µs" if value > 0 else "0 s"


def share(value: float) -> str:
    """A ratio in percent: `43%`, `0.3%`."""
    if math.isnan(value):
        return UNKNOWN
    return f"{100 * value:.0f}%" if value >= 0.0095 or value == 0 else f"{100 * value:.1f}%"


def cores(value: float) -> str:
    """Processors used: `0.71`."""
    return UNKNOWN if math.isnan(value) else f"{value:.2f}"


def age(value: float) -> str:
    """A duration: `3d 4h`, `12m`."""
    if math.isnan(value):
        return UNKNOWN
    minutes = int(value // 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    return f"{days}d {hours}h" if days else f"{hours}h {minutes}m" if hours else f"{minutes}m"


def quantity(metric: str, value: float, is_rate: bool) -> str:
    """A series' value in the unit that its name tells: `1.2 MB/s`, `0.71 cores`, `43 /s`."""
    name = metric.partition("{")[0].removesuffix("_total")
    if name.endswith("_bytes"):
        return traffic(value) if is_rate else size(value)
    if name.endswith("_seconds"):
        return share(value) if is_rate else seconds(value)
    if name.endswith("_ratio") and not is_rate:
        return share(value)
    return amount(value) + ("/s" if is_rate else "")


def sparkline(values: Sequence[float], width: int, least: float = 0.0) -> str:
    """The last `width` values as columns, from zero to the largest, or `least`; a gap where one is not known."""
    shown = list(values)[-width:]
    top = max([least, *(value for value in shown if value == value)])
    drawn = "".join(" " if value != value else _column(value, top) for value in shown)
    return drawn.rjust(width)


def bar(width: int, shares: Sequence[float]) -> list[str]:
    """Cells of a bar, one string per share, which together fill at most `width`; the rest is left to the caller.

    Only the last share ends within a cell; a cell has one colour.
    """
    pieces, begun, total = [], 0, 0.0
    for i, one in enumerate(shares):
        total = min(1.0, total + (0.0 if math.isnan(one) else max(one, 0.0)))
        eighths = round(total * width * 8)
        if i < len(shares) - 1:
            cells = "█" * (eighths // 8 - begun)
        else:
            cells = "█" * (eighths // 8 - begun) + (PARTS[eighths % 8] if eighths % 8 else "")
        pieces.append(cells)
        begun += len(cells)
    return pieces


def _column(value: float, top: float) -> str:
    eighths = math.ceil(8 * min(value / top, 1.0)) if top > 0 and value > 0 else 0
    return EIGHTHS[max(eighths, 1)]


def _scaled(value: float, step: float, units: Sequence[str]) -> str:
    if math.isnan(value):
        return UNKNOWN
    i = 0
    while abs(value) >= step * 0.9995 and i < len(units) - 1:
        value, i = value / step, i + 1
    return f"{_digits(value)} {units[i]}"


def _digits(value: float) -> str:
    """Three digits where they matter."""
    if value == int(value) and abs(value) < 1000:
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.1f}" if abs(value) >= 0.995 else f"{value:.2f}"
