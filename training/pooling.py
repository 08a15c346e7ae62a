"""What independent live comparisons say together, and each of them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from controller.journal import optimizations
from envs.spec import SystemSpec
from training.comparison import compare
from training.demo import BEST_HEURISTIC, BEST_STATIC, STATIC_DEFAULT, LiveRun
from training.live import Window
from training.live_arms import ControllerArm

BESIDE = {"vs_best_static": BEST_STATIC, "vs_best_heuristic": BEST_HEURISTIC}
"""Key of a further comparison -> its reference; the one with the static default stands at the top level."""
OF_EACH_RUN = ("efficiency_gain", "efficiency_gain_ci", "reserved_saving", "slo_attainment", "slo_periods", "accuracy")
OUTCOMES = {
    "kept": "kept",
    "rolled_back": "rolled back",
    "inconclusive": "inconclusive, left in force",
    "undone": "taken back for want of proof",
    "superseded": "superseded by more capacity",
    "running": "cut off by the end of a window",
}
"""Key -> how it is shown: what became of the optimizations."""


def pool(spec: SystemSpec, runs: Sequence[LiveRun]) -> dict[str, Any]:
    """Figures of all runs together, and a summary of each.

    Args:
        spec: of the system.
        runs: equally long.

    Raises:
        ComparisonError: a run lacks a window.
    """
    found = _against_all(spec, [window for run in runs for window in run.windows])
    made = optimizations([record for run in runs for record in run.records])
    return found | {
        "optimizations": made.count,
        **{key: getattr(made, key) for key in OUTCOMES},
        "opportunity_to_applied_p99_seconds": made.opportunity_to_applied_p99_seconds,
        "root": all(run.enforced for run in runs),
        "capacity_requests_per_second": float(np.mean([run.capacity for run in runs])),
        "demand": ", ".join(dict.fromkeys(run.demand for run in runs)),
        "runs": [_run_summary(spec, run) for run in runs],
        "simulated": None,
    }


def _against_all(spec: SystemSpec, windows: Sequence[Window]) -> dict[str, Any]:
    ours = [window for window in windows if window.arm == ControllerArm.name]

    def against(reference: str) -> dict[str, Any]:
        return compare(spec, [window for window in windows if window.arm.startswith(reference)], ours)

    return against(STATIC_DEFAULT) | {key: against(reference) for key, reference in BESIDE.items()}


def _run_summary(spec: SystemSpec, run: LiveRun) -> dict[str, Any]:
    found, made = _against_all(spec, run.windows), optimizations(run.records)
    return {
        "demand": run.demand,
        "capacity_requests_per_second": run.capacity,
        "host_cpu_used_ratio": _host_cpu(spec, run),
        "optimizations": made.count,
        "rolled_back": made.rolled_back,
        **{key: found[key] for key in OF_EACH_RUN},
        **{beside: {key: found[beside][key] for key in OF_EACH_RUN} for beside in BESIDE},
    }


def _host_cpu(spec: SystemSpec, run: LiveRun) -> float:
    """Median over Trimtab's periods: near 1, others have taken CPU that the workloads were granted."""
    index = spec.catalogue.index("host_cpu_used_ratio")
    ours = [window.values[:, index] for window in run.windows if window.arm == ControllerArm.name]
    return float(np.nanmedian(np.concatenate(ours)))


def comparisons(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What `evaluate_live` found against each reference, the static default first."""
    return [result, *(result[key] for key in BESIDE)]
