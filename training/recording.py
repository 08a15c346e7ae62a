"""Recording: a trace of a real system, made ready to be replayed in the simulator.

The replay has the same arrivals and events, the same settings, no noise, and begins in the state that was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.simulator.parameters import PARAMETER_NAMES, Parameters
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SystemSpec
from telemetry.trace import Trace
from telemetry.workload import Demand, fill_gaps

SETTLE_PERIODS = 3
"""Left out after each change of setting: actuators act within the first, old queues drain in the next."""
BLOCK_PERIODS = 10
"""Readings are compared as means over blocks of at most so many periods: single periods are mostly noise."""
STREAM_SECONDS = "stream_seconds"
"""Metadata of a trace: time of the drifting world at its beginning."""
DRIFTING = ("accuracy_blur_ratio", "accuracy_trade_ratio", "accuracy_drift_ratio", "ingest_still_ratio")
"""Effects of the drift, which are left out where the world's time is not known."""


class CalibrationError(ValueError):
    """Traces that cannot be calibrated with; the message is one line."""


@dataclass(frozen=True)
class Recording:
    """A trace, made ready to be replayed.

    Attributes:
        demand: arrivals and events as recorded, one step per row.
        values: (T, n_metrics) in the spec's order, NaN where missing.
        settings: (T, n_knobs) in the spec's order.
        segments: rows of each piece with one setting, without the settling time; (n_rows,) int each.
        stream_seconds: time of the drifting world at the beginning; None where it is not known.
    """

    demand: Demand
    values: np.ndarray
    settings: np.ndarray
    segments: list[np.ndarray]
    stream_seconds: float | None = None

    @property
    def blocks(self) -> list[np.ndarray]:
        """The segments, cut into equal pieces of at most `BLOCK_PERIODS` rows."""
        return [
            block for segment in self.segments for block in np.array_split(segment, -(-len(segment) // BLOCK_PERIODS))
        ]


def read_recordings(spec: SystemSpec, traces: Sequence[Trace]) -> list[Recording]:
    """Traces, made ready to be replayed.

    Raises:
        CalibrationError: no trace, a missing column, or no setting that is held for long enough.
    """
    if not traces:
        raise CalibrationError("no trace to calibrate with; record some with `trimtab record`")
    return [_recording(spec, trace, f"trace {i + 1} of {len(traces)}") for i, trace in enumerate(traces)]


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
    plant.reset(np.zeros(n, dtype=np.int64))  # alike but for their parameters
    used = parameters.copy()
    if recording.stream_seconds is None:
        used[[PARAMETER_NAMES.index(name) for name in DRIFTING]] = 0.0
    plant.use(used)
    plant.resume(recording.values[0], recording.stream_seconds or 0.0)
    result = np.empty((len(recording.values), n, len(spec.metrics)))
    for row, setting in zip(result, recording.settings, strict=True):
        plant.apply(np.broadcast_to(setting, (n, len(setting))))
        row[:] = plant.advance(spec.control_period_seconds).values
    return result


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is there; NaN where half or more is missing.

    What a starved component did while it could not answer is counted in no reading: few readings are not a sample.
    """
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(2 * count > len(values), total / np.maximum(count, 1), np.nan)


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
    begin = trace.metadata.get(STREAM_SECONDS)
    return Recording(_demand(spec, values, which), values, settings, segments, None if begin is None else float(begin))


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
