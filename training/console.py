"""What the command line shows: the live line, headlines and notes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from envs.spec import SystemSpec
from training.live import Progress
from training.pooling import comparisons


def demo_line(spec: SystemSpec, progress: Progress) -> str:
    """State of the comparison after a period, one line of constant width."""
    values, catalogue = progress.snapshot.values, spec.catalogue
    load = values[catalogue.index("serving_arrivals_per_second")]
    p99 = values[catalogue.index("serving_latency_p99_seconds")]
    cores = sum(values[catalogue.index(o.cpu_used)] for o in spec.workloads.values())
    reserved = sum(progress.setting[spec.knob_index(o.cpu_knob)] for o in spec.workloads.values())
    return (
        f"{progress.arm:<14.14} segment {progress.segment + 1}  {load:5.0f} req/s  p99 {1e3 * p99:6.0f} ms  "
        f"CPU {cores:4.2f} used of {reserved:4.2f} reserved"
    )


def print_notes(console: Console, result: Mapping[str, Any]) -> None:
    """Headlines of a live comparison, which actuators are off, and where everything was written."""
    for comparison in comparisons(result):
        low, high = comparison["efficiency_gain_ci"]
        slo, held, accuracy = (comparison[key] for key in ("slo_attainment", "slo_periods", "accuracy"))
        console.print(
            f"against the {comparison['reference']}: [bold]efficiency {comparison['efficiency_gain']:+.0%}[/] "
            f"(95 %: {low:+.0%} to {high:+.0%}), CPU reserved {-comparison['reserved_saving']:+.0%}, "
            f"within SLO {slo['reference']:.1%} -> {slo['trimtab']:.1%}, "
            f"all SLOs met {held['reference']:.0%} -> {held['trimtab']:.0%}, "
            f"right answers {accuracy['reference']:.1%} -> {accuracy['trimtab']:.1%}"
            + ("" if comparison["counts"] else " [red](does not count: SLOs held less often)[/]"),
            highlight=False,
        )
    for note in result["notes"]:
        console.print(note, style="dim", highlight=False, markup=False)
    out = Path(result["out"])
    console.print(f"report       {out / 'report.html'}", highlight=False)
    logs = out if len(result["runs"]) > 1 else out / "tensorboard"
    console.print(f"TensorBoard  tensorboard --logdir {logs}", highlight=False)


def calibration_table(result: Mapping[str, Any]) -> Table:
    """Error of the simulator for each metric on the held-out runs."""
    table = Table(title=f"Simulator against {', '.join(result['held_out_runs'])} (not fitted to)")
    for name in ("metric", "NMAE", "rank correlation"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for name, figures in result["metrics"].items():
        table.add_row(name, *(f"{figures[key]:.2f}" for key in ("nmae", "rank_correlation")))
    return table
