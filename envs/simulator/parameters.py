"""The constants of the simulated learning system. `trimtab calibrate` finds them; the values here are nominal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from envs.simulator.columns import Columns

DEFAULT_SPREAD = 0.15
"""Relative spread of a parameter whose calibration says nothing."""


class ParametersError(ValueError):
    """Parameters that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Parameters:
    """Every constant of the simulator, in base units. Core-seconds are CPU time at full speed on one thread.

    Names that end in `_ratio` stay within [0, 1].
    """

    # The host
    physical_cores: float = 2.0
    """Cores of the host, cores."""
    other_cores: float = 0.1
    """CPU of everything that is not a workload, without load, cores."""
    client_core_seconds: float = 0.0008
    """CPU of the clients on the same host, core-seconds per request."""
    quota_period_seconds: float = 0.02
    """Period of the CPU ceilings: a component that has used its share stands still until the next one, seconds."""
    parallel_gain_ratio: float = 0.8
    """What a second intra-op thread adds where a core is free for it."""

    # Serving
    serving_request_core_seconds: float = 0.0007
    """HTTP work, core-seconds per request."""
    serving_batch_core_seconds: float = 0.012
    """Forward pass, fixed part, core-seconds per batch."""
    serving_sample_core_seconds: float = 0.0010
    """Forward pass, part that grows with the batch, core-seconds per request."""
    serving_single_core_seconds: float = 0.006
    """What a batch of one saves, core-seconds: a single image needs no product of matrices."""
    serving_swap_core_seconds: float = 0.05
    """Loading a newly published model, core-seconds."""
    serving_luck_ratio: float = 0.2
    """Share of requests that are still answered in time when all of them wait until their deadline."""
    serving_thread_penalty: float = 1.0
    """Extra forward cost for each thread beyond the first, times (threads - cores) / cores: threads that spin while the
    others are throttled."""
    serving_idle_cores: float = 0.01
    """CPU without requests, cores."""
    serving_base_latency_seconds: float = 0.003
    """Latency besides batching, queueing and computing, seconds."""
    serving_service_tail: float = 1.5
    """99th percentile of a batch's duration relative to its mean."""
    serving_queueing: float = 0.5
    """Mean wait for the worker, in times of a request in a full batch, times utilization / (1 - utilization)."""
    serving_queue_limit: float = 256.0
    """Requests that may wait; more are rejected."""
    serving_timeout_seconds: float = 2.0
    """A request that waits longer fails, seconds."""
    serving_failed_latency_seconds: float = 5.75
    """Latency that a failed request counts as, seconds."""
    serving_base_memory_bytes: float = 345e6
    """Resident memory that a process grows to, without a batch, bytes."""
    serving_growth_seconds: float = 120.0
    """Time constant of that growth, seconds."""
    serving_swap_memory_bytes: float = 34e6
    """A second model while it is being loaded, bytes."""
    serving_sample_memory_bytes: float = 0.3e6
    """Activations, bytes per request of a batch."""
    serving_request_bytes: float = 900.0
    """Network traffic, bytes per request."""

    # Training
    training_step_core_seconds: float = 0.030
    """Training step, fixed part, core-seconds per step."""
    training_sample_core_seconds: float = 0.0004
    """Training step, part that grows with the batch, core-seconds per sample."""
    training_thread_penalty: float = 1.0
    """As `serving_thread_penalty`."""
    training_load_core_seconds: float = 0.0004
    """Reading and decoding, core-seconds per sample."""
    training_load_wait_seconds: float = 0.003
    """Reading and decoding, seconds per sample and loader worker, waiting included."""
    training_worker_overhead_ratio: float = 0.08
    """Extra loading cost of each loader worker beyond the first."""
    training_checkpoint_core_seconds: float = 0.12
    """Writing a checkpoint, core-seconds."""
    training_checkpoint_stall_seconds: float = 0.15
    """Time without training steps per checkpoint, besides its CPU, seconds."""
    training_checkpoint_bytes: float = 67e6
    """Size of a checkpoint, bytes."""
    training_noise_scale: float = 128.0
    """Gradient noise scale phi of the statistical efficiency min(1, (phi + 32) / (phi + batch)), samples."""
    training_uses_per_event: float = 3.0
    """How often each event may be trained on."""
    training_window_samples: float = 2048.0
    """Newest samples that are kept to be trained on; older ones expire."""
    training_idle_cores: float = 0.01
    """CPU without steps, cores."""
    training_base_memory_bytes: float = 470e6
    """Resident memory without a batch, bytes. A process keeps the most that it ever had."""
    training_sample_memory_bytes: float = 1.5e6
    """Activations and gradients, bytes per sample of a batch."""
    training_worker_memory_bytes: float = 10e6
    """Bytes per loader worker."""

    # The model's accuracy
    accuracy_best_ratio: float = 0.97
    """Accuracy of a model that is fresh and has seen enough."""
    accuracy_stale_ratio: float = 0.45
    """Accuracy lost by a model of infinite age."""
    accuracy_stale_seconds: float = 27.0
    """Age by which 63 % of that is lost, seconds."""
    accuracy_starved_ratio: float = 0.6
    """Accuracy lost by a model that is never trained."""
    accuracy_half_rate: float = 20.0
    """Training goodput at which half of that is lost, samples per second."""
    accuracy_fit_seconds: float = 90.0
    """Time constant with which a model that is not trained forgets, seconds; training makes it follow faster."""
    accuracy_drift_ratio: float = 0.1
    """Swing of the drift's speed around its mean."""
    accuracy_blur_ratio: float = 0.08
    """Swing of the accuracy with the noise of what is to be told apart."""
    accuracy_trade_ratio: float = 0.1
    """Share of what was learnt that a change of meaning makes worthless."""
    accuracy_drift_period_seconds: float = 150.0
    """Period of that swing, seconds."""

    # Ingest
    ingest_events_per_second: float = 80.0
    """Nominal mean event rate, events per second."""
    ingest_event_core_seconds: float = 0.00015
    """Receiving and writing, core-seconds per event."""
    ingest_feature_core_seconds: float = 0.0006
    """Computing features that are not in the cache, core-seconds per event."""
    ingest_chunk_core_seconds: float = 0.002
    """Writing a shard, core-seconds per chunk."""
    ingest_hit_ratio: float = 0.45
    """Share of events that a cache of 512 entries answers."""
    ingest_hit_gain_ratio: float = 0.05
    """Growth of that share with each doubling of the cache."""
    ingest_still_ratio: float = 0.15
    """Growth of that share while the world stands still."""
    ingest_flush_seconds: float = 1.0
    """A chunk is written after this time even if it is not full, seconds."""
    ingest_backlog_limit: float = 8192.0
    """Events that may wait; more are dropped."""
    ingest_idle_cores: float = 0.010
    """CPU without chunks, cores."""
    ingest_idle_ratio: float = 0.3
    """Most of the CPU granted that goes there."""
    ingest_base_memory_bytes: float = 110e6
    """Resident memory without a cache, bytes."""
    ingest_entry_memory_bytes: float = 100.0
    """Bytes per cache entry."""
    ingest_event_bytes: float = 300.0
    """Network traffic, bytes per event."""
    ingest_shard_bytes: float = 6000.0
    """Fixed part of a shard, bytes."""
    ingest_row_bytes: float = 150.0
    """Part of a shard that grows with it, bytes per event."""

    # Randomness; measured, see telemetry.measured_noise
    arrival_dispersion: float = 1.0
    """Variance of the arrivals of a period relative to their mean, at a constant rate (1 is Poisson)."""
    arrival_flicker_ratio: float = 0.12
    """Relative standard deviation of the arrival rate around its demand, within seconds."""
    speed_noise_ratio: float = 0.05
    """Relative standard deviation of a component's speed from period to period."""
    speed_wander_ratio: float = 0.03
    """Relative standard deviation of the host's speed, slowly."""
    latency_noise_ratio: float = 0.06
    """Relative standard deviation of latencies."""
    reading_noise_cores: float = 0.006
    """Standard deviation of CPU readings, whatever their size, cores: counters advance in ticks of 10 ms."""
    reading_noise_ratio: float = 0.0075
    """Relative part of it, added. Memory readings have no noise."""

    # What the host has besides cores; out of reach of the reference settings, on a host where nothing goes wrong
    physical_memory_bytes: float = 8.0 * 2**30
    """Memory of the host, bytes."""
    other_memory_bytes: float = 1e9
    """Memory of everything that is not a workload, bytes."""
    page_cache_bytes: float = 5e8
    """Files that are read again and again, bytes; with less free memory than this, they are read from storage."""
    memory_knee_ratio: float = 0.85
    """Share of a memory limit, or of the host's memory, above which time is lost to reclaiming it."""
    memory_stall_ratio: float = 0.5
    """Share of the time that is lost just before nothing is left."""
    physical_storage_bytes_per_second: float = 5e8
    """Bandwidth of the storage, bytes per second."""
    training_read_bytes: float = 20e3
    """Read for a sample whose shard is no longer in the page cache, bytes: the whole shard."""
    disk_used_ratio: float = 0.4
    """Share of the disk that is always full."""
    physical_network_bytes_per_second: float = 1.25e8
    """Bandwidth of the network, bytes per second."""
    network_loss_latency: float = 20.0
    """Relative growth of latencies per share of packets lost: what is lost is sent again, after a time-out."""
    component_restart_seconds: float = 6.0
    """Time until a component that was killed is back, seconds."""
    pool_startup_seconds: float = 60.0
    """Time from provisioning a host to its being ready, seconds."""

    spread: Mapping[str, float] = field(default_factory=dict)
    """Relative standard deviation of each parameter under domain randomization; a default where it is missing."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """How the values were found."""

    def __post_init__(self) -> None:
        for name in PARAMETER_NAMES:
            value = getattr(self, name)
            most = 1.0 if name.endswith("_ratio") else np.inf
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise ParametersError(f"parameter {name} is {value!r}; allowed is a number from 0 to {most}")
            if not np.isfinite(value):
                raise ParametersError(f"parameter {name} is {value!r}; it must be finite")
        _require_known(self.spread, "spread")

    @classmethod
    def load(cls, source: str | Path) -> Parameters:
        """Read parameters from a JSON file, or shipped ones by their name (`reference`).

        Raises:
            ParametersError: unreadable file, broken JSON, unknown name, value out of range.
        """
        path = Path(source)
        shipped = resources.files("envs") / "simulator" / f"{source}.json"
        try:
            text = (shipped if path.suffix == "" and not path.is_file() and shipped.is_file() else path).read_text()
            content = json.loads(text)
            values = content["values"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ParametersError(f"cannot read parameters {str(source)!r}: {error}") from None
        _require_known(values, "values")
        return cls(**values, spread=content.get("spread", {}), metadata=content.get("metadata", {}))

    def save(self, path: str | Path) -> None:
        """Write the parameters as JSON; `load` gives them back."""
        values = {name: getattr(self, name) for name in PARAMETER_NAMES}
        content = {"metadata": dict(self.metadata), "values": values, "spread": dict(self.spread)}
        Path(path).write_text(json.dumps(content, indent=2) + "\n")

    def changed(self, **values: float) -> Parameters:
        """The same parameters but for some."""
        _require_known(values, "values")
        return replace(self, **values)  # type: ignore[arg-type]

    def randomized(self, rng: np.random.Generator, n: int) -> Columns:
        """Parameters of n systems, each drawn around these; a struct of (n,) arrays."""
        return self.columns(np.clip(rng.standard_normal((len(PARAMETER_NAMES), n)), -2.0, 2.0))

    def columns(self, deviations: np.ndarray) -> Columns:
        """Parameters of N systems.

        Args:
            deviations: (n_parameters, N) in units of each parameter's spread, relative and in the logarithm; 0 for
                these values themselves.
        """
        result = Columns(PARAMETER_NAMES, deviations.shape[1])
        values = np.array([getattr(self, name) for name in PARAMETER_NAMES])[:, None]
        spread = np.array([self._spread(name) for name in PARAMETER_NAMES])[:, None]
        result.array[:] = np.minimum(values * np.exp(spread * deviations), _MOST[:, None])
        return result

    def _spread(self, name: str) -> float:
        return 0.0 if name in FIXED else float(self.spread.get(name, _SPREADS.get(name, DEFAULT_SPREAD)))


PARAMETER_NAMES = tuple(f.name for f in fields(Parameters) if f.name not in ("spread", "metadata"))
"""The names of all parameters, in the order of every parameter array."""

FIXED = frozenset({"physical_cores", "quota_period_seconds", "serving_queue_limit", "serving_timeout_seconds",
                   "serving_failed_latency_seconds", "training_uses_per_event", "training_window_samples",
                   "ingest_flush_seconds", "ingest_backlog_limit", "training_noise_scale",
                   "physical_memory_bytes", "other_memory_bytes", "page_cache_bytes", "memory_knee_ratio",
                   "memory_stall_ratio", "physical_storage_bytes_per_second", "training_read_bytes", "disk_used_ratio",
                   "physical_network_bytes_per_second", "network_loss_latency"})  # fmt: skip
"""Known by construction: neither calibrated nor randomized."""

# An accuracy of 0.95 that varies by 15 % would mean nothing; a cliff varies more than a cost does, and the flicker
# of services by a factor of three.
_SPREADS = {
    "accuracy_best_ratio": 0.01,
    "serving_thread_penalty": 0.4,
    "training_thread_penalty": 0.4,
    "arrival_burstiness": 0.6,
}
_MOST = np.array([1.0 if name.endswith("_ratio") else np.inf for name in PARAMETER_NAMES])


def _require_known(values: Mapping[str, Any], where: str) -> None:
    unknown = sorted(set(values) - set(PARAMETER_NAMES))
    if unknown:
        raise ParametersError(f"unknown parameter {unknown[0]!r} in {where}; known: {', '.join(PARAMETER_NAMES)}")
