"""Calibration: find the simulator's parameters from recorded runs of a real system, and say how well they explain them.

A recorded trace is replayed in the simulator: the same arrivals and events, the same settings, no noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from envs.objective import Objective
from envs.simulator.parameters import PARAMETER_NAMES, Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.metrics import Scale
from telemetry.trace import Trace
from telemetry.workload import Demand, fill_gaps

SETTLE_PERIODS = 3
"""Left out after each change of setting: actuators act within the first, old queues drain in the next."""
BLOCK_PERIODS = 10
"""Readings are compared as means over blocks of at most so many periods: single periods are mostly noise."""
FACTOR = 30.0
"""A parameter may move by this factor in either direction."""
PRIOR = 0.01
"""Weight that keeps a parameter near its first value where the traces say nothing about it."""
SPREAD_LIMITS = (0.10, 0.40)
"""Of domain randomization: less would trust one machine on one day, more would train for systems that nobody has."""


class CalibrationError(ValueError):
    """Traces that cannot be calibrated with; the message is one line."""


class Stage(NamedTuple):
    """Parameters that are found together, and the metrics that tell about them."""

    name: str
    parameters: tuple[str, ...]
    metrics: tuple[str, ...]


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
            "ingest_hit_gain_ratio", "ingest_idle_cores", "ingest_base_memory_bytes", "ingest_entry_memory_bytes",
        ),
        (
            "ingest_cpu_used_cores", "ingest_written_per_second", "ingest_backlog_events", "ingest_lag_seconds",
            "ingest_memory_bytes",
        ),
    ),
    Stage(
        "training",
        (
            "training_step_core_seconds", "training_sample_core_seconds", "training_thread_penalty",
            "training_load_core_seconds", "training_load_wait_seconds", "training_checkpoint_core_seconds",
            "training_checkpoint_stall_seconds", "training_idle_cores", "training_base_memory_bytes",
            "training_sample_memory_bytes", "training_worker_memory_bytes",
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
            "serving_thread_penalty", "parallel_gain_ratio", "serving_idle_cores", "serving_base_latency_seconds",
            "serving_service_tail", "serving_queueing", "serving_base_memory_bytes", "serving_sample_memory_bytes",
        ),
        (
            "serving_goodput_per_second", "serving_within_slo_ratio", "serving_latency_p50_seconds",
            "serving_latency_p99_seconds", "serving_queue_requests", "serving_failed_per_second",
            "serving_batch_mean_size", "serving_cpu_used_cores", "serving_memory_bytes",
        ),
    ),
    Stage(
        "accuracy",
        (
            "accuracy_best_ratio", "accuracy_stale_ratio", "accuracy_stale_seconds", "accuracy_starved_ratio",
            "accuracy_half_rate", "accuracy_fit_seconds",
        ),
        ("serving_accuracy_ratio", "serving_model_age_seconds"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """A trace, made ready to be replayed.

    Attributes:
        demand: arrivals and events as recorded, one step per row.
        values: (T, n_metrics) in the spec's order, NaN where missing.
        settings: (T, n_knobs) in the spec's order.
        segments: rows of each piece with one setting, without the settling time; (n_rows,) int each.
    """

    demand: Demand
    values: np.ndarray
    settings: np.ndarray
    segments: list[np.ndarray]

    @property
    def blocks(self) -> list[np.ndarray]:
        """The segments, cut into pieces of at most `BLOCK_PERIODS` rows."""
        return [
            segment[start : start + BLOCK_PERIODS]
            for segment in self.segments
            for start in range(0, len(segment), BLOCK_PERIODS)
        ]


def fit(
    spec: SystemSpec,
    traces: Sequence[Trace],
    initial: Parameters,
    *,
    on_stage: Callable[[str], None] = lambda name: None,
) -> Parameters:
    """Find the parameters under which the simulator comes closest to what was recorded, one workload after the other.

    Args:
        spec: its metrics and knobs must be columns of the traces.
        traces: recorded runs, of one or more settings each.
        initial: where the search begins, and what stays where the traces say nothing.
        on_stage: called with the name of each stage before it.

    Raises:
        CalibrationError: no trace, a missing column, or nothing to learn from.
    """
    recordings = _recordings(spec, traces)
    found, spread = initial, dict(initial.spread)
    for stage in (
        *STAGES,
        STAGES[0],
    ):  # the host again: its CPU reading contains what the others have been found to use
        on_stage(stage.name)
        found, error = _fit_stage(spec, recordings, found, stage)
        wide = float(np.clip(error, *SPREAD_LIMITS))
        # The best accuracy keeps its own narrow spread: 10 % of 0.95 would be another problem, not another machine.
        spread |= {name: wide for name in stage.parameters if name != "accuracy_best_ratio"}
    found = found.changed(**_noise(spec, recordings))
    rows = sum(len(recording.values) for recording in recordings)
    metadata = {
        "source": f"fitted to {len(recordings)} traces, {rows} periods",
        "spec": spec.name,
        "spec_fingerprint": spec.fingerprint,
        "settings": sum(len(recording.segments) for recording in recordings),
    }
    return replace(found, spread=spread, metadata=metadata)


def report(spec: SystemSpec, parameters: Parameters, traces: Sequence[Trace]) -> dict[str, dict[str, float | None]]:
    """How well the simulator explains traces, metric by metric, on means over each piece of constant setting.

    Returns:
        For each metric, and for `efficiency` (the objective's): `nmae`, mean |simulated - measured| / mean |measured|,
        and `rank_correlation` (Spearman) of the pieces; None where it is not defined.

    Raises:
        CalibrationError: as `fit`.
    """
    recordings, objective = _recordings(spec, traces), Objective(spec)
    columns = parameters.columns(np.zeros((len(PARAMETER_NAMES), 1))).array
    rows: list[np.ndarray] = []
    for recording in recordings:
        simulated = replay(spec, recording, columns)[:, 0]  # (T, n_metrics)
        for segment in recording.segments:
            setting = recording.settings[segment[0]]
            pair = (_mean(simulated[segment]), _mean(recording.values[segment]))
            rows += [np.append(means, objective.value(means) / objective.cost(means, setting)) for means in pair]
    both = np.array(rows).reshape(-1, 2, len(spec.metrics) + 1)  # segments; simulated, measured; metrics, efficiency
    names = (*spec.catalogue.names, "efficiency")
    return {name: _agreement(both[:, 0, i], both[:, 1, i]) for i, name in enumerate(names)}


def replay(spec: SystemSpec, recording: Recording, parameters: np.ndarray) -> np.ndarray:
    """Simulate a recording with several sets of parameters at once.

    Args:
        spec: of the recording.
        recording: whose demand and settings are replayed.
        parameters: (n_parameters, N).

    Returns:
        (T, N, n_metrics).
    """
    n = parameters.shape[1]
    plant = SimulatedPlant(spec, [recording.demand], n=n, parameters=Parameters(), noise=False, as_recorded=True)
    steady = parameters.copy()
    steady[PARAMETER_NAMES.index("accuracy_drift_ratio")] = 0.0  # a recording's phase of the drift is unknown
    plant.use(steady)
    result = np.empty((len(recording.values), n, len(spec.metrics)))
    for row, setting in zip(result, recording.settings, strict=True):
        plant.apply(np.broadcast_to(setting, (n, len(setting))))
        row[:] = plant.advance(spec.control_period_seconds).values
    return result


def _recordings(spec: SystemSpec, traces: Sequence[Trace]) -> list[Recording]:
    if not traces:
        raise CalibrationError("no trace to calibrate with; record some with `trimtab record`")
    return [_recording(spec, trace, f"trace {i + 1} of {len(traces)}") for i, trace in enumerate(traces)]


def _recording(spec: SystemSpec, trace: Trace, which: str) -> Recording:
    for wanted, there, what in (
        (spec.catalogue.names, trace.metric_names, "metric"),
        (spec.knob_names, trace.knob_names, "knob"),
    ):
        missing = [name for name in wanted if name not in there]
        if missing:
            raise CalibrationError(
                f"{which} has no {what} {missing[0]!r} ({len(missing)} missing); record it with {spec.name!r}"
            )
    values = trace.values[:, [trace.metric_names.index(name) for name in spec.catalogue.names]]
    settings = trace.settings[:, [trace.knob_names.index(name) for name in spec.knob_names]]
    known = np.isfinite(settings).all(axis=1)
    values, settings = values[known], settings[known]
    segments = _segments(settings)
    if not segments:
        raise CalibrationError(
            f"{which} holds no setting for longer than {SETTLE_PERIODS} periods ({len(values)} rows)"
        )
    return Recording(_demand(spec, values, which), values, settings, segments)


def _segments(settings: np.ndarray) -> list[np.ndarray]:
    """Rows of each run of equal settings, (n_rows,) int each, without the first `SETTLE_PERIODS`."""
    changes = np.flatnonzero((settings[1:] != settings[:-1]).any(axis=1)) + 1
    runs = np.split(np.arange(len(settings)), changes)
    return [run[SETTLE_PERIODS:] for run in runs if len(run) > SETTLE_PERIODS]


def _demand(spec: SystemSpec, values: np.ndarray, which: str) -> Demand:
    rates = []
    for workload in ("serving", "ingest"):
        column = spec.catalogue.index(f"{workload}_arrivals_per_second")
        try:
            rates.append(np.maximum(fill_gaps(values[:, column])[0], 0.0))
        except ValueError as error:
            raise CalibrationError(f"{which}: {workload}_arrivals_per_second: {error}") from None
    return Demand(which, spec.control_period_seconds, rates[0], rates[1], source="recorded")


def _fit_stage(
    spec: SystemSpec, recordings: list[Recording], start: Parameters, stage: Stage
) -> tuple[Parameters, float]:
    """The best parameters of one stage, the others held, and the root mean square of what stays unexplained."""
    from scipy.optimize import least_squares

    names = [name for name in stage.parameters if getattr(start, name) > 0.0]
    first = np.log([getattr(start, name) for name in names])
    most = np.where([name.endswith("_ratio") for name in names], 0.0, np.inf)
    low, high = first - np.log(FACTOR), np.minimum(first + np.log(FACTOR), most)
    compare = _Comparison(spec, recordings, start, names, stage.metrics)
    inside = np.clip(first, low + 1e-6, high - 1e-6)
    solution = least_squares(
        compare.residuals, inside, compare.jacobian, bounds=(low, high), loss="soft_l1", f_scale=0.1, max_nfev=25
    )
    explained = compare.residuals(solution.x)[: -len(names)]
    found = {name: float(value) for name, value in zip(names, np.exp(solution.x), strict=True)}
    return start.changed(**found), float(np.sqrt(np.mean(explained**2)))


STEADY_SHARE = 0.6
"""Pieces in which fewer requests met the deadline are overloaded: their latency is a queue's, not noise."""
LEAST_STEADY = 8
"""Fewer steady pieces say nothing about noise."""


def _noise(spec: SystemSpec, recordings: list[Recording]) -> dict[str, float]:
    """Noise from period to period while setting and load stay the same: the median over pieces of the logarithm's
    standard deviation, for latency (mean of p50 and p99) and for speed (of serving's CPU)."""
    names = ("serving_within_slo_ratio", "serving_latency_p50_seconds", "serving_latency_p99_seconds")
    within, *noisy = spec.catalogue.indices([*names, "serving_cpu_used_cores"])
    spreads = [
        np.log(piece[:, noisy]).std(axis=0, ddof=1)
        for recording in recordings
        for piece in (recording.values[segment] for segment in recording.segments)
        if len(piece) > 2 and _mean(piece[:, within]) >= STEADY_SHARE and (piece[:, noisy] > 0).all()
    ]
    if len(spreads) < LEAST_STEADY:
        return {}
    p50, p99, speed = (float(value) for value in np.median(spreads, axis=0))
    return {"latency_noise_ratio": (p50 + p99) / 2.0, "speed_noise_ratio": speed}


class _Comparison:
    """Differences between simulated and measured block means, and their derivatives, by one batched simulation.

    Args:
        spec: of the recordings.
        recordings: what was measured.
        start: all parameters.
        names: those that vary.
        metrics: what is compared.
    """

    STEP = 1e-3

    def __init__(
        self, spec: SystemSpec, recordings: list[Recording], start: Parameters, names: list[str],
        metrics: tuple[str, ...],
    ) -> None:  # fmt: skip
        self._spec, self._recordings = spec, recordings
        self._first = np.log([getattr(start, name) for name in names])
        self._base = start.columns(np.zeros((len(PARAMETER_NAMES), 1))).array
        self._rows = [PARAMETER_NAMES.index(name) for name in names]
        chosen = [metric for metric in spec.catalogue.metrics if metric.name in metrics]
        self._columns = spec.catalogue.indices([metric.name for metric in chosen])
        self._log = np.array([metric.scale is Scale.LOG for metric in chosen])
        self._knee = np.array([metric.knee for metric in chosen])
        self._measured = np.concatenate([self._block_means(r, r.values[:, None])[0] for r in recordings])
        size = np.nanmean(np.abs(self._measured), axis=0) if len(self._measured) else np.ones(len(chosen))
        floor = 0.01 * np.array([metric.high for metric in chosen])
        self._size = np.maximum(np.nan_to_num(size), floor)
        self._known = np.isfinite(self._measured)
        self._at: np.ndarray | None = None
        self._result: tuple[np.ndarray, np.ndarray]

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """(n_residuals,) at the logarithms `x` of the parameters."""
        return self._evaluate(x)[0]

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """(n_residuals, n_parameters)."""
        return self._evaluate(x)[1]

    def _evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._at is None or not np.array_equal(self._at, x):
            trials = np.column_stack([x, x[:, None] - self.STEP * np.eye(len(x))])  # (n_parameters, 1 + n_parameters)
            parameters = np.repeat(self._base, trials.shape[1], axis=1)
            parameters[self._rows] = np.exp(trials)
            means = [self._block_means(r, replay(self._spec, r, parameters)) for r in self._recordings]
            simulated = np.concatenate(means, axis=1)  # (1 + n_parameters, n_blocks, n_metrics)
            errors = self._difference(simulated)
            prior = PRIOR * (trials - self._first[:, None]).T  # (1 + n_parameters, n_parameters)
            all_errors = np.concatenate([errors, prior], axis=1)
            slopes = (all_errors[0] - all_errors[1:]).T / self.STEP
            self._at, self._result = x.copy(), (all_errors[0], slopes)
        return self._result

    def _difference(self, simulated: np.ndarray) -> np.ndarray:
        """(N, n_known): relative to the metric's size, or in the logarithm above the knee for a log metric."""
        measured = np.nan_to_num(self._measured)
        logarithmic = np.log1p(simulated / self._knee) - np.log1p(measured / self._knee)
        different = np.where(self._log, logarithmic, (simulated - measured) / self._size)
        return different[:, self._known]

    def _block_means(self, recording: Recording, values: np.ndarray) -> np.ndarray:
        """(T, N, n_metrics of all) -> (N, n_blocks, n_metrics compared)."""
        return np.stack([_mean(values[block][:, :, self._columns]) for block in recording.blocks], axis=1)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is there; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _agreement(simulated: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    known = np.isfinite(simulated) & np.isfinite(measured)
    simulated, measured = simulated[known], measured[known]
    size = np.abs(measured).mean() if len(measured) else 0.0
    error = float(np.abs(simulated - measured).mean() / size) if size > 0 else None
    return {"nmae": error, "rank_correlation": _rank_correlation(simulated, measured)}


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's; None for fewer than three pieces, or where either does not vary."""
    from scipy.stats import rankdata

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
