"""Figures of interleaved live comparisons: one arm against the other, paired by segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envs.objective import Objective
from envs.spec import RESOURCES, SystemSpec
from training.live import Window, as_rollout
from training.scores import Scores, efficiency, score_rollout, weight_variants
from training.statistics import Interval, bootstrap_interval, relative_gain


class ComparisonError(ValueError):
    """Windows that cannot be compared; one line."""


def compare(spec: SystemSpec, reference: Sequence[Window], ours: Sequence[Window]) -> dict[str, Any]:
    """The stable keys of a live comparison (design: `demo --json`) plus the table's rows.

    Args:
        spec: gives weights and SLOs.
        reference: windows of the reference, one for each segment of each run.
        ours: windows of Trimtab on the same.

    Returns:
        Ratios as fractions (0.4 is +40 %), `_ci` as [low, high] at 95 %, bootstrapped over runs and, within them, over
        segments. `counts` is false where Trimtab held all SLOs in fewer periods: a saving counts for nothing then.
        `pairs_without_ratio` are those in which the reference did no useful work, or none that was read.

    Raises:
        ComparisonError: the two did not meet the same segments.
    """
    reference, ours, runs = _paired(reference, ours)
    theirs, mine = score_rollout(spec, as_rollout(reference)), score_rollout(spec, as_rollout(ours))
    ratio = efficiency(spec, mine, theirs).reshape(runs, -1)  # (n_runs, n_segments)
    gain, interval = _gain(ratio)
    held = {"reference": float(theirs.slo_attainment.mean()), "trimtab": float(mine.slo_attainment.mean())}
    return {
        "reference": reference[0].arm,
        "pairs": ratio.size,
        "pairs_without_ratio": int((~np.isfinite(ratio)).sum()),
        "efficiency_gain": gain,
        "efficiency_gain_ci": list(interval),
        "reserved_saving": _saving(mine.reserved[:, 0], theirs.reserved[:, 0]),
        "used_saving": _saving(mine.used[:, 0], theirs.used[:, 0]),
        "slo_attainment": {"reference": _mean(reference, "within_slo"), "trimtab": _mean(ours, "within_slo")},
        "slo_periods": held,
        "counts": held["trimtab"] >= held["reference"],
        "accuracy": {"reference": _mean(reference, "right"), "trimtab": _mean(ours, "right")},
        "accuracy_of_answers": {"reference": _of_answers(reference), "trimtab": _of_answers(ours)},
        "availability": _share(ours, "answered"),
        "availability_reference": _share(reference, "answered"),
        "weights": _weight_sensitivity(spec, mine, theirs),
        "efficiency_by_pair": ratio.ravel().tolist(),
        "rows": [
            _row(name, unit, a.reshape(runs, -1), b.reshape(runs, -1), better)
            for name, unit, a, b, better in _figures(spec, (theirs, mine), (reference, ours))
        ],
    }


def _paired(reference: Sequence[Window], ours: Sequence[Window]) -> tuple[list[Window], list[Window], int]:
    """Both in the order of runs and segments, and the number of runs."""
    first, second = (sorted(windows, key=lambda w: (w.run, w.segment)) for windows in (reference, ours))
    pieces = [[(window.run, window.segment) for window in windows] for windows in (first, second)]
    lengths = Counter(run for run, _ in pieces[0])
    if pieces[0] != pieces[1] or len(set(lengths.values())) != 1:
        raise ComparisonError(f"both must have one window for each segment of each run, given {pieces[0]}, {pieces[1]}")
    return first, second, len(lengths)


Figure = tuple[str, str, np.ndarray, np.ndarray, int]
"""Name, unit, (n,) of the reference, (n,) of Trimtab, 1 where more is better and -1 where less is."""


def _figures(
    spec: SystemSpec, scores: tuple[Scores, Scores], windows: tuple[Sequence[Window], Sequence[Window]]
) -> list[Figure]:
    """The comparison table, pair by pair; first of each couple is the reference."""
    theirs, mine = scores
    ratio = efficiency(spec, mine, theirs)
    return [
        *_client_figures(windows),
        *_work_figures(spec, theirs, mine),
        *_slo_figures(spec, windows),
        *_resource_figures(spec, scores, np.array([len(w.times) for w in windows[0]])),
        ("efficiency", "relative", np.ones_like(ratio), ratio, 1),
    ]


def _client_figures(windows: tuple[Sequence[Window], Sequence[Window]]) -> list[Figure]:
    """What the clients saw."""

    def of(figure: Callable[[Window], float]) -> tuple[np.ndarray, np.ndarray]:
        reference, ours = (np.array([figure(window) for window in arm]) for arm in windows)
        return reference, ours

    return [
        ("goodput within SLO", "requests/s", *of(lambda w: w.client.sent * w.client.within_slo / len(w.times)), 1),
        ("within SLO", "ratio", *of(lambda w: w.client.within_slo), 1),
        ("latency p50", "seconds", *of(lambda w: w.client.p50), -1),
        ("latency p99", "seconds", *of(lambda w: w.client.p99), -1),
        ("right answers, of requests sent", "ratio", *of(lambda w: w.client.right), 1),
        ("right answers, of those answered", "ratio", *of(lambda w: w.client.accuracy), 1),
    ]


def _work_figures(spec: SystemSpec, theirs: Scores, mine: Scores) -> list[Figure]:
    workloads = list(spec.workloads)
    training, ingest = workloads.index("training"), workloads.index("ingest")
    return [
        ("training goodput", "samples/s", theirs.work[:, training], mine.work[:, training], 1),
        ("events published", "events/s", theirs.work[:, ingest], mine.work[:, ingest], 1),
        ("ingest lag", "seconds", theirs.ingest_lag, mine.ingest_lag, -1),
        ("periods with all SLOs met", "ratio", theirs.slo_attainment, mine.slo_attainment, 1),
    ]


def _slo_figures(spec: SystemSpec, windows: tuple[Sequence[Window], Sequence[Window]]) -> list[Figure]:
    """Share of the periods in which each SLO held, so as to see which are lost; a missing reading meets none."""
    objective = Objective(spec)
    reference, ours = (
        np.array([(objective.breaches(window.values) == 0).mean(axis=0) for window in arm]) for arm in windows
    )  # (n, n_slos)
    names = [f"periods with {slo.name.replace('_', ' ')} met" for slo in spec.slos]
    return [(name, "ratio", reference[:, i], ours[:, i], 1) for i, name in enumerate(names)]


def _resource_figures(spec: SystemSpec, scores: tuple[Scores, Scores], periods: np.ndarray) -> list[Figure]:
    units = {"cpu_cores": "cores", "memory_gib": "GiB"}
    reserved, used = ([getattr(arm, kind) for arm in scores] for kind in ("reserved", "used"))  # (n, n_resources) each
    seconds = spec.control_period_seconds * periods
    names = [(resource.split("_")[0], units.get(resource, "MB/s")) for resource in RESOURCES]
    return [
        ("cpu reserved", "cores", *(arm[:, 0] for arm in reserved), -1),
        *((f"{name} used", unit, *(arm[:, i] for arm in used), -1) for i, (name, unit) in enumerate(names)),
        ("CPU used", "core-seconds", *(arm[:, 0] * seconds for arm in used), -1),
        ("CPU reserved", "core-seconds", *(arm[:, 0] * seconds for arm in reserved), -1),
    ]


def _row(name: str, unit: str, reference: np.ndarray, ours: np.ndarray, better: int) -> dict[str, Any]:
    """One row from (n_runs, n_segments) of both."""
    difference = ours - reference
    there = np.isfinite(difference).all(axis=0)  # a segment counts if every run has it, so that runs stay equally long
    interval = bootstrap_interval(difference[:, there]) if there.any() else (np.nan, np.nan)
    means = [float(np.nanmean(a)) if np.isfinite(a).any() else float("nan") for a in (reference, ours)]
    return {
        "name": name,
        "unit": unit,
        "reference": means[0],
        "trimtab": means[1],
        "difference": float(difference[:, there].mean()) if there.any() else float("nan"),
        "difference_ci": list(interval),
        "better": "more" if better > 0 else "less",
    }


def _saving(ours: np.ndarray, reference: np.ndarray) -> float:
    """Share saved; NaN where the reference had none."""
    return float(1.0 - ours.sum() / reference.sum()) if reference.sum() > 0 else float("nan")


def _mean(windows: Sequence[Window], what: str) -> float:
    """Mean of one of the clients' figures, weighted by the requests sent."""
    sent = np.array([w.client.sent for w in windows])
    return float((sent * np.array([getattr(w.client, what) for w in windows])).sum() / sent.sum())


def _of_answers(windows: Sequence[Window]) -> float:
    answered = np.array([w.client.answered for w in windows])
    right = np.array([w.client.accuracy for w in windows])
    return float((answered * right).sum() / max(answered.sum(), 1.0))


def _share(windows: Sequence[Window], what: str) -> float:
    total = sum(getattr(w.client, what) for w in windows)
    return float(min(1.0, total / sum(w.client.sent for w in windows)))


def _weight_sensitivity(spec: SystemSpec, mine: Scores, theirs: Scores) -> dict[str, float]:
    """Efficiency gain when each value and price is halved and doubled, so that nobody can win by choosing weights."""
    gains = {}
    for name, (values, prices) in weight_variants(spec).items():
        ratio = efficiency(spec, mine, theirs, values, prices)
        gains[name] = _gain(ratio[None])[0]
    return gains


def _gain(ratio: np.ndarray) -> tuple[float, Interval]:
    """Gain and its interval, from (n_runs, n_segments); NaN where there is nothing to tell it from.

    A segment counts if there is a ratio in every run. One in which nothing was done for what was reserved makes it
    -100 %, as the mean is geometric.
    """
    there = np.isfinite(ratio).all(axis=0)
    counted = ratio[:, there]
    if not there.any() or (counted <= 0).any():
        return -1.0 if there.any() else float("nan"), (float("nan"), float("nan"))
    return relative_gain(counted, np.ones_like(counted))
