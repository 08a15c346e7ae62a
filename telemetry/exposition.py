"""Prometheus text of our own metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from telemetry.collectors.source import escape_label, parse_key

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Family:
    """All samples of one metric.

    Attributes:
        name: of the metric; counters end in `_total`.
        help: one sentence.
        kind: "gauge", "counter" or "untyped".
        samples: labels -> value; the empty tuple for a metric without labels.
    """

    name: str
    help: str
    kind: str = "gauge"
    samples: Mapping[Labels, float] = field(default_factory=dict)


def render(families: Iterable[Family]) -> bytes:
    """Text format 0.0.4, to be served as `CONTENT_TYPE`.

    Raises:
        ValueError: on a name or kind that the format does not allow, or a family given twice.
    """
    lines: list[str] = []
    seen: set[str] = set()
    for family in families:
        _check(family, seen)
        lines.append(f"# HELP {family.name} {_escape_help(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [f"{_series(family.name, labels)} {_number(value)}" for labels, value in family.samples.items()]
    return ("\n".join(lines) + "\n").encode() if lines else b""


def families_of(values: Mapping[str, float], help_of: Mapping[str, str] | None = None) -> list[Family]:
    """Values by full series name, as a `Sweep` has them, grouped by metric; `*_total` are counters, all others gauges.

    The buckets of a scraped histogram keep their names and become untyped, since a reader would look for their type
    in vain.

    Args:
        values: by full series name.
        help_of: metric name -> help; without it, the name is its own help.
    """
    samples: dict[str, dict[Labels, float]] = {}
    for series, value in values.items():
        name, labels = parse_key(series)
        samples.setdefault(name, {})[tuple(labels.items())] = value
    help_of = help_of or {}
    return [Family(name, help_of.get(name, name), _kind(name), found) for name, found in samples.items()]


def _kind(name: str) -> str:
    if name.endswith("_total"):
        return "counter"
    return "untyped" if name.endswith(("_bucket", "_count", "_sum")) else "gauge"


def _check(family: Family, seen: set[str]) -> None:
    if not _NAME.fullmatch(family.name):
        raise ValueError(f"metric name {family.name!r} must match {_NAME.pattern}")
    if family.kind not in ("gauge", "counter", "untyped"):
        raise ValueError(f"metric {family.name}: kind {family.kind!r}; allowed are gauge, counter, untyped")
    if family.kind == "counter" and not family.name.endswith("_total"):
        raise ValueError(f"counter {family.name!r} must end in _total")
    if family.name in seen:
        raise ValueError(f"metric {family.name} given twice; put all its samples into one family")
    seen.add(family.name)
    for labels in family.samples:
        for label, _ in labels:
            if not _LABEL_NAME.fullmatch(label):
                raise ValueError(f"metric {family.name}: label name {label!r} must match {_LABEL_NAME.pattern}")


def _series(name: str, labels: Labels) -> str:
    written = ",".join(f'{label}="{escape_label(value)}"' for label, value in labels)
    return f"{name}{{{written}}}" if written else name


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
