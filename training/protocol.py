"""The protocol of judging: which demands policies learn from, are selected on and are judged on; none is in two sets.

The shipped one is `training/configs/protocol.toml`. Generated days are declared by family, seed and the hash of their
rates, so that a changed generator is noticed; public traces by file and sha256. None of their content is here.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from envs.fields import Checked, FieldError, Finite
from telemetry.demand_families import FAMILIES
from telemetry.workload import Demand
from training.demands import DemandConfig, load_demands

Set = Literal["train", "validation", "test"]
SETS: tuple[Set, ...] = ("train", "validation", "test")
DECIMALS = 6
"""Of the rates that a hash is of, which are about 100 per second: numpy's exp differs in the last bits of a float from
one processor to another."""


class ProtocolError(ValueError):
    """A protocol that cannot be used, or a demand that it forbids; one line."""


class GeneratedDays(Checked, frozen=True, kw_only=True):
    """One day of every family for each seed."""

    seeds: Annotated[tuple[int, ...], Meta(min_length=1)]
    """Of the generator."""
    sha256: str
    """Of the rates of all these days, see `demands_hash`."""


class TraceFile(Checked, frozen=True, kw_only=True):
    """A public trace, by what it holds."""

    set: Set
    """What it is used for."""
    source: str
    """Who published it. A source is in one set only, unless its files say which time they are from."""
    file: str
    """Path below the folder of traces, for people: the content decides."""
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", examples=["64 hex digits"])]
    """Of the file."""
    days: tuple[Finite, Finite] | None = None
    """First and last day that it covers, on its source's own clock; None where it is all of the source that is used."""
    statistics_used: bool = False
    """Whether statistics of the source (the swing of a day, the roughness) shaped the generator of training days: the
    series was never replayed in training, but its kind is known."""


class Protocol(Checked, frozen=True, kw_only=True):
    """Training, validation and test demands. Unknown keys are errors."""

    families: tuple[str, ...] = tuple(FAMILIES)
    """Of the generated days."""
    train: GeneratedDays
    """Policies learn, and references are tuned, on these."""
    validation: GeneratedDays
    """Policies are selected on these."""
    test: GeneratedDays
    """Policies are judged on these, and on nothing else is anything judged that is published."""
    traces: tuple[TraceFile, ...] = ()
    """Public traces."""

    def seeds(self, name: Set) -> tuple[int, ...]:
        """Of the generated days of a set."""
        return self._days(name).seeds

    def demands(self, name: Set, period_seconds: float) -> list[Demand]:
        """The generated days of a set, each compressed to an episode."""
        return load_demands(DemandConfig(families=self.families, seeds=self.seeds(name)), period_seconds)

    def generated(self, name: Set) -> dict[str, Any]:
        """JSON-able: the declared hash of a set's generated days, and what the generator makes of them today."""
        made = demands_hash(self.demands(name, 1.0))
        declared = self._days(name).sha256
        return {"set": name, "seeds": list(self.seeds(name)), "sha256": made, "agrees": made == declared}

    def find(self, sha256: str) -> TraceFile | None:
        """The declared trace with this content; None where there is none."""
        return next((trace for trace in self.traces if trace.sha256 == sha256), None)

    def verify(self, folder: Path) -> dict[str, str]:
        """Declared file -> `ok`, `missing` or `other content`, for a folder of traces."""
        found = {}
        for trace in self.traces:
            path = folder / trace.file
            if not path.is_file():
                found[trace.file] = "missing"
            else:
                found[trace.file] = "ok" if file_hash(path) == trace.sha256 else "other content"
        return found

    def check_disjoint(self) -> None:
        """No demand may be in two sets.

        Raises:
            ProtocolError: a seed, a content or a source (at overlapping times) is in two sets.
        """
        for one, other in combinations(SETS, 2):
            shared = set(self.seeds(one)) & set(self.seeds(other))
            if shared:
                raise ProtocolError(f"seed {min(shared)} is in {one} and in {other}; each set needs seeds of its own")
        for a, b in combinations(self.traces, 2):
            if a.sha256 == b.sha256:
                raise ProtocolError(f"{a.file!r} and {b.file!r} have the same content; declare it once")
            if a.source == b.source and a.set != b.set and _overlap(a.days, b.days):
                raise ProtocolError(
                    f"source {a.source!r} is in {a.set} ({a.file!r}) and in {b.set} ({b.file!r}); keep it in one set, "
                    "or give both the `days` that they cover, which must not overlap"
                )

    def _days(self, name: Set) -> GeneratedDays:
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def load_protocol(source: str | Path | None = None) -> Protocol:
    """Read a protocol and check that its sets are disjoint.

    Args:
        source: TOML file; None is the shipped one.

    Raises:
        ProtocolError: unreadable, unknown key, value out of range, or a demand that is in two sets.
    """
    file = Path(source) if source is not None else resources.files("training") / "configs" / "protocol.toml"
    try:
        protocol = Protocol.model_validate(tomllib.loads(file.read_text()))
    except OSError as error:
        raise ProtocolError(f"cannot read protocol {str(source)!r}: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"protocol {str(source)!r} is not valid TOML: {error}") from None
    except FieldError as error:
        raise ProtocolError(f"protocol {str(source or file.name)!r}: {error}") from None
    protocol.check_disjoint()
    return protocol


def demands_hash(demands: Sequence[Demand]) -> str:
    """sha256 of the names and rates of demands, in their order; rates count to `DECIMALS`."""
    digest = hashlib.sha256()
    for demand in demands:
        digest.update(f"{demand.name} {demand.step_seconds:g}".encode())
        for rates in (demand.requests_per_second, demand.events_per_second):
            digest.update((np.round(rates * 10.0**DECIMALS)).astype("<i8").tobytes())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file, or of all files of a recording's folder in order of name."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _overlap(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    return one is None or other is None or (one[0] < other[1] and other[0] < one[1])


def trace_status(protocol: Protocol, demands: Iterable[Demand]) -> list[dict[str, Any]]:
    """What the protocol says about traces: `test`, `train`, `validation`, or `yours` where it does not know them.

    Args:
        protocol: that is judged by.
        demands: with the path of their file as `source`.

    Returns:
        JSON-able, one for each demand: `trace`, `file`, `sha256`, `set`, `statistics_used`.
    """
    found = []
    for demand in demands:
        path = Path(demand.source)
        digest = file_hash(path)
        declared = protocol.find(digest)
        found.append(
            {
                "trace": demand.name,
                "file": declared.file if declared else path.name,
                "sha256": digest,
                "set": declared.set if declared else "yours",
                "statistics_used": bool(declared and declared.statistics_used),
            }
        )
    return found
