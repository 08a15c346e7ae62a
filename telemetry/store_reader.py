"""Reads a store, also while it is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.query import Query, QueryError, Range, Rows, answer, instant, readings
from telemetry.ring import Block
from telemetry.store_files import StoredFile, StoreError, read_header, settled_files
from telemetry.tiers import FIELDS
from telemetry.trace import EVENTS_METRIC, REQUESTS_METRIC
from telemetry.workload import Demand

if TYPE_CHECKING:
    import pyarrow.parquet as pq

logger = logging.getLogger(__name__)

MAX_ROWS = 5_000_000
"""Of one answer, 200 bytes each at the worst: a day of sweeps of 57 series, or a month of minutes of 115."""
REQUESTS = (REQUESTS_METRIC, "serving_requests_total")
"""Series that tell what is asked of a system, the best first."""
EVENTS = (EVENTS_METRIC, "ingest_events_received_total")
"""Likewise for what it is given to ingest."""
TRIES = 20
"""Listings of a tier whose files are joined while they are read, which happens a few times an hour."""


@dataclass(frozen=True)
class Tier:
    """One tier on disk.

    Attributes:
        name: of the tier.
        step_seconds: 0 for sweeps.
        files: in order of time.
    """

    name: str
    step_seconds: float
    files: tuple[StoredFile, ...]


class StoreReader:
    """A store, as it is on disk now.

    Args:
        folder: of the store.

    Raises:
        StoreError: it is no store, or of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._steps = {tier["name"]: float(tier["step_seconds"]) for tier in read_header(self.folder)["tiers"]}
        self._damaged: set[Path] = set()

    @property
    def tiers(self) -> list[Tier]:
        """Those that have files, fine to coarse."""
        found = [Tier(n, step, tuple(settled_files(self.folder / n))) for n, step in self._steps.items()]
        return sorted((tier for tier in found if tier.files), key=lambda tier: tier.step_seconds)

    def names(self) -> tuple[str, ...]:
        """Every series that is kept anywhere, in alphabetical order."""
        found: set[str] = set()
        for tier, after, before in self._plan(self.tiers, np.inf):
            for file in tier.files:
                if file.last > after and file.first <= before:
                    for column in self._columns(file, ["series"]):
                        found.update(column["series"][0])
        return tuple(sorted(found))

    def newest(self) -> float:
        """Wall clock of the last row of the finest tier, seconds since 1970.

        Raises:
            StoreError: the store is empty.
        """
        for file in reversed(self.tiers[0].files if self.tiers else ()):
            for columns in self._columns(file, ["time", "wall_offset"]):
                return float((columns["time"] + columns["wall_offset"]).max())
        raise StoreError(f"{self.folder}: nothing is kept in it yet; the first row group comes after a minute")

    def sweeps(self, after: float) -> Iterator[Block]:
        """Sweeps of the finest tier, a row group at a time.

        Args:
            after: seconds on the axis; sweeps up to then are left out.
        """
        for file in self.tiers[0].files if self.tiers else ():
            for columns in self._columns(file, None) if file.last > after else ():
                later = columns["time"] > after
                times, first, row = np.unique(columns["time"][later], return_index=True, return_inverse=True)
                names, codes = columns["series"]
                values = np.full((len(times), len(names)), np.nan)
                values[row, codes[later]] = columns["value"][later]
                if len(times):
                    yield Block(times, columns["wall_offset"][later][first], tuple(names), values)

    def read(self, query: Query) -> Range:
        """What is asked for, from the coarsest tier that is fine enough.

        Older than that tier reaches, coarser ones answer; newer than it was written, finer ones.

        Raises:
            QueryError: no series matches, or the answer would be too large.
        """
        wanted = _Wanted(query)
        parts, used = [], []
        for tier, after, before in self._plan(self.tiers, query.step_seconds or 0.0):
            found = self._read_tier(tier, wanted, (after, before))
            parts += found
            if found:
                used.append(tier.name)
        if not parts:
            raise QueryError(f"{self.folder}: nothing matches {' '.join(query.series)} in that range; {self._has()}")
        rows = Rows(*(np.concatenate([getattr(p, name) for p in parts], axis=-1) for name in Rows.__annotations__))
        return answer(rows, wanted.names, query, f"{self.folder} ({', '.join(used)})")

    def _has(self) -> str:
        tiers = self.tiers
        if not tiers:
            return "the store is empty"
        first, last = min(tier.files[0].first for tier in tiers), max(tier.files[-1].last for tier in tiers)
        return f"it reaches from {instant(first)} to {instant(last)} and `trimtab trace show` lists the series"

    @staticmethod
    def _plan(tiers: Sequence[Tier], step: float) -> Iterator[tuple[Tier, float, float]]:
        """Tiers with the times that each answers for: rows later than the one, sweeps before the other."""
        if not tiers:
            return
        base = max((i for i, tier in enumerate(tiers) if tier.step_seconds <= step), default=0)
        yield tiers[base], -np.inf, np.inf
        until = tiers[base].files[-1].last
        for tier in reversed(tiers[:base]):
            # A period whose last sweep the coarser tier has counted ends within a step of that sweep.
            yield tier, until + tier.step_seconds, np.inf
            until = max(until, tier.files[-1].last)
        since = min(tier.files[0].first for tier in tiers[: base + 1])
        for tier in tiers[base + 1 :]:
            yield tier, -np.inf, since
            since = min(since, tier.files[0].first)

    def _read_tier(self, tier: Tier, wanted: _Wanted, times: tuple[float, float]) -> list[Rows]:
        """Rows that match, later than the first of the times and not later than the second."""
        found: list[Rows] = []
        step, (after, before) = tier.step_seconds, times
        done = -np.inf  # end of the last file that was read
        for _ in range(TRIES):
            try:
                for file in settled_files(self.folder / tier.name):
                    if done < file.last and after < file.last + step and file.first <= before:
                        found += self._read_file(file, step, wanted, (after, before))
                    done = max(done, file.last)
                    _check_size(sum(len(rows.times) for rows in found))
                return found
            except FileNotFoundError:  # joined to others meanwhile
                if step:  # a period may lie in several files, and its rows do not tell which have been read
                    found, done = [], -np.inf
                else:
                    after = max(after, done)
        raise StoreError(f"{self.folder / tier.name}: its files change faster than they can be read; try again")

    def _read_file(self, file: StoredFile, step: float, wanted: _Wanted, times: tuple[float, float]) -> list[Rows]:
        parts = [_matching(columns, step, wanted, times) for columns in self._columns(file, None, (wanted.query, step))]
        return [part for part in parts if len(part.times)]

    def _columns(
        self, file: StoredFile, names: Sequence[str] | None, wanted: tuple[Query, float] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Columns of each row group; `series` as (names, codes). A damaged file is left out with a note.

        Args:
            file: to read.
            names: of the columns; None: all.
            wanted: what is asked for and the tier's step, to pass over row groups; None: all of them.

        Raises:
            FileNotFoundError: it was joined or deleted meanwhile.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            opened = pq.ParquetFile(file.path, read_dictionary=["series"])
            for group in range(opened.num_row_groups):
                if wanted is None or _overlaps(opened, group, *wanted):
                    yield _numpy(opened.read_row_group(group, columns=names))
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            if file.path not in self._damaged:
                logger.warning("%s is damaged and left out (%s)", file.path, str(error).partition("\n")[0])
            self._damaged.add(file.path)


def store_demand(folder: Path, requests: str | None = None) -> Demand:
    """What was asked of the recorded system, as far back as its sweeps go: the sum of the series that match.

    Args:
        folder: of the store.
        requests: pattern of the series, as in `Query`; None: the first of `REQUESTS` that is kept.

    Raises:
        QueryError: no series matches.
        TraceError: too little was recorded.
    """
    patterns = REQUESTS if requests is None else (requests,)
    reader = StoreReader(folder)
    found = reader.read(Query((*patterns, *EVENTS)))
    asked = _first_sum(found, patterns)
    if asked is None:
        raise QueryError(f"{folder}: no series {' or '.join(patterns)}; say which one is the demand")
    given = _first_sum(found, EVENTS)
    columns = dict([asked] if given is None else [given, asked])
    table = replace(found, names=tuple(columns), values=np.stack(list(columns.values()), axis=1))
    trace = table.trace().slice(reader.tiers[0].files[0].first, np.inf)
    return trace.to_demand(asked[0], None if given is None else given[0], name=folder.name)


def _first_sum(found: Range, patterns: Sequence[str]) -> tuple[str, np.ndarray] | None:
    """Name and (T,) sum over the labels, of the first pattern that matches; None where none does."""
    for pattern in patterns:
        wanted = Query((pattern,)).wants(found.names)
        if wanted.any():
            return found.names[int(wanted.argmax())].partition("{")[0], found.values[:, wanted].sum(axis=1)
    return None


class _Wanted:
    """The series that match, numbered as they are met."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self._index: dict[str, int] = {}  # -1: does not match
        self._names: list[str] = []

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def indices(self, names: Sequence[str]) -> np.ndarray:
        """Number of each, (len(names),), -1 where it does not match."""
        new = [name for name in names if name not in self._index]
        for name, wanted in zip(new, self.query.wants(new) if new else (), strict=True):
            self._index[name] = len(self._names) if wanted else -1
            self._names += [name] if wanted else []
        return np.array([self._index[name] for name in names])


def _overlaps(opened: pq.ParquetFile, group: int, query: Query, step: float) -> bool:
    """Whether a row group may have rows in the range, by the smallest and largest values in the footer."""
    columns = (opened.metadata.row_group(group).column(i) for i in (0, 1))
    (low, high), (low_offset, high_offset) = ((c.statistics.min, c.statistics.max) for c in columns)
    later = query.end is not None and low + low_offset - step >= query.end
    return not later and (query.begin is None or high + high_offset - step >= query.begin)


def _numpy(table: Any) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if name == "series":
            columns[name] = column.dictionary.to_pylist(), column.indices.to_numpy()
        else:
            columns[name] = column.to_numpy()
    return columns


def _matching(columns: dict[str, Any], step: float, wanted: _Wanted, times: tuple[float, float]) -> Rows:
    """Rows of a row group that are asked for; a period is asked for by its beginning, and labelled with its end."""
    names, codes = columns["series"]
    series = wanted.indices(names)[codes]
    time, offset = columns["time"], columns["wall_offset"]
    rows = (series >= 0) & (time > times[0]) & (time <= times[1]) & wanted.query.inside(time + offset - step)
    if "value" in columns:
        return readings(time[rows], offset[rows], series[rows], columns["value"][rows])
    fields = np.stack([columns[name][rows] for name in FIELDS])
    return Rows(time[rows], offset[rows], series[rows], fields, np.full(len(fields[0]), step))


def _check_size(rows: int) -> None:
    if rows > MAX_ROWS:
        raise QueryError(f"more than {MAX_ROWS} rows match; name fewer --series, a shorter range or a larger --step")
