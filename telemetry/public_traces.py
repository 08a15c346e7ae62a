"""Reads public workload traces, whatever their format: the content decides, not the name of the file or its folder.

| found | read as | default demand |
|---|---|---|
| `t,rate[,events,...]` | samples (ServeGen totals, or your own) | rate, and events where there are |
| `t,client,rate,...` | one series per client (ServeGen) | sum of the clients |
| a number per line | requests per second, every second (Autothrottle) | it |
| `TIMESTAMP,...` / `timestamp_ms,...` | one request per line (Azure LLM / Mooncake) | requests per second |
| `submit_time,num_gpu,...` | one training job per line (Philly as in Muri) | jobs per second |
| `<s> a,b,|,` | virtual machine creations (Azure V1) | machines per second |
| `vc,time,...`, `time,active,...` | samples by virtual cluster, or of all (Helios) | the first series |
| `cluster,time,...` / `job,task,t_s,...` | samples by pool (CloudCluster) / task (Google) | the first series |
| `timestamp,value` | samples (NAB, or your own) | value |
| npz with `values`, `step_s` | metrics (JumpStarter, SMD) | the first metric |
| Parquet, or a folder of segments | our own `Trace`, e.g. of `trimtab record` | what arrived at serving and ingest |
| a folder of `trimtab monitor --store` | a store | what serving and ingest counted |
| another folder | the first of its files that holds a demand | its |

All but Parquet may be gzipped. Levels that are no request rates (CPU, GPUs) are taken as the shape of a demand: scale
them. Response curves (how fast a setting is) are told from demands and refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from telemetry.demand_families import DAY
from telemetry.store_files import is_store
from telemetry.store_reader import store_demand
from telemetry.trace import REQUESTS_METRIC, SEGMENT_PATTERN, Trace, TraceError
from telemetry.trace_formats import (
    Columns,
    Series,
    client_rates,
    grouped_samples,
    job_log,
    metric_arrays,
    on_grid,
    rate_per_line,
    request_log,
    vm_arrivals,
)
from telemetry.workload import Demand, events_after_requests, fill_gaps

logger = logging.getLogger(__name__)

__all__ = ["Series", "TraceError", "demands_in", "is_recording", "load_demand", "load_series", "trace_paths"]

_SUFFIXES = re.compile(r"(\.(csv|txt|npz|parquet))?(\.gz)?$")

Reader = Callable[[Columns], list[Series]]

CSV_FORMATS: dict[tuple[str, ...], Reader] = {
    # The first entry whose columns are all there is used, so the more special come first.
    ("t", "client", "rate"): client_rates,
    ("submit_time", "num_gpu"): job_log,
    ("timestamp_ms", "input_length"): lambda c: request_log(c, "timestamp_ms", 0.001),
    ("TIMESTAMP", "ContextTokens"): lambda c: request_log(c, "TIMESTAMP", 1.0),
    ("vc", "time"): lambda c: grouped_samples(c, ("vc",), "time", "".join),
    ("cluster", "time"): lambda c: grouped_samples(c, ("cluster",), "time", lambda key: f"pool {key[0]}"),
    ("job", "task", "t_s"): lambda c: grouped_samples(c, ("job", "task"), "t_s", "/".join),
    ("time", "active"): lambda c: grouped_samples(c, (), "time", "".join),
    ("t", "rate"): lambda c: grouped_samples(c, (), "t", "".join),
    ("timestamp", "value"): lambda c: grouped_samples(c, (), "timestamp", "".join),
}

RESPONSE_CURVES: dict[tuple[str, ...], str] = {
    # They tell how fast something is, not when work arrives: a demand made of them would be an invention.
    ("gpu", "job_type", "steps_per_s"): "training throughput by job and GPU (Gavel)",
    ("gpu", "job_a", "job_b"): "training throughput of jobs that share a GPU (Gavel)",
    ("num_tokens", "n_head"): "times of a model's operators (Vidur)",
    ("num_workers", "size"): "times of all-reduce (Vidur)",
    ("batch_size", "token_time"): "times of a model by batch size (Splitwise)",
    ("bench", "unit", "value"): "results of benchmarks (Azure VM noise)",
    ("innodb_thread_concurrency",): "speed of a database by its knobs (DBTune)",
}


def load_series(path: str | Path) -> list[Series]:
    """Every series of a trace file, in the order of the file.

    Raises:
        TraceError: one line: the file, what was found in it, what is allowed.
    """
    path = Path(path)
    try:
        return _read(path)
    except TraceError as error:
        message = str(error)
        raise TraceError(message if message.startswith(str(path)) else f"{path}: {message}") from error


def load_demand(path: str | Path, column: str | None = None, *, compression: float = 1.0) -> Demand:
    """The demand in a trace: a file in any format of this module, or a folder.

    Request rates come from the trace, missing steps filled as `fill_gaps` says and counted in the demand. Events do
    where it has them, as our own recordings do; else they are derived (`events_after_requests`, always with the same
    seed). Midnight is the file's own, or its zero where it has no dates.

    Args:
        path: a file, the folder of a recording, or a folder of files, of which the first that holds a demand is taken.
        column: name of the series, as in `load_series`; None: the format's default.
        compression: time runs that many times faster, > 0; see `Demand.compressed`.

    Raises:
        TraceError: one line, if it cannot be read, is no demand, lacks `column`, or has only missing or some negative
            values, and on a compression that is not above zero.
    """
    path = Path(path)
    try:
        return _reader(path)(path, column).compressed(compression)
    except ValueError as error:  # a TraceError or not, it shall begin with the path
        message = str(error)
        raise TraceError(message if message.startswith(str(path)) else f"{path}: {message}") from error


def _reader(path: Path) -> Callable[[Path, str | None], Demand]:
    if is_store(path):
        return store_demand
    if is_recording(path):
        return _recorded_demand
    return _first_demand if path.is_dir() else _read_demand


def demands_in(folder: str | Path, refused: dict[str, str] | None = None) -> list[Demand]:
    """The default demand of every trace below `folder` that holds one, in order of path.

    Args:
        folder: searched as `trace_paths` does.
        refused: if given, receives {path: reason} of the files that hold none; else each is logged.
    """
    demands = []
    for path in trace_paths(folder):
        try:
            demands.append(load_demand(path))
        except TraceError as error:
            if refused is None:
                logger.warning("no demand: %s", error)
            else:
                refused[str(path)] = str(error)
    return demands


def trace_paths(folder: str | Path) -> list[Path]:
    """Every file below a folder that may hold a trace, and every folder of a recording as a whole, in order of path.

    READMEs and hidden files are passed over.
    """
    folder = Path(folder)
    if is_recording(folder) or is_store(folder):
        return [folder]
    paths: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            paths += trace_paths(path)
        elif path.suffix != ".md" and not path.name.startswith("."):
            paths.append(path)
    return paths


def is_recording(path: Path) -> bool:
    """Whether it is a trace of ours: a Parquet file, or a folder of segments."""
    if path.is_dir():
        return any(path.glob(SEGMENT_PATTERN))
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False  # the reader that is tried next says why


def _first_demand(folder: Path, column: str | None) -> Demand:
    reasons = []
    for path in trace_paths(folder):
        try:
            return load_demand(path, column)
        except TraceError as error:
            reasons.append(str(error))
    raise TraceError(f"{folder}: no file in it is a demand; {reasons[0] if reasons else 'it is empty'}")


def _recorded_demand(path: Path, column: str | None) -> Demand:
    trace, stem = Trace.load(path), _SUFFIXES.sub("", path.name)
    name = f"{stem}:{column}" if column else str(trace.metadata.get("name", stem))
    if column is None:
        column = REQUESTS_METRIC if REQUESTS_METRIC in trace.metric_names else trace.metric_names[0]
        if column != REQUESTS_METRIC and len(trace.metric_names) > 1:
            names = ", ".join(trace.metric_names)
            raise TraceError(f"no metric {REQUESTS_METRIC!r}; say which one is the demand: {names}")
    return replace(trace.to_demand(column, name=name), source=str(path))


def _read_demand(path: Path, column: str | None) -> Demand:
    series = load_series(path)
    chosen = _choose(path, series, column)
    try:
        requests, interpolated, held = fill_gaps(chosen.values)
        return Demand(
            name=f"{_SUFFIXES.sub('', path.name)}:{chosen.name}",
            step_seconds=chosen.step_seconds,
            requests_per_second=requests,
            events_per_second=_events(series, chosen, requests),
            source=str(path),
            interpolated_steps=interpolated,
            held_steps=held,
            start_seconds=max(chosen.start, 0.0) % DAY,
        )
    except ValueError as error:
        raise TraceError(f"series {chosen.name!r} is no demand: {error}") from error


def _events(series: list[Series], chosen: Series, requests: np.ndarray) -> np.ndarray:
    """(T,) events per second: the column `events` beside `rate`, else derived from the (T,) requests."""
    recorded = next((s for s in series if (chosen.name, s.name) == ("rate", "events")), None)
    if recorded is not None:
        return fill_gaps(recorded.values)[0]
    return events_after_requests(np.abs(requests), chosen.step_seconds, np.random.default_rng(0))


def _choose(path: Path, series: list[Series], column: str | None) -> Series:
    if column is not None:
        for candidate in series:
            if candidate.name == column:
                return candidate
        names = ", ".join(s.name for s in series[:20])
        raise TraceError(
            f"{path}: no series {column!r}; it has {len(series)}: {names}{' ...' if len(series) > 20 else ''}"
        )
    first = next((s for s in series if s.name in ("rate", "value")), series[0])
    if first.name.startswith("client "):
        total = np.sum([s.values for s in series], axis=0)
        return Series(f"sum of {len(series)} clients", first.step_seconds, total, first.start)
    return first


def _read(path: Path) -> list[Series]:
    if is_recording(path):
        return _trace_series(Trace.load(path))
    if path.is_dir():
        names = [str(p.relative_to(path)) for p in trace_paths(path)]
        raise TraceError(f"a folder of {len(names)} files; name one of them: {', '.join(names[:20])}")
    content = _content(path)
    if content[:4] == b"PK\x03\x04":
        return _array_series(content)
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise TraceError(f"neither text, Parquet nor npz ({error.reason} at byte {error.start})") from error
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise TraceError("the file is empty")
    return _text_series(lines)


def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked where gzipped."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TraceError(f"damaged gzip file ({error})") from error
    except OSError as error:
        raise TraceError(f"cannot be read ({error.strerror})") from error


def _text_series(lines: list[str]) -> list[Series]:
    first = lines[0].strip()
    if _is_number(first):
        return rate_per_line(lines)
    time, _, rest = first.partition(" ")
    if _is_number(time) and "|" in rest:
        return vm_arrivals(lines)
    header = [name.strip() for name in next(csv.reader([first]))]
    for wanted, reader in CSV_FORMATS.items():
        if set(wanted) <= set(header):
            return reader(_columns(header, lines[1:]))
    for columns, what in RESPONSE_CURVES.items():
        if set(columns) <= set(header):
            raise TraceError(f"{what}, which tells nothing of arrivals or load over time; {_allowed()}")
    raise TraceError(f"unknown columns {','.join(header)[:120]!r}; {_allowed()}")


def _allowed() -> str:
    columns = "; ".join(",".join(names) for names in CSV_FORMATS)
    return (
        f"allowed are files with the columns {columns}, or a number per line, npz with 'values' and 'step_s', Parquet "
        "of Trimtab and folders of these"
    )


def _columns(header: list[str], lines: list[str]) -> Columns:
    rows = list(csv.reader(io.StringIO("\n".join(lines))))
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise TraceError(f"row {number + 1} has {len(row)} cells, the header {len(header)}")
    if not rows:
        raise TraceError(f"no rows below the header {','.join(header)}")
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _array_series(content: bytes) -> list[Series]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays: Mapping[str, np.ndarray] = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TraceError(f"damaged npz file ({error})") from error
    missing = {"values", "step_s"} - set(arrays)
    if missing:
        raise TraceError(f"npz with arrays {', '.join(arrays)}; needs 'values' and 'step_s'")
    return metric_arrays(arrays)


def _trace_series(trace: Trace) -> list[Series]:
    columns = zip(trace.metric_names, trace.values.T, strict=True)
    return [on_grid(name, trace.times, values) for name, values in columns]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
