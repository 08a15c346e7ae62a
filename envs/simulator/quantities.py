"""What the simulator keeps of each system, produces and takes, by name."""

import math

from envs.spec import SpecError, SystemSpec

WORKLOADS = ("serving", "training", "ingest")
"""In the order of every (3, N) array."""

TOTALS = (
    "requests_arrived", "requests_served", "requests_rejected", "requests_timed_out", "events_arrived",
    "events_written", "events_dropped", "uses_offered", "uses_done", "uses_expired",
)  # fmt: skip
"""Counters since the reset."""
EXTENSIVE = (
    *TOTALS, "serving_queue", "serving_entered", "ingest_backlog", "training_backlog", "training_old",
    "training_demand", "unpublished_samples", "answered",
)  # fmt: skip
"""What a pool of twice as many hosts would have twice of; kept per ready host."""
REPLAY = ("demand_first_row", "demand_length", "demand_step", "peak_requests", "mean_events", "requests_rate",
          "events_rate")  # fmt: skip
"""Where a system is in its demand, what it is scaled by, and the expected rates of the last period."""
SHORTAGE = (
    "serving_down_seconds", "training_down_seconds", "ingest_down_seconds", "serving_stalled_ratio",
    "training_stalled_ratio", "ingest_stalled_ratio", "cache_missed_ratio", "unwritten_bytes",
)  # fmt: skip
"""What crashes, lack of memory and slow storage leave behind; all 0 on a host that has enough."""
STATE = (
    *EXTENSIVE, *REPLAY, *SHORTAGE, "serving_silent", "training_silent", "ingest_silent", "arrival_flicker",
    "speed_wander", "elapsed", "drift_phase", "trained_age", "trained_fit", "checkpoint_age",
    "model_age", "model_fit", "accuracy", "ingest_lag", "serving_memory", "training_memory",
)  # fmt: skip

METRICS = (
    "serving_arrivals_per_second", "serving_goodput_per_second", "serving_within_slo_ratio",
    "serving_latency_p50_seconds", "serving_latency_p99_seconds", "serving_queue_requests",
    "serving_failed_per_second", "serving_batch_mean_size", "serving_cpu_used_cores", "serving_memory_bytes",
    "serving_accuracy_ratio", "serving_model_age_seconds", "training_samples_per_second",
    "training_goodput_per_second", "training_demand_per_second", "training_backlog_samples",
    "training_cpu_used_cores", "training_memory_bytes", "ingest_arrivals_per_second", "ingest_written_per_second",
    "ingest_backlog_events", "ingest_lag_seconds", "ingest_cpu_used_cores", "ingest_memory_bytes",
    "host_cpu_used_ratio", "storage_written_bytes_per_second", "network_moved_bytes_per_second",
)  # fmt: skip
HOST_METRICS = (
    "host_memory_used_ratio", "host_memory_pressure_ratio", "host_storage_used_ratio", "host_network_used_ratio",
    "host_disk_used_ratio", "training_oom_kills_per_second",
)  # fmt: skip
"""Only worked out where a spec observes one of them."""
RESUMED = {
    "serving_queue_requests": "serving_queue", "ingest_backlog_events": "ingest_backlog",
    "ingest_lag_seconds": "ingest_lag", "training_backlog_samples": "training_backlog",
    "training_demand_per_second": "training_demand", "serving_model_age_seconds": "model_age",
    "serving_accuracy_ratio": "accuracy", "serving_memory_bytes": "serving_memory",
    "training_memory_bytes": "training_memory",
}  # fmt: skip
"""Metrics that show a part of the state as it is, and which part."""
POOL_METRICS = ("pool_ready_hosts",)

KNOBS = (
    "serving_cpu_cores", "training_cpu_cores", "ingest_cpu_cores", "serving_batch_size",
    "serving_batch_timeout_seconds", "serving_threads", "training_batch_size", "training_threads",
    "training_loader_workers", "training_checkpoint_interval_seconds", "ingest_chunk_events", "ingest_cache_entries",
)  # fmt: skip
HOST_KNOBS = {
    **{f"{workload}_cpu_weight": 100.0 for workload in WORKLOADS},
    **{f"{workload}_memory_limit_bytes": math.inf for workload in WORKLOADS},
    "training_storage_limit_bytes_per_second": math.inf,
    "ingest_storage_limit_bytes_per_second": math.inf,
    "serving_network_limit_bytes_per_second": math.inf,
    "ingest_network_limit_bytes_per_second": math.inf,
}
"""Knobs that a spec may have, and the value that stands for not having them. Serving stores nothing, and training
moves nothing over the network."""
OPTIONAL_KNOBS = HOST_KNOBS | {"pool_hosts": 1.0}

GOOD_SETTING = {"serving_cpu_cores": 1.0, "serving_batch_size": 32.0, "serving_threads": 1.0,
                "serving_batch_timeout_seconds": 0.005}  # fmt: skip
"""At which the capacity is measured that the peak of the demand is a share of."""


def check_spec(spec: SystemSpec) -> None:
    """Whether the simulator can play a spec.

    Raises:
        SpecError: it names a metric or knob that the simulator does not have, or lacks a knob.
    """
    metrics, knobs = (*METRICS, *HOST_METRICS, *POOL_METRICS), (*KNOBS, *OPTIONAL_KNOBS)
    for given, known, what in ((spec.metrics, metrics, "metric"), (spec.knobs, knobs, "knob")):
        unknown = [part.name for part in given if part.name not in known]
        if unknown:
            raise SpecError(f"the simulator has no {what} {unknown[0]!r}; it has: {', '.join(known)}")
    missing = [name for name in KNOBS if name not in spec.knob_names]
    if missing:
        raise SpecError(f"the simulator needs the knob {missing[0]!r}, which spec {spec.name!r} lacks")
    for knob in spec.knobs:
        if knob.name == "pool_hosts" and not (knob.integer and knob.low >= 1):
            raise SpecError(f"knob pool_hosts of spec {spec.name!r} must be an integer of at least 1")


def can_run_short(spec: SystemSpec) -> bool:
    """Whether a spec sets or observes anything of the host besides CPU."""
    return any(name in HOST_KNOBS for name in spec.knob_names) or any(m.name in HOST_METRICS for m in spec.metrics)
