"""From what the components count to the metrics of a spec: one small function per workload.

A component that could not be read, or whose counters were reset, gives NaN for its metrics, never an invented number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from telemetry.collectors.source import series_key
from telemetry.sampler import Sweep, counter_delta, histogram_delta, histogram_quantile

NAN = float("nan")
ACCURACY_SECONDS = 15.0
"""Time constant of the accuracy's exponential average: at 50 labels a second, a standard deviation of about 0.02."""
DEMAND_SECONDS = 10.0
"""Time constant of training's demand: data arrives in shards, several seconds apart."""
_key = functools.cache(series_key)
"""The few dozen series that are looked up in each period."""
SCRAPED_AT = "trimtab_scraped_at_seconds"
"""Series that tells when a component's answer was there, on the plant's clock."""
OUTCOMES = ("ok", "rejected", "timeout", "error")


@dataclass(frozen=True)
class Interval:
    """Two sweeps and what lies between them; every series carries its component as a label.

    Attributes:
        before: the earlier sweep.
        after: the later one.
    """

    before: Sweep
    after: Sweep

    def seconds(self, component: str) -> float:
        """Time between a component's two answers: one that is short of CPU answers late, and counts until it does."""
        return self.gauge(component, SCRAPED_AT) - self.before.values.get(_key(SCRAPED_AT, component=component), NAN)

    def gauge(self, component: str, name: str) -> float:
        """A level at the end; NaN where missing."""
        value = self.after.values.get(_key(name, component=component), NAN)
        return value if math.isfinite(value) else NAN

    def growth(self, component: str, name: str, **labels: str) -> float:
        """How much a counter grew; NaN where missing or reset."""
        return counter_delta(self.before, self.after, _key(name, **labels, component=component))

    def rate(self, component: str, name: str, **labels: str) -> float:
        """Growth of a counter per second; NaN where missing or reset."""
        seconds = self.seconds(component)
        return self.growth(component, name, **labels) / seconds if seconds > 0 else NAN


class Averages:
    """The metrics that look back beyond one period."""

    def __init__(self) -> None:
        self._correct, self._answered = 0.0, 0.0
        self._demand = NAN
        self._trained, self._trained_at = NAN, NAN  # seconds since 1970, and on the sweeps' clock

    def accuracy(self, interval: Interval) -> float:
        """Share of right answers, both counts averaged exponentially; NaN while there was no feedback yet."""
        correct, answered = (interval.growth("load", f"load_{name}_total") for name in ("correct", "answered"))
        if not (math.isfinite(correct) and math.isfinite(answered)):
            return NAN
        keep = math.exp(-interval.seconds("load") / ACCURACY_SECONDS)
        self._correct = self._correct * keep + correct
        self._answered = self._answered * keep + answered
        return min(1.0, self._correct / self._answered) if self._answered > 0 else NAN

    def model_age(self, interval: Interval, wall_time: float) -> float:
        """Seconds since the newest sample that the model in use was trained on; NaN before a first model.

        The wall clock, in which a component tells it, is asked once for each model: a jump of it ages none.

        Args:
            interval: of the period.
            wall_time: seconds since 1970, at its end.
        """
        trained, now = interval.gauge("serving", "serving_model_trained_timestamp_seconds"), interval.after.time
        if not trained > 0:  # zero is the gauge's value before a first model: there is no age then
            return NAN
        if trained != self._trained:
            self._trained, self._trained_at = trained, now - max(0.0, wall_time - trained)
        return now - self._trained_at

    def demand(self, interval: Interval) -> float:
        """Sample uses per second that newly arrived data allows, averaged exponentially."""
        rate = interval.rate("training", "training_demand_samples_total")
        if math.isfinite(rate):
            weight = 1.0 - math.exp(-interval.seconds("training") / DEMAND_SECONDS)
            self._demand = rate if math.isnan(self._demand) else self._demand + (rate - self._demand) * weight
            return self._demand
        return NAN


def serving(interval: Interval, slo_seconds: float, model_age: float) -> dict[str, float]:
    """Metrics of serving.

    Args:
        interval: of the period.
        slo_seconds: the latency SLO, one of the histogram's bounds.
        model_age: seconds.
    """
    queue = interval.gauge("serving", "serving_queue_requests")
    failed = sum(interval.rate("serving", "serving_responses_total", outcome=outcome) for outcome in OUTCOMES[1:])
    batches = interval.growth("serving", "serving_batches_total")
    batched = interval.growth("serving", "serving_batched_requests_total")
    return {
        "serving_arrivals_per_second": interval.rate("serving", "serving_requests_total"),
        **_latency(interval, slo_seconds, queue),
        "serving_queue_requests": queue,
        "serving_failed_per_second": failed,
        "serving_batch_mean_size": 0.0 if batches == 0 else batched / batches,
        "serving_model_age_seconds": model_age,
        **_process(interval, "serving"),
    }


def training(interval: Interval, averages: Averages) -> dict[str, float]:
    """Metrics of training."""
    return {
        "training_samples_per_second": interval.rate("training", "training_samples_total"),
        "training_goodput_per_second": interval.rate("training", "training_goodput_samples_total"),
        "training_demand_per_second": averages.demand(interval),
        "training_backlog_samples": interval.gauge("training", "training_backlog_samples"),
        **_process(interval, "training"),
    }


def ingest(interval: Interval) -> dict[str, float]:
    """Metrics of ingest."""
    return {
        "ingest_arrivals_per_second": interval.rate("ingest", "ingest_events_received_total"),
        "ingest_written_per_second": interval.rate("ingest", "ingest_events_written_total"),
        "ingest_backlog_events": interval.gauge("ingest", "ingest_backlog_events"),
        "ingest_lag_seconds": interval.gauge("ingest", "ingest_lag_seconds"),
        **_process(interval, "ingest"),
    }


def shared(interval: Interval) -> dict[str, float]:
    """Metrics of what the workloads share: storage, network, processors."""
    written = interval.rate("training", "training_checkpoint_bytes_total")
    written += interval.rate("ingest", "ingest_written_bytes_total")
    moved = interval.rate("serving", "serving_received_bytes_total")
    moved += interval.rate("serving", "serving_sent_bytes_total")
    moved += interval.rate("ingest", "ingest_received_bytes_total")
    return {
        "storage_written_bytes_per_second": written,
        "network_moved_bytes_per_second": moved,
        "host_cpu_used_ratio": _host_cpu(interval),
    }


def read(
    interval: Interval, averages: Averages, slo_seconds: float, wall_clock: Callable[[], float]
) -> dict[str, float]:
    """All metrics that can be derived, by name; NaN where a reading is missing."""
    return {
        **serving(interval, slo_seconds, averages.model_age(interval, wall_clock())),
        "serving_accuracy_ratio": averages.accuracy(interval),
        **training(interval, averages),
        **ingest(interval),
        **shared(interval),
    }


def told_by(component: str, interval: Interval, slo_seconds: float, wall_time: float) -> dict[str, float]:
    """The metrics that are derived from one component's pages alone; none of the load generator, which others need."""
    if component == "serving":
        return serving(interval, slo_seconds, wall_time)
    if component == "training":
        return training(interval, Averages())
    return ingest(interval) if component == "ingest" else {}


def _latency(interval: Interval, slo_seconds: float, queue: float) -> dict[str, float]:
    """Percentiles, and the requests within the SLO; failed requests lie in the bucket to +inf.

    Where none finished: with none waiting nobody was kept waiting (0 s, all within the SLO); with some waiting, the
    period itself is what they waited at least, and none is within the SLO.
    """
    bounds, counts = histogram_delta(
        interval.before, interval.after, "serving_latency_seconds", {"component": "serving"}
    )
    seconds = interval.seconds("serving")
    total = float(counts.sum()) if len(counts) else NAN
    within = float(counts[bounds <= slo_seconds * (1 + 1e-9)].sum()) if len(counts) else NAN
    if total == 0:
        waited = 0.0 if queue == 0 else seconds if queue > 0 else NAN
        ratio = 1.0 if queue == 0 else 0.0 if queue > 0 else NAN
        percentiles = [waited, waited]
    else:
        ratio = within / total
        percentiles = [histogram_quantile(bounds, counts, q) for q in (0.5, 0.99)]
    return {
        "serving_goodput_per_second": within / seconds if seconds > 0 else NAN,
        "serving_within_slo_ratio": ratio,
        "serving_latency_p50_seconds": percentiles[0],
        "serving_latency_p99_seconds": percentiles[1],
    }


def _process(interval: Interval, component: str) -> dict[str, float]:
    return {
        f"{component}_cpu_used_cores": _cores(interval, component),
        f"{component}_memory_bytes": interval.gauge(component, "process_resident_memory_bytes"),
    }


def _cores(interval: Interval, component: str) -> float:
    """By the kernel's clock where the process runs on this host; else as the component counts, in ticks of 10 ms."""
    series = _key("process_cpu_clock_seconds_total", group=component)
    growth = counter_delta(interval.before, interval.after, series)
    seconds = interval.after.time - interval.before.time
    if math.isfinite(growth) and seconds > 0:
        return growth / seconds
    return interval.rate(component, "process_cpu_seconds_total")


def _host_cpu(interval: Interval) -> float:
    """Share of the host's processor time that was not idle."""
    idle, total = 0.0, 0.0
    for series in _processor_series(interval.after.names):
        if series in interval.after.values:
            growth = counter_delta(interval.before, interval.after, series)
            # Idle time as the kernel shows it may step back by a tick; such a processor tells nothing this period.
            total += growth
            if 'mode="idle"' in series or 'mode="iowait"' in series:
                idle += growth
    return float(np.clip(1.0 - idle / total, 0.0, 1.0)) if total > 0 else NAN


@functools.lru_cache(maxsize=2)
def _processor_series(names: tuple[str, ...]) -> list[str]:
    """Those of the host's processors. Names stay the same sweep after sweep."""
    return [series for series in names if series.startswith("node_cpu_seconds_total{")]
