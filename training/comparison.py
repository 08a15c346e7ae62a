"""Figures of an interleaved live comparison: one arm against the other, paired by segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.spec import RESOURCES, SystemSpec
from training.live import Window, as_rollout
from training.scores import Scores, efficiency, score_rollout, weight_variants
from training.statistics import bootstrap_interval, relative_gain


def compare(spec: SystemSpec, reference: Sequence[Window], ours: Sequence[Window]) -> dict[str, Any]:
    """The stable keys of a live comparison (design: `demo --json`) plus the table's rows.

    Args:
        spec: gives weights and SLOs.
        reference: windows of the reference, one a segment.
        ours: windows of Trimtab on the same segments.

    Returns:
        Ratios as fractions (0.4 is +40 %), `_ci` as [low, high] at 95 %, bootstrapped over pairs.
    """
    reference, ours = (sorted(windows, key=lambda window: window.segment) for windows in (reference, ours))
    theirs, mine = score_rollout(spec, as_rollout(reference)), score_rollout(spec, as_rollout(ours))
    ratio = efficiency(spec, mine, theirs)  # (n_pairs,)
    gain, interval = relative_gain(ratio, np.ones_like(ratio))
    return {
        "reference": reference[0].arm,
        "pairs": len(ratio),
        "efficiency_gain": gain,
        "efficiency_gain_ci": list(interval),
        "reserved_saving": _saving(mine.reserved[:, 0], theirs.reserved[:, 0]),
        "used_saving": _saving(mine.used[:, 0], theirs.used[:, 0]),
        "slo_attainment": {"reference": _mean(reference, "within_slo"), "trimtab": _mean(ours, "within_slo")},
        "slo_periods": {"reference": float(theirs.slo_attainment.mean()), "trimtab": float(mine.slo_attainment.mean())},
        "accuracy": {"reference": _mean(reference, "right"), "trimtab": _mean(ours, "right")},
        "accuracy_of_answers": {"reference": _of_answers(reference), "trimtab": _of_answers(ours)},
        "availability": _share(ours, "answered"),
        "availability_reference": _share(reference, "answered"),
        "weights": _weight_sensitivity(spec, mine, theirs),
        "efficiency_by_pair": ratio.tolist(),
        "rows": rows(spec, theirs, mine, reference, ours),
    }


def rows(
    spec: SystemSpec, theirs: Scores, mine: Scores, reference: Sequence[Window], ours: Sequence[Window]
) -> list[dict[str, Any]]:
    """The comparison table: name, unit, mean of either arm, paired difference with its interval, better direction."""
    workloads = list(spec.workloads)
    training, ingest = workloads.index("training"), workloads.index("ingest")

    def client(name: str) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.array([getattr(w.client, name) for w in windows]) for windows in (reference, ours))  # type: ignore[return-value]

    def goodput(windows: Sequence[Window]) -> np.ndarray:
        return np.array([w.client.sent * w.client.within_slo / len(w.times) for w in windows])

    table: list[tuple[str, str, tuple[np.ndarray, np.ndarray], int]] = [
        ("goodput within SLO", "requests/s", (goodput(reference), goodput(ours)), 1),
        ("within SLO", "ratio", client("within_slo"), 1),
        ("latency p50", "seconds", client("p50"), -1),
        ("latency p99", "seconds", client("p99"), -1),
        ("right answers, of requests sent", "ratio", client("right"), 1),
        ("right answers, of those answered", "ratio", client("accuracy"), 1),
        ("training goodput", "samples/s", (theirs.work[:, training], mine.work[:, training]), 1),
        ("events published", "events/s", (theirs.work[:, ingest], mine.work[:, ingest]), 1),
        ("ingest lag", "seconds", (theirs.ingest_lag, mine.ingest_lag), -1),
        ("periods with all SLOs met", "ratio", (theirs.slo_attainment, mine.slo_attainment), 1),
    ]
    units = {"cpu_cores": "cores", "memory_gib": "GiB"}
    for i, resource in enumerate(RESOURCES):
        name, unit = resource.split("_")[0], units.get(resource, "MB/s")
        if i == 0:
            table.append((f"{name} reserved", unit, (theirs.reserved[:, i], mine.reserved[:, i]), -1))
        table.append((f"{name} used", unit, (theirs.used[:, i], mine.used[:, i]), -1))
    seconds = spec.control_period_seconds * np.array([len(w.times) for w in reference])
    table.append(("CPU used", "core-seconds", (theirs.used[:, 0] * seconds, mine.used[:, 0] * seconds), -1))
    table.append(("CPU reserved", "core-seconds", (theirs.reserved[:, 0] * seconds, mine.reserved[:, 0] * seconds), -1))
    ratio = efficiency(spec, mine, theirs)
    table.append(("efficiency", "relative", (np.ones_like(ratio), ratio), 1))
    return [_row(name, unit, a, b, better) for name, unit, (a, b), better in table]


def _row(name: str, unit: str, reference: np.ndarray, ours: np.ndarray, better: int) -> dict[str, Any]:
    difference = ours - reference
    there = np.isfinite(difference)
    interval = bootstrap_interval(difference[there]) if there.any() else (np.nan, np.nan)
    means = [float(np.nanmean(a)) if np.isfinite(a).any() else float("nan") for a in (reference, ours)]
    return {
        "name": name,
        "unit": unit,
        "reference": means[0],
        "trimtab": means[1],
        "difference": float(difference[there].mean()) if there.any() else float("nan"),
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
        gains[name] = float(np.exp(np.log(ratio).mean()) - 1.0)
    return gains
