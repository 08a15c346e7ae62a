"""Units of metrics and knobs as people read them: what a name's suffix means, and quantities in three digits."""

from __future__ import annotations

import math

SUFFIXES = {
    "_bytes_per_second": "bytes/s",
    "_per_second": "1/s",
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_ratio": "ratio",
    "_cores": "cores",
}
"""How the names of metrics and knobs end, and the unit that it stands for; the first that fits."""
COUNTED = ("requests", "samples", "events")
"""Other last words of a name that say what is counted."""


def unit_of(name: str) -> str:
    """The unit that a metric's name tells: of `serving_latency_p99_seconds` seconds; 1 where it tells none."""
    for suffix, unit in SUFFIXES.items():
        if name.endswith(suffix):
            return unit
    last = name.rsplit("_", 1)[-1]
    return last if last in (*COUNTED, "hosts") else "1"


def without_unit(name: str) -> str:
    """A name in words, without its unit: of `training_backlog_samples` training backlog."""
    for suffix in (*SUFFIXES, *(f"_{word}" for word in COUNTED)):
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("_", " ")
    return name.replace("_", " ")


def number(value: float) -> str:
    """Three digits or thousandths, never an exponent: 0.021, 4.5, 132, 20k, 1.5M; a dash for NaN."""
    if math.isnan(value):
        return "–"
    size = abs(value)
    if size < 5e-4:
        return "0"
    for least, factor, prefix in ((0.9995e12, 1e12, "T"), (0.9995e9, 1e9, "G"), (0.9995e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= least:
            return f"{value / factor:.3g}{prefix}" if math.isfinite(value) else f"{value}"
    return f"{value:.0f}" if size >= 100 else f"{round(value, 3):.3g}"


def quantity(value: float, unit: str) -> str:
    """A value with its unit, short: `88 ms`, `1.2 GB`, `132 /s`, `97 %`, `0.42 cores`; a dash where it is missing."""
    if math.isnan(value):
        return "–"
    unit = unit.replace(" per second", "/s")
    if unit == "seconds":
        return _seconds(value)
    if unit in ("bytes", "bytes/s"):
        return _bytes(value) + unit.removeprefix("bytes")
    if unit == "ratio":
        return f"{number(round(100.0 * value, 1))} %"
    if unit == "cores":
        return f"{value:.2f} cores" if value < 10 else f"{number(value)} cores"
    if unit == "1":
        return number(value)
    return f"{number(round(value, 2))} {'/s' if unit == '1/s' else unit}"


def _seconds(value: float) -> str:
    if 0 < abs(value) < 1:
        return f"{number(1e3 * value)} ms"
    return f"{number(value)} s"


def _bytes(value: float) -> str:
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:  # what three digits would round up to it
            return f"{value / factor:.3g} {prefix}B"
    return f"{value:.3g} B"
