"""A recorded run of a system: metric values and settings over time, kept as self-describing Parquet."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.demand_families import DAY
from telemetry.parquet_file import encode, write
from telemetry.store_files import clear_partials
from telemetry.workload import Demand, events_after_requests, fill_gaps

if TYPE_CHECKING:
    import pyarrow

logger = logging.getLogger(__name__)

FORMAT = 1
SETTING_PREFIX = "setting:"
SEGMENT_PATTERN = "segment-*.parquet"

REQUESTS_METRIC = "serving_arrivals_per_second"
"""What a recorded system was asked to serve."""
EVENTS_METRIC = "ingest_arrivals_per_second"
"""What it was given to ingest."""


class TraceError(ValueError):
    """A trace that cannot be used; the message is one line: which file, what was found, what is allowed."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Readings of a system and the settings that were in force.

    Attributes:
        times: (T,) float64 seconds, finite, strictly increasing.
        values: (T, n_metrics) float64 in the units that the names tell; NaN where missing.
        metric_names: one per column of `values`.
        settings: (T, n_knobs) float64, what was really applied during the period that ends at `times`.
        knob_names: one per column of `settings`.
        metadata: JSON values; `spec_fingerprint`, `wall_start` (seconds since 1970, of the first row), `source` and
            `units` where known; of a stored demand also `name`, `day_seconds` and `start_seconds`.

    Raises:
        TraceError: on shapes, names or times that do not fit together.
    """

    times: np.ndarray
    values: np.ndarray
    metric_names: tuple[str, ...]
    settings: np.ndarray
    knob_names: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("times", "values", "settings"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        object.__setattr__(self, "metric_names", tuple(self.metric_names))
        object.__setattr__(self, "knob_names", tuple(self.knob_names))
        rows = len(self.times)
        for name, columns in (("values", self.metric_names), ("settings", self.knob_names)):
            shape, expected = getattr(self, name).shape, (rows, len(columns))
            if shape != expected:
                raise TraceError(
                    f"trace: {name} has shape {shape}, must be {expected} for its {rows} times and its names"
                )
            if len(set(columns)) != len(columns):
                twice = sorted({c for c in columns if columns.count(c) > 1})
                raise TraceError(f"trace: {name} names columns twice: {', '.join(twice)}")
        if not np.isfinite(self.times).all() or (np.diff(self.times) <= 0).any():
            raise TraceError("trace: times must be finite and strictly increasing")

    def __len__(self) -> int:
        return len(self.times)

    def slice(self, t0: float, t1: float) -> Trace:
        """The rows with t0 <= time < t1, in the trace's own seconds; the start in the metadata moves with them."""
        inside = (self.times >= t0) & (self.times < t1)
        later = float(self.times[inside][0] - self.times[0]) if inside.any() else 0.0
        starts: dict[str, Any] = {
            key: self.metadata[key] + later for key in ("wall_start", "start_seconds") if key in self.metadata
        }
        return replace(
            self,
            times=self.times[inside],
            values=self.values[inside],
            settings=self.settings[inside],
            metadata={**self.metadata, **starts},
        )

    def select(self, names: Sequence[str]) -> Trace:
        """The metrics `names`, in that order.

        Raises:
            TraceError: on a name that the trace lacks.
        """
        columns = [self._column(name) for name in names]
        return replace(self, values=self.values[:, columns], metric_names=tuple(names))

    def to_demand(self, requests: str = REQUESTS_METRIC, events: str | None = None, *, name: str = "") -> Demand:
        """The demand that was recorded: counters (`*_total`) become rates, gauges are taken as rates.

        The step is the median distance of rows; rows are averaged into steps and gaps filled as `fill_gaps` says. The
        time of day is that of the recording, in UTC, or 0 where the metadata do not tell.

        Args:
            requests: metric of the requests.
            events: metric of the events; None: `EVENTS_METRIC` where there are readings of it, else derived from the
                requests, as in `events_after_requests`.
            name: of the demand; by default the one in the metadata, or the metric of the requests.

        Raises:
            TraceError: on an unknown metric, fewer than three rows, or a metric that is NaN throughout or negative.
        """
        if len(self) < 3:
            raise TraceError(f"trace: {len(self)} rows; a demand needs at least 3")
        step = float(np.median(np.diff(self.times)))
        step = round(step, 3) or step  # a period of 0.999996 s is one of 1 s: readings come a little early or late
        if events is None and self._has_readings(EVENTS_METRIC):
            events = EVENTS_METRIC
        # A counter says nothing of the period that ends with its first row, so neither series may begin there.
        first = int(any(metric and _is_total(metric) for metric in (requests, events)))
        request_rate, interpolated, held = self._rate(requests, step, first)
        if events is None:  # always from the same seed: the same trace is the same demand
            event_rate = events_after_requests(request_rate, step, np.random.default_rng(0))
        else:
            event_rate = self._rate(events, step, first)[0]
        try:
            return Demand(
                name or str(self.metadata.get("name", requests)),
                step,
                request_rate,
                event_rate,
                str(self.metadata.get("source", "trace")),
                interpolated,
                held,
                day_seconds=float(self.metadata.get("day_seconds", DAY)),
                start_seconds=float(self.metadata.get("start_seconds", self.metadata.get("wall_start", 0.0) % DAY)),
            )
        except (TypeError, ValueError) as error:
            raise TraceError(f"trace: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write one Parquet file, all of it or nothing: a crash leaves the old file as it was."""
        header = {
            "format": FORMAT,
            "metric_names": self.metric_names,
            "knob_names": self.knob_names,
            "metadata": self.metadata,
        }
        columns = [self.times, *self.values.T, *self.settings.T]
        names = ["time", *self.metric_names, *(SETTING_PREFIX + name for name in self.knob_names)]
        rows = encode(dict(zip(names, columns, strict=True)))
        write(Path(path), [rows], {"trimtab": json.dumps(header)}, durable=True)

    @staticmethod
    def load(path: str | Path) -> Trace:
        """A Parquet file, or a directory of the segments that `TraceRecorder` wrote.

        A last segment that is damaged is left out and counted in `metadata["damaged_segments"]`.

        Raises:
            TraceError: if there is nothing, or a file is damaged or no trace of ours.
        """
        path = Path(path)
        return _load_segments(path) if path.is_dir() else _load_file(path)

    def _column(self, name: str) -> int:
        if name not in self.metric_names:
            raise TraceError(f"trace: no metric {name!r}; it has: {', '.join(self.metric_names)}")
        return self.metric_names.index(name)

    def _has_readings(self, name: str) -> bool:
        return name in self.metric_names and bool(np.isfinite(self.values[:, self._column(name)]).any())

    def _rate(self, name: str, step: float, first: int) -> tuple[np.ndarray, int, int]:
        """(steps,) rates from row `first` on without NaN, and how many were interpolated and held."""
        values, times = self.values[first:, self._column(name)], self.times[first:]
        if _is_total(name):
            grown = np.diff(self.values[:, self._column(name)])
            values = np.where(grown >= 0, grown, np.nan) / np.diff(self.times)  # a decrease is a reset: unknown
        known = np.isfinite(values)
        index = np.rint((times - times[0]) / step).astype(int)[known]
        steps = max(2, round((times[-1] - times[0]) / step) + 1)
        counts = np.bincount(index, minlength=steps)
        sums = np.bincount(index, values[known], minlength=steps)
        means = np.divide(sums, counts, where=counts > 0, out=np.full(steps, np.nan))
        try:
            return fill_gaps(means)
        except ValueError as error:
            raise TraceError(f"trace: metric {name!r}: {error}") from error


def _is_total(name: str) -> bool:
    return name.partition("{")[0].endswith("_total")  # a series has labels behind its name


def _load_file(path: Path) -> Trace:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise TraceError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error
    return _from_table(path, table)


def _from_table(path: Path, table: pyarrow.Table) -> Trace:
    encoded = (table.schema.metadata or {}).get(b"trimtab")
    if encoded is None:
        raise TraceError(
            f"{path}: Parquet without a 'trimtab' header; found columns {', '.join(table.column_names[:8])}"
        )

    def columns(names: Sequence[str]) -> np.ndarray:
        arrays = [table[name].to_numpy() for name in names]
        return np.stack(arrays, axis=1) if arrays else np.empty((table.num_rows, 0))

    try:
        header = json.loads(encoded)
        if header["format"] != FORMAT:
            raise TraceError(f"trace format {header['format']!r}; this version reads format {FORMAT}")
        metrics, knobs = tuple(header["metric_names"]), tuple(header["knob_names"])
        return Trace(
            times=table["time"].to_numpy(),
            values=columns(metrics),
            metric_names=metrics,
            settings=columns([SETTING_PREFIX + name for name in knobs]),
            knob_names=knobs,
            metadata=header["metadata"],
        )
    except (KeyError, ValueError) as error:  # ValueError: JSON and TraceError
        raise TraceError(f"{path}: no usable trace header ({error.args[0]})") from error


def _load_segments(folder: Path) -> Trace:
    files = sorted(folder.glob(SEGMENT_PATTERN))
    if not files:
        raise TraceError(f"{folder}: no trace segments ({SEGMENT_PATTERN}) in it")
    segments, damaged = [], 0
    for file in files:
        try:
            segments.append(_load_file(file))
        except TraceError:
            # Only the newest may be torn by a crash of the disk or the host; a hole in the middle would shift time
            # silently.
            if file != files[-1] or not segments:
                raise
            damaged = 1
            logger.warning("%s is damaged and left out", file)
    return _join(folder, segments, damaged)


def _join(folder: Path, segments: Sequence[Trace], damaged: int) -> Trace:
    first = segments[0]
    for segment in segments[1:]:
        if (segment.metric_names, segment.knob_names) != (first.metric_names, first.knob_names):
            raise TraceError(
                f"{folder}: segments have different metrics or knobs; keep each recording in its own folder"
            )
    metadata: Mapping[str, Any] = {**first.metadata, "damaged_segments": damaged}
    try:
        return replace(
            first,
            times=np.concatenate([segment.times for segment in segments]),
            values=np.concatenate([segment.values for segment in segments]),
            settings=np.concatenate([segment.settings for segment in segments]),
            metadata=dict(metadata),
        )
    except TraceError as error:
        raise TraceError(f"{folder}: segments do not follow each other ({error})") from error


class TraceRecorder:
    """Writes a growing trace as segments; at `kill -9` only the rows of the segment being filled are lost.

    Not safe for use from several threads. A folder that already holds segments of the same metrics and knobs is
    continued.

    Args:
        directory: made where missing.
        metric_names: order of the values given to `append`.
        knob_names: order of the settings given to `append`.
        metadata: goes into every segment; see `Trace.metadata`.
        rows_per_segment: rows between two writes. 120 rows of 40 metrics take some 2 ms to write, of 800 metrics 26
            ms; a row lost is a control period lost.

    Raises:
        TraceError: if the folder holds segments of other metrics or knobs.
    """

    def __init__(
        self,
        directory: str | Path,
        metric_names: Sequence[str],
        knob_names: Sequence[str] = (),
        *,
        metadata: Mapping[str, Any] | None = None,
        rows_per_segment: int = 120,
    ) -> None:
        if rows_per_segment < 1:
            raise ValueError(f"rows_per_segment is {rows_per_segment}, must be at least 1")
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._metric_names, self._knob_names = tuple(metric_names), tuple(knob_names)
        self._metadata = dict(metadata or {})
        self._rows_per_segment = rows_per_segment
        self._rows: list[tuple[float, np.ndarray, np.ndarray]] = []
        self._last_time = -np.inf
        self._next = self._continue()

    def append(self, time: float, values: np.ndarray, setting: np.ndarray | Sequence[float] = ()) -> None:
        """Add a row, and write a segment when it is full.

        Args:
            time: seconds, later than the row before.
            values: (n_metrics,), NaN where missing.
            setting: (n_knobs,), what is really applied.

        Raises:
            TraceError: on a wrong shape or a time that does not grow; the row is not added.
        """
        row = np.array(values, dtype=np.float64), np.array(setting, dtype=np.float64)  # copies: callers reuse buffers
        wanted = (len(self._metric_names),), (len(self._knob_names),)
        if (row[0].shape, row[1].shape) != wanted:
            raise TraceError(f"trace row has values {row[0].shape} and setting {row[1].shape}; wanted {wanted}")
        if not (np.isfinite(time) and time > self._last_time):
            raise TraceError(f"trace row at {time} s follows one at {self._last_time} s; times must grow")
        self._rows.append((float(time), *row))
        self._last_time = float(time)
        if len(self._rows) >= self._rows_per_segment:
            self.flush()

    def flush(self) -> None:
        """Write the rows so far as a segment; nothing to do without rows."""
        if not self._rows:
            return
        times, values, settings = zip(*self._rows, strict=True)
        trace = Trace(
            np.array(times), np.stack(values), self._metric_names, np.stack(settings), self._knob_names, self._metadata
        )
        trace.save(self.directory / f"segment-{self._next:06d}.parquet")
        self._next += 1
        self._rows.clear()

    def close(self) -> None:
        """Write what is left; a second call does nothing."""
        self.flush()

    def __enter__(self) -> TraceRecorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _continue(self) -> int:
        """Number of the next segment, after what an earlier recorder left behind."""
        clear_partials(self.directory)
        files = sorted(self.directory.glob(SEGMENT_PATTERN))
        if not files:
            return 1
        last = int(files[-1].stem.removeprefix("segment-"))
        try:
            existing = _load_file(files[-1])
        except TraceError:
            # Rows after a damaged segment would put it into the middle, which makes the whole recording unreadable.
            files[-1].rename(files[-1].with_suffix(".damaged"))
            return max(last, self._continue())
        if (existing.metric_names, existing.knob_names) != (self._metric_names, self._knob_names):
            raise TraceError(f"{self.directory}: holds segments of other metrics or knobs; choose another folder")
        self._last_time = float(existing.times[-1])
        return last + 1
