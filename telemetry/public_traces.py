"""Reads public workload traces, whatever their format: the content decides, not the name of the file or its folder.

| found | read as | default demand |
|---|---|---|
| `t,rate[,...]` | samples (ServeGen totals, or your own) | rate |
| `t,client,rate,...` | one series per client (ServeGen) | sum of the clients |
| a number per line | requests per second, every second (Autothrottle) | it |
| `TIMESTAMP,...` / `timestamp_ms,...` | one request per line (Azure LLM / Mooncake) | requests per second |
| `submit_time,num_gpu,...` | one training job per line (Philly as in Muri) | jobs per second |
| `<s> a,b,|,` | virtual machine creations (Azure V1) | machines per second |
| `vc,time,...`, `time,active,...` | samples by virtual cluster, or of all (Helios) | the first series |
| `cluster,time,...` / `job,task,t_s,...` | samples by pool (CloudCluster) / task (Google) | the first series |
| `timestamp,value` | samples (NAB, or your own) | value |
| npz with `values`, `step_s` | metrics (JumpStarter, SMD) | the first metric |
| Parquet | our own `Trace` | the first metric |

All may be gzipped. Levels that are no request rates (CPU, GPUs) are taken as the shape of a demand: scale them.
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
from pathlib import Path

import numpy as np

from telemetry.trace import Trace, TraceError
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

__all__ = ["Series", "TraceError", "demands_in", "load_demand", "load_series"]

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


def load_demand(path: str | Path, column: str | None = None) -> Demand:
    """The demand in a trace file.

    Request rates come from the file, missing steps filled as `fill_gaps` says and counted in the demand. No public
    trace has ingest events beside its requests, so events are derived (`events_after_requests`, always with the same
    seed).

    Args:
        path: any format of this module.
        column: name of the series, as in `load_series`; None: the format's default.

    Raises:
        TraceError: if the file cannot be read, lacks `column`, or its values are all NaN or negative somewhere.
    """
    series = load_series(path)
    chosen = _choose(Path(path), series, column)
    try:
        requests, interpolated, held = fill_gaps(chosen.values)
        return Demand(
            name=f"{_SUFFIXES.sub('', Path(path).name)}:{chosen.name}",
            step_seconds=chosen.step_seconds,
            requests_per_second=requests,
            events_per_second=events_after_requests(np.abs(requests), chosen.step_seconds, np.random.default_rng(0)),
            source=str(path),
            interpolated_steps=interpolated,
            held_steps=held,
        )
    except ValueError as error:
        raise TraceError(f"{path}: series {chosen.name!r} is no demand: {error}") from error


def demands_in(folder: str | Path, refused: dict[str, str] | None = None) -> list[Demand]:
    """The default demand of every file below `folder` that holds one, in order of path.

    Args:
        folder: searched with all its sub-folders; READMEs are passed over.
        refused: if given, receives {path: reason} of the files that hold none; else each is logged.
    """
    demands = []
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file() and p.suffix != ".md"):
        try:
            demands.append(load_demand(path))
        except TraceError as error:
            if refused is None:
                logger.warning("no demand: %s", error)
            else:
                refused[str(path)] = str(error)
    return demands


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
    content = _content(path)
    if content[:4] == b"PAR1":
        return _trace_series(Trace.load(path))
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
    allowed = "; ".join(",".join(names) for names in CSV_FORMATS)
    found = ",".join(header)
    raise TraceError(f"unknown columns {found[:120]!r}; allowed are files with the columns {allowed}")


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
