"""What every series is: kind, meaning, where it is read, and its name in OpenTelemetry.

`MetricSpec` says what the controller observes; a `Family` says what stands behind it. HELP and TYPE of the exposition
and `docs/metrics.md` are made from these tables. They follow node_exporter and cAdvisor where these have the quantity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from telemetry.series_tables import TABLES

UNITS = ("seconds", "bytes", "ratio", "cores", "celsius", "joules", "watts", "hertz", "pages", "samples", "events")
"""Units that end a name; `requests` and the like count things, and are told by the name alone."""


@dataclass(frozen=True)
class Family:
    """All series of one name.

    Attributes:
        name: of the metric; with `*` at its end, of all metrics that begin so.
        kind: gauge, counter, histogram, summary or untyped; untyped is what the kernel counts without saying how.
        help: one sentence.
        source: file or program that is read.
        otel: name in OpenTelemetry's semantic conventions, empty where they have none.
    """

    name: str
    kind: str
    help: str
    source: str = ""
    otel: str = ""

    @property
    def unit(self) -> str:
        """The unit that the name ends with (before `_total`); empty where it counts things."""
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return last if last in UNITS else ""


def _parsed(table: str, source: str) -> Iterable[Family]:
    """Lines of `name kind [otel]: meaning`; the lines `# source` say where those below are read."""
    for line in table.strip().splitlines():
        if line.startswith("# "):
            source = line[2:]
            continue
        head, _, meaning = line.partition(": ")
        name, kind, otel = (*head.split(), "")[:3]
        yield Family(name, kind, meaning, source, otel)


GROUPS: dict[str, tuple[Family, ...]] = {title: tuple(_parsed(table, "")) for title, table in TABLES.items()}
"""Title -> families, in the order of the page."""

_EXACT = {family.name: family for families in GROUPS.values() for family in families}
_PREFIXES = sorted(
    ((name[:-1], family) for name, family in _EXACT.items() if name.endswith("*")), key=lambda pair: -len(pair[0])
)


def describe(name: str) -> Family | None:
    """What is known of a metric by its name; the longest `*` entry where it has none of its own, else None."""
    found = _EXACT.get(name)
    if found is not None:
        return found
    for prefix, family in _PREFIXES:
        if name.startswith(prefix):
            rest = name[len(prefix) :]
            return Family(name, family.kind, family.help.replace("*", rest), family.source, family.otel)
    return None
