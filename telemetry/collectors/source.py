"""What every collector is: a source of named numbers."""

from __future__ import annotations

import re
from typing import Protocol, runtime_checkable

import numpy as np

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


@runtime_checkable
class ArraySource(Protocol):
    """A source that writes numbers into an array: no name is handled while its set of series stays the same.

    It may have an attribute `missing`: reason -> how many values could not be read for it, ever since.

    Attributes:
        name: short, for logs and labels; unique within a sampler.
    """

    name: str

    def series(self) -> tuple[str, ...]:
        """Full series names, each once; the same tuple object as long as the set has not changed."""
        ...

    def read(self, out: np.ndarray) -> bool:
        """Write the current values into `out`, in the order of `series()`; NaN where one could not be read.

        Args:
            out: (len(series()),) float64, overwritten as a whole.

        Returns:
            False if the set of series changed: `out` is worth nothing, ask for `series()` again.

        Raises:
            SourceError: if there is nothing at all.
        """
        ...


READINGS = 5
"""Of a source whose series change while it is read. One more settles what came or went; more are for a host where
processes end faster than they are read."""


def read_row(source: ArraySource, row: np.ndarray, names: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and values of a source.

    Args:
        source: to be read.
        row: (len(names),) float64, written over if the set of series is still the same.
        names: of the reading before.

    Raises:
        SourceError: its series change at every reading; or what the source raises.
    """
    for _ in range(READINGS):
        found = source.series()
        if found is not names:
            names, row = found, np.empty(len(found))
        if source.read(row):
            return names, row
    raise SourceError(f"its series changed during each of {READINGS} readings")


def named(source: ArraySource) -> dict[str, float]:
    """Values of an array source by name, for its `collect`; what is NaN is absent.

    Raises:
        SourceError: as `read_row` does.
    """
    names, row = read_row(source, np.empty(0), ())
    return {name: value for name, value in zip(names, row.tolist(), strict=True) if value == value}


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
