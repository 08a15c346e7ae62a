"""Readers for the public trace formats, one function a format: text or arrays in, series out.

Arrivals (a line per request, job or virtual machine) become counts per step, where no line means zero. Samples of a
level become a regular grid, where no line means NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from telemetry.trace import TraceError

Columns = Mapping[str, Sequence[str]]
"""Columns of a CSV file as text, all of the same length."""

CLOCK_SET_BACK = 3600.0
"""Seconds: local timestamps without a zone may step back by up to an hour (end of summer time, or a clock set back)."""

JOB_ARRIVAL_STEP = 3600.0
"""Seconds. Job traces bring a handful of arrivals an hour; finer steps would be nearly all zero."""


@dataclass(frozen=True, eq=False)
class Series:
    """One quantity over time.

    Attributes:
        name: what the file calls it, with its group in front where the file holds several.
        step_seconds: distance of two values.
        values: (T,) float64; NaN where the file has no value.
        start: seconds since 1970 where the file says the date (taken as UTC), else seconds on the file's own clock.
        repeated: how many values fell on a step that already had one, and were averaged.
    """

    name: str
    step_seconds: float
    values: np.ndarray
    start: float
    repeated: int = 0


def numbers(texts: Sequence[str], column: str) -> np.ndarray:
    """(rows,) float64; NaN for an empty cell.

    Raises:
        TraceError: on text that is no number, with its row.
    """
    try:
        return np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        for row, text in enumerate(texts):
            try:
                float(text or "nan")
            except ValueError:
                raise TraceError(f"column {column!r}, row {row + 1}: {text!r} is not a number") from None
        raise


def seconds(texts: Sequence[str], column: str) -> np.ndarray:
    """(rows,) seconds since 1970 from ISO timestamps, or the numbers themselves where they are numbers.

    Raises:
        TraceError: on text that is neither.
    """
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        pass
    try:
        # [:26]: some sources write a tenth of a microsecond, which fromisoformat does not know.
        stamps = [datetime.fromisoformat(text[:26] if "." in text else text) for text in texts]
    except ValueError as error:
        raise TraceError(f"column {column!r}: neither seconds nor ISO timestamps ({error})") from error
    return np.array([(stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() for stamp in stamps])


def on_grid(name: str, times: np.ndarray, values: np.ndarray, *, local_clock: bool = False) -> Series:
    """Samples -> a regular grid whose step is the median distance; NaN where there is none.

    Args:
        name: of the series.
        times: (rows,) seconds.
        values: (rows,), NaN where missing.
        local_clock: whether the times may step back a little, see `CLOCK_SET_BACK`.

    Raises:
        TraceError: on fewer than two times or times that go backwards.
    """
    steps = np.diff(times)
    forward = steps[steps > 0]
    if not len(forward):
        raise TraceError(
            f"series {name!r}: {len(times)} rows at {len(np.unique(times))} times; at least 2 times are needed"
        )
    back = steps.min()
    if not np.isfinite(times).all() or back < (-CLOCK_SET_BACK if local_clock else 0.0):
        raise TraceError(
            f"series {name!r}: time goes back by {-back:g} s at row {int(steps.argmin()) + 2}; it must grow"
        )
    step = float(np.quantile(forward, 0.5, method="lower"))  # lower: a distance that exists, not a mean of two
    start = float(times.min())
    index = np.rint((times - start) / step).astype(int)
    if index.max() > 20_000_000:
        raise TraceError(f"series {name!r}: {index.max()} steps of {step:g} s; the times have a hole too large to fill")
    known = np.isfinite(values)
    counts = np.bincount(index[known], minlength=index.max() + 1)
    sums = np.bincount(index[known], values[known], minlength=index.max() + 1)
    means = np.divide(sums, counts, where=counts > 0, out=np.full(len(counts), np.nan))
    return Series(name, step, means, start, repeated=int(np.maximum(counts - 1, 0).sum()))


def arrival_rate(name: str, times: np.ndarray, step_seconds: float, *, centred: bool = False) -> Series:
    """Times of single arrivals -> arrivals per second in each step; zero where nothing arrives.

    Args:
        name: of the series.
        times: (arrivals,) seconds, ascending.
        step_seconds: length of a step.
        centred: whether the first step is centred on the first arrival; else steps begin at multiples of their length.

    Raises:
        TraceError: on times that go backwards or span less than two steps.
    """
    if len(times) < 2 or (np.diff(times) < 0).any() or not np.isfinite(times).all():
        raise TraceError(f"series {name!r}: {len(times)} arrivals must be at least 2, in order of time")
    start = float(times[0] - step_seconds / 2 if centred else np.floor(times[0] / step_seconds) * step_seconds)
    index = ((times - start) / step_seconds).astype(int)
    # The last step is cut off by the end of the log, so it would look like a drop in demand.
    counts = np.bincount(index)[:-1].astype(np.float64)
    if len(counts) < 2:
        raise TraceError(
            f"series {name!r}: arrivals span {times[-1] - times[0]:g} s, less than two steps of {step_seconds} s"
        )
    return Series(name, step_seconds, counts / step_seconds, start)


def request_log(columns: Columns, time_column: str, unit: float) -> list[Series]:
    """One line per request. Step 1 s, or the source's own where it writes requests in batches (Mooncake: every 3 s)."""
    times = seconds(columns[time_column], time_column) * unit
    gaps = np.diff(np.unique(times))
    batch = float(np.quantile(gaps, 0.5, method="lower")) if len(gaps) else 0.0
    # Mooncake's batches come a millisecond early or late; steps centred on them keep each batch in a step of its own.
    in_batches = batch > 1.0 and bool(np.allclose(gaps / batch, np.rint(gaps / batch), atol=0.01))
    return [arrival_rate("requests", times, batch if in_batches else 1.0, centred=in_batches)]


def job_log(columns: Columns) -> list[Series]:
    """One line per training job, milliseconds; also the GPUs that they ask for."""
    times = numbers(columns["submit_time"], "submit_time") / 1000
    jobs = arrival_rate("jobs", times, JOB_ARRIVAL_STEP)
    index = ((times - jobs.start) / JOB_ARRIVAL_STEP).astype(int)
    asked = np.bincount(index, numbers(columns["num_gpu"], "num_gpu"))[: len(jobs.values)] / JOB_ARRIVAL_STEP
    return [jobs, Series("gpus_requested", JOB_ARRIVAL_STEP, asked, jobs.start)]


def client_rates(columns: Columns) -> list[Series]:
    """ServeGen per client: only windows with a rate above zero are written, so a missing window is a zero."""
    times, clients, rates = numbers(columns["t"], "t"), columns["client"], numbers(columns["rate"], "rate")
    distinct = np.unique(times)
    if len(distinct) < 2:
        raise TraceError(f"column 't' has {len(distinct)} times; at least 2 are needed")
    step = float(np.median(np.diff(distinct)))
    index = np.rint((times - distinct[0]) / step).astype(int)
    series = []
    for client in dict.fromkeys(clients):
        rows = np.array([c == client for c in clients])
        values = np.bincount(index[rows], rates[rows], minlength=index.max() + 1)
        series.append(Series(f"client {client}", step, values, float(distinct[0])))
    return series


def grouped_samples(
    columns: Columns, groups: Sequence[str], time_column: str, labels: Callable[[tuple[str, ...]], str]
) -> list[Series]:
    """Long tables: one series per group of rows and numeric column, named `<labels of the group> <column>`."""
    times = seconds(columns[time_column], time_column)
    keys = list(zip(*(columns[group] for group in groups), strict=True)) if groups else [()] * len(times)
    rows_of: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    values = {name: numbers(columns[name], name) for name in columns if name not in (*groups, time_column)}
    series = []
    for key, rows in rows_of.items():
        picked = np.array(rows)
        for name, column in values.items():
            label = f"{labels(key)} {name}".strip()
            series.append(on_grid(label, times[picked], column[picked], local_clock="-" in columns[time_column][0][1:]))
    return series


def rate_per_line(lines: Sequence[str]) -> list[Series]:
    """One number per line: requests per second, each second."""
    return [Series("requests", 1.0, numbers([line.strip() for line in lines], "rate"), 0.0)]


def vm_arrivals(lines: Sequence[str]) -> list[Series]:
    """`<seconds> a,a,|,b,|,`: virtual machines created in these five minutes, grouped in batches of one tenant."""
    times, machines, batches = [], [], []
    for line in lines:
        time, _, rest = line.strip().partition(" ")
        tokens = [token for token in rest.split(",") if token]
        times.append(time)
        batches.append(tokens.count("|"))
        machines.append(len(tokens) - tokens.count("|"))
    begins = numbers(times, "seconds")
    seen = [on_grid(n, begins, np.array(c, float)) for n, c in (("machines", machines), ("batches", batches))]
    # Steps without a line had no creation; counts become rates.
    return [Series(s.name, s.step_seconds, np.nan_to_num(s.values) / s.step_seconds, s.start, s.repeated) for s in seen]


def metric_arrays(arrays: Mapping[str, np.ndarray]) -> list[Series]:
    """`values` ([service,] metric, t), `step_s`, and optionally `label` ([service,] t) and `service` (services,)."""
    values = np.asarray(arrays["values"], dtype=np.float64)
    if values.ndim not in (2, 3) or values.shape[-1] < 2 or arrays["step_s"].size != 1:
        raise TraceError(
            f"array 'values' has shape {values.shape}; allowed: (metric, t) or (service, metric, t), one 'step_s'"
        )
    step = float(arrays["step_s"])
    single = values.ndim == 2
    stacked = values[None] if single else values  # (services, metrics, T)
    names = [""] if single else [f"service {s} " for s in arrays.get("service", np.arange(len(values)))]
    series = []
    for name, block in zip(names, stacked, strict=True):
        series += [Series(f"{name}metric {i}", step, row, 0.0) for i, row in enumerate(block)]
    if "label" in arrays:
        labels = np.asarray(arrays["label"], dtype=np.float64)
        for name, row in zip(names, labels[None] if single else labels, strict=True):
            # -1 means that nobody looked, which is not the same as "no anomaly".
            series.append(Series(f"{name}label", step, np.where(row < 0, np.nan, row), 0.0))
    return series
