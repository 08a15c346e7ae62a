"""Which parameters of the simulator are found together, and which metrics tell about them."""

from __future__ import annotations

from typing import NamedTuple


class Stage(NamedTuple):
    """Parameters that are found together, and the metrics that tell about them."""

    name: str
    parameters: tuple[str, ...]
    metrics: tuple[str, ...]
    drifting: bool = False
    """Whether only recordings with a known time of the drifting world can tell, where there are any."""


STAGES = (
    Stage(
        "host",
        ("other_cores", "client_core_seconds", "serving_request_bytes", "ingest_event_bytes"),
        ("host_cpu_used_ratio", "network_moved_bytes_per_second"),
    ),
    Stage(
        "ingest",
        (
            "ingest_event_core_seconds", "ingest_feature_core_seconds", "ingest_chunk_core_seconds",
            "ingest_hit_gain_ratio", "ingest_still_ratio", "ingest_idle_cores", "ingest_idle_ratio",
            "ingest_base_memory_bytes", "ingest_entry_memory_bytes",
        ),
        (
            "ingest_cpu_used_cores", "ingest_written_per_second", "ingest_backlog_events", "ingest_lag_seconds",
            "ingest_memory_bytes",
        ),
    ),
    # Without the memory of a fresh process: one that has run keeps the most that it ever had, which hides it.
    Stage(
        "training",
        (
            "training_step_core_seconds", "training_sample_core_seconds", "training_thread_penalty",
            "training_load_core_seconds", "training_load_wait_seconds", "training_checkpoint_core_seconds",
            "training_checkpoint_stall_seconds", "training_idle_cores", "training_sample_memory_bytes",
            "training_worker_memory_bytes",
        ),
        (
            "training_samples_per_second", "training_goodput_per_second", "training_backlog_samples",
            "training_cpu_used_cores", "training_memory_bytes",
        ),
    ),
    # Apart from training: checkpoints come in bursts, whose phase within a block would drown everything else.
    Stage("storage", ("training_checkpoint_bytes",), ("storage_written_bytes_per_second",)),
    Stage(
        "serving",
        (
            "serving_request_core_seconds", "serving_batch_core_seconds", "serving_sample_core_seconds",
            "serving_single_core_seconds", "serving_thread_penalty", "parallel_gain_ratio", "serving_idle_cores",
            "serving_swap_core_seconds", "serving_luck_ratio", "serving_base_latency_seconds", "serving_service_tail",
            "serving_queueing", "serving_base_memory_bytes", "serving_growth_seconds", "serving_swap_memory_bytes",
        ),
        (
            "serving_goodput_per_second", "serving_within_slo_ratio", "serving_latency_p50_seconds",
            "serving_latency_p99_seconds", "serving_queue_requests", "serving_failed_per_second",
            "serving_batch_mean_size", "serving_cpu_used_cores", "serving_memory_bytes",
        ),
    ),
    # Recordings hold models of up to half a minute of age: how much is lost in the end cannot be told from them.
    Stage(
        "accuracy",
        (
            "accuracy_best_ratio", "accuracy_stale_seconds", "accuracy_half_rate", "accuracy_fit_seconds",
            "accuracy_blur_ratio", "accuracy_trade_ratio", "accuracy_drift_ratio",
        ),
        ("serving_accuracy_ratio",),
        drifting=True,
    ),
)  # fmt: skip
