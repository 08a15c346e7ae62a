"""Calibration: find the simulator's parameters from recorded runs of a real system, and say how well they explain them.

A recorded trace is replayed in the simulator: the same arrivals and events, the same settings, no noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from envs.objective import Objective
from envs.simulator.parameters import PARAMETER_NAMES, Parameters
from envs.spec import SystemSpec
from telemetry.metrics import Scale
from telemetry.trace import Trace
from training.recording import CalibrationError, Recording, mean_of_known, read_recordings, replay
from training.stages import STAGES, Stage

__all__ = ["STAGES", "CalibrationError", "Pieces", "Recording", "fit", "pieces", "replay", "replayed", "report"]

FACTOR = 30.0
"""A parameter may move by this factor in either direction."""
PRIOR = 0.05
"""Weight that keeps a parameter near its nominal value where the traces say nothing about it."""
STARTS = 2
"""Of each stage's search: the nominal values, and others beside them. The best result counts."""
ELSEWHERE = 0.5
"""How far beside, as a standard deviation of the logarithm."""
EVALUATIONS = 30
"""Most simulations of all recordings in one search."""
SPREAD_LIMITS = (0.10, 0.40)
"""Of domain randomization: less would trust one machine on one day, more would train for systems that nobody has."""


def fit(
    spec: SystemSpec,
    traces: Sequence[Trace],
    initial: Parameters | None = None,
    *,
    on_stage: Callable[[str], None] = lambda name: None,
) -> Parameters:
    """Find the parameters under which the simulator comes closest to what was recorded, one workload after the other.

    Args:
        spec: its metrics and knobs must be columns of the traces.
        traces: recorded runs, of one or more settings each.
        initial: where the search begins, and what stays where the traces say nothing; None for the nominal values, so
            that a fit does not depend on earlier ones.
        on_stage: called with the name of each stage before it.

    Raises:
        CalibrationError: no trace, a missing column, or nothing to learn from.
    """
    recordings, nominal = read_recordings(spec, traces), Parameters() if initial is None else initial
    found, spread = nominal, dict(nominal.spread)
    # The host again at the end: its CPU reading contains what the others have been found to use.
    for stage in (*STAGES, STAGES[0]):
        on_stage(stage.name)
        telling = [recording for recording in recordings if recording.stream_seconds is not None]
        found, wide = _fit_stage(spec, telling if stage.drifting and telling else recordings, (found, nominal), stage)
        spread |= wide
    found = found.changed(**_noise(spec, recordings, found))
    rows = sum(len(recording.values) for recording in recordings)
    metadata = {
        "source": f"fitted to {len(recordings)} traces, {rows} periods",
        "spec": spec.name,
        "spec_fingerprint": spec.fingerprint,
        "settings": sum(len(recording.segments) for recording in recordings),
    }
    return replace(found, spread=spread, metadata=metadata)


class Pieces(NamedTuple):
    """Means over each piece of constant setting of some traces."""

    simulated: np.ndarray
    """(n_pieces, n_metrics)."""
    measured: np.ndarray
    """(n_pieces, n_metrics), NaN where nothing was read."""
    settings: np.ndarray
    """(n_pieces, n_knobs)."""


def replayed(spec: SystemSpec, parameters: Parameters, traces: Sequence[Trace]) -> list[tuple[Recording, np.ndarray]]:
    """Each trace made ready, and what the simulator makes of it, (T, n_metrics).

    Raises:
        CalibrationError: as `fit`.
    """
    columns = parameters.columns(np.zeros((len(PARAMETER_NAMES), 1))).array
    return [(recording, replay(spec, recording, columns)[:, 0]) for recording in read_recordings(spec, traces)]


def pieces(spec: SystemSpec, parameters: Parameters, traces: Sequence[Trace]) -> Pieces:
    """What was simulated and what was measured, setting by setting, in the order of the traces.

    Raises:
        CalibrationError: as `fit`.
    """
    rows = [
        (mean_of_known(simulated[segment]), mean_of_known(recording.values[segment]), recording.settings[segment[0]])
        for recording, simulated in replayed(spec, parameters, traces)
        for segment in recording.segments
    ]
    return Pieces(*(np.array(part) for part in zip(*rows, strict=True)))


def report(spec: SystemSpec, parameters: Parameters, traces: Sequence[Trace]) -> dict[str, dict[str, float | None]]:
    """How well the simulator explains traces, metric by metric, on means over each piece of constant setting.

    Returns:
        For each metric, and for `efficiency` (the objective's): `nmae`, mean |simulated - measured| / mean |measured|,
        `rank_correlation` (Spearman) of the pieces, and `noise_floor`, the NMAE between the halves of each measured
        piece; None where it is not defined. A half has half the readings, so that the mean of a whole piece is about
        half as far from what a longer measurement would give.

    Raises:
        CalibrationError: as `fit`.
    """
    objective, compared = Objective(spec), pieces(spec, parameters, traces)

    def with_efficiency(means: np.ndarray) -> np.ndarray:
        return np.column_stack([means, objective.value(means) / objective.cost(means, compared.settings)])

    simulated, measured = with_efficiency(compared.simulated), with_efficiency(compared.measured)
    halves = [with_efficiency(half) for half in _halves(read_recordings(spec, traces))]
    names = (*spec.catalogue.names, "efficiency")
    return {
        name: {
            "nmae": _normalized_error(simulated[:, i], measured[:, i]),
            "rank_correlation": _rank_correlation(simulated[:, i], measured[:, i]),
            "noise_floor": _normalized_error(halves[0][:, i], halves[1][:, i]),
        }
        for i, name in enumerate(names)
    }


def _halves(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Means over the first and over the second half of each measured piece, (n_pieces, n_metrics) each."""
    cut = [
        [recording.values[half] for half in np.array_split(segment, 2)]
        for recording in recordings
        for segment in recording.segments
    ]
    return [np.array([mean_of_known(pair[side]) for pair in cut]) for side in (0, 1)]


def _fit_stage(
    spec: SystemSpec, recordings: list[Recording], known: tuple[Parameters, Parameters], stage: Stage
) -> tuple[Parameters, dict[str, float]]:
    """The best parameters of one stage, the others held, and how far each may be off.

    Args:
        spec: of the recordings.
        recordings: to fit to.
        known: what has been found so far, and the nominal values.
        stage: whose parameters to find.
    """
    from scipy.optimize import least_squares

    found, nominal = known
    names = [name for name in stage.parameters if getattr(nominal, name) > 0.0]
    center = np.log([getattr(nominal, name) for name in names])
    most = np.where([name.endswith("_ratio") for name in names], 0.0, np.inf)
    low, high = center - np.log(FACTOR), np.minimum(center + np.log(FACTOR), most)
    compare = _Comparison(spec, recordings, found, (names, center), stage.metrics)
    rng = np.random.default_rng(0)
    starts = [center, *(center + rng.normal(0.0, ELSEWHERE, len(center)) for _ in range(STARTS - 1))]
    solutions = [
        least_squares(
            compare.residuals, np.clip(start, low + 1e-6, high - 1e-6), compare.jacobian,
            bounds=(low, high), loss="soft_l1", f_scale=0.1, max_nfev=EVALUATIONS,
        )
        for start in starts
    ]  # fmt: skip
    best = min(solutions, key=lambda solution: float(solution.cost)).x
    spread = np.clip(compare.uncertainty(best), *SPREAD_LIMITS)
    # The best accuracy keeps its own narrow spread: 10 % of 0.95 would be another problem, not another machine.
    wide = {name: float(s) for name, s in zip(names, spread, strict=True) if name != "accuracy_best_ratio"}
    return found.changed(**{name: float(v) for name, v in zip(names, np.exp(best), strict=True)}), wide


STEADY_SHARE = 0.6
"""Pieces in which fewer requests met the deadline are overloaded: their latency is a queue's, not noise."""
LEAST_STEADY = 8
"""Fewer steady pieces say nothing about noise."""


def _noise(spec: SystemSpec, recordings: list[Recording], parameters: Parameters) -> dict[str, float]:
    """Noise of latencies from period to period, beyond what the load explains: the median over pieces of the standard
    deviation of log(measured / simulated), mean of p50 and p99. The noise of speed and readings is measured elsewhere
    (`telemetry.measured_noise`)."""
    names = ("serving_within_slo_ratio", "serving_latency_p50_seconds", "serving_latency_p99_seconds")
    within, *noisy = spec.catalogue.indices(list(names))
    columns = parameters.columns(np.zeros((len(PARAMETER_NAMES), 1))).array
    spreads = []
    for recording in recordings:
        simulated = replay(spec, recording, columns)[:, 0]
        for segment in recording.segments:
            piece = recording.values[segment]
            steady = mean_of_known(piece[:, within]) >= STEADY_SHARE
            if len(piece) > 2 and steady and (piece[:, noisy] > 0).all():
                ratio = np.log(piece[:, noisy] / simulated[segment][:, noisy])
                spreads.append(ratio.std(axis=0, ddof=1).mean())
    return {"latency_noise_ratio": float(np.median(spreads))} if len(spreads) >= LEAST_STEADY else {}


class _Comparison:
    """Differences between simulated and measured block means, and their derivatives, by one batched simulation.

    Args:
        spec: of the recordings.
        recordings: what was measured.
        others: all parameters; those that vary are replaced.
        varied: names of those that vary, and the logarithms of their nominal values.
        metrics: what is compared.
    """

    STEP = 1e-3

    def __init__(
        self, spec: SystemSpec, recordings: list[Recording], others: Parameters, varied: tuple[list[str], np.ndarray],
        metrics: tuple[str, ...],
    ) -> None:  # fmt: skip
        names, self._center = varied
        self._spec, self._recordings = spec, recordings
        self._base = others.columns(np.zeros((len(PARAMETER_NAMES), 1))).array
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

    def uncertainty(self, x: np.ndarray) -> np.ndarray:
        """How far the true logarithms may be from `x`, (n_parameters,) standard deviations.

        Two parts, added in squares: what the residuals leave open (the covariance of the fit), and how far the
        recordings disagree (one step from `x` towards what each would say alone).
        """
        errors, slopes = (part[: -len(x)] for part in self._evaluate(x))
        weight = 1.0 / max(float(np.mean(errors**2)), 1e-12)
        prior = np.eye(len(x)) / SPREAD_LIMITS[1] ** 2
        open_ = np.diag(np.linalg.inv(weight * slopes.T @ slopes + prior))
        run = np.repeat(np.arange(len(self._recordings)), [len(r.blocks) for r in self._recordings])
        of_error = np.broadcast_to(run[:, None], self._known.shape)[self._known]  # (n_errors,)
        steps = [
            np.linalg.solve(weight * slopes[mine].T @ slopes[mine] + prior, -weight * slopes[mine].T @ errors[mine])
            for mine in (of_error == i for i in range(len(self._recordings)))
        ]
        return np.sqrt(open_ + np.mean(np.square(steps), axis=0))

    def _evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._at is None or not np.array_equal(self._at, x):
            trials = np.column_stack([x, x[:, None] - self.STEP * np.eye(len(x))])  # (n_parameters, 1 + n_parameters)
            parameters = np.repeat(self._base, trials.shape[1], axis=1)
            parameters[self._rows] = np.exp(trials)
            means = [self._block_means(r, replay(self._spec, r, parameters)) for r in self._recordings]
            simulated = np.concatenate(means, axis=1)  # (1 + n_parameters, n_blocks, n_metrics)
            errors = self._difference(simulated)
            prior = PRIOR * (trials - self._center[:, None]).T  # (1 + n_parameters, n_parameters)
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
        return np.stack([mean_of_known(values[block][:, :, self._columns]) for block in recording.blocks], axis=1)


def _normalized_error(values: np.ndarray, measured: np.ndarray) -> float | None:
    """Mean absolute difference, relative to the mean size of what was measured."""
    known = np.isfinite(values) & np.isfinite(measured)
    size = np.abs(measured[known]).mean() if known.any() else 0.0
    return float(np.abs(values - measured)[known].mean() / size) if size > 0 else None


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's; None for fewer than three pieces, or where either does not vary."""
    from scipy.stats import rankdata

    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
