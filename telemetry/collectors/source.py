"""What every collector is: a source of named numbers."""

from __future__ import annotations

import re
from typing import Protocol

_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


class SourceError(Exception):
    """A source that has nothing to give this time; the message is one line for the log."""


class Source(Protocol):
    """Something that is read once per sweep.

    Attributes:
        name: short, for logs and labels; unique within a sampler.
    """

    name: str

    def collect(self) -> dict[str, float]:
        """Current values, keyed by full series name in Prometheus form: `node_cpu_seconds_total{cpu="0",mode="user"}`.

        What cannot be read is absent; nothing is invented.

        Raises:
            SourceError: if there is nothing at all.
        """
        ...


def series_key(name: str, /, **labels: str) -> str:
    """Full series name; labels in the order given, their values escaped."""
    if not labels:
        return name
    written = ",".join(f'{label}="{escape_label(value)}"' for label, value in labels.items())
    return f"{name}{{{written}}}"


def escape_label(value: str) -> str:
    """A label value as the text format wants it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def unescape_label(written: str) -> str:
    """The label value that `escape_label` wrote."""
    return _ESCAPED.sub(lambda match: {"n": "\n"}.get(match.group(1), match.group(1)), written)


def parse_key(series: str) -> tuple[str, dict[str, str]]:
    """Metric name and labels of a full series name."""
    name, _, labels = series.partition("{")
    return name, {label: unescape_label(value) for label, value in _LABEL.findall(labels)}
