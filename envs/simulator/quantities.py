"""What the simulator keeps of each system, produces and takes, by name."""

TOTALS = (
    "requests_arrived", "requests_served", "requests_rejected", "requests_timed_out", "events_arrived",
    "events_written", "events_dropped", "uses_offered", "uses_done", "uses_expired",
)  # fmt: skip
STATE = (
    *TOTALS, "elapsed", "drift_phase", "serving_queue", "ingest_backlog", "training_backlog", "training_demand",
    "trained_age", "trained_fit", "checkpoint_age", "unpublished_samples", "model_age", "model_fit", "accuracy",
    "peak_requests", "mean_events",
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
KNOBS = (
    "serving_cpu_cores", "training_cpu_cores", "ingest_cpu_cores", "serving_batch_size",
    "serving_batch_timeout_seconds", "serving_threads", "training_batch_size", "training_threads",
    "training_loader_workers", "training_checkpoint_interval_seconds", "ingest_chunk_events", "ingest_cache_entries",
)  # fmt: skip
GOOD_SETTING = {"serving_cpu_cores": 1.0, "serving_batch_size": 32.0, "serving_threads": 1.0,
                "serving_batch_timeout_seconds": 0.005}  # fmt: skip
"""At which the capacity is measured that the peak of the demand is a share of."""
