"""What the command line shows: the live line, tables and notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from envs.spec import SystemSpec
from training.demo import DemoResult
from training.live import Progress


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


def demo_tables(summary: Mapping[str, Any]) -> list[Table]:
    """The comparison with either reference, and what the controller did."""
    both = (summary, summary["vs_best_static"])
    return [*(_comparison_table(comparison) for comparison in both), _controller_table(summary)]


def _comparison_table(summary: Mapping[str, Any]) -> Table:
    table = Table(title=f"Trimtab against the {summary['reference']}, {summary['pairs']} pairs")
    for name in ("", summary["reference"], "Trimtab", "difference", "95 % interval"):
        table.add_column(name, justify="left" if not name else "right")
    for row in summary["rows"]:
        low, high = row["difference_ci"]
        style = _style(row["better"], low, high)
        cells = [f"{row[key]:.4g}" for key in ("reference", "trimtab", "difference")]
        table.add_row(f"{row['name']} [dim]{row['unit']}[/]", *cells, f"{low:.3g} to {high:.3g}", style=style)
    return table


def print_notes(console: Console, result: DemoResult) -> None:
    """Headline, which actuators are off, and where everything was written."""
    for summary in (result.summary, result.summary["vs_best_static"]):
        low, high = summary["efficiency_gain_ci"]
        slo, accuracy = summary["slo_attainment"], summary["accuracy"]
        gain, saving = summary["efficiency_gain"], summary["reserved_saving"]
        console.print(
            f"against the {summary['reference']}: [bold]efficiency {gain:+.0%}[/] (95 %: {low:+.0%} to {high:+.0%}), "
            f"CPU reserved {-saving:+.0%}, within SLO {slo['reference']:.1%} -> {slo['trimtab']:.1%}, "
            f"right answers {accuracy['reference']:.1%} -> {accuracy['trimtab']:.1%}"
        )
    for note in result.notes:
        console.print(note, style="dim", highlight=False)
    console.print(f"report       {result.out / 'report.html'}", highlight=False)
    console.print(f"TensorBoard  tensorboard --logdir {result.out / 'tensorboard'}", highlight=False)


def calibration_table(result: Mapping[str, Any]) -> Table:
    """Error of the simulator for each metric on the held-out runs."""
    table = Table(title=f"Simulator against {', '.join(result['held_out_runs'])} (not fitted to)")
    for name in ("metric", "NMAE", "rank correlation"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for name, figures in result["metrics"].items():
        table.add_row(name, *(f"{figures[key]:.2f}" for key in ("nmae", "rank_correlation")))
    return table


def _controller_table(summary: Mapping[str, Any]) -> Table:
    table = Table(title="What the controller did", show_header=False)
    delay = summary["opportunity_to_applied_p99_seconds"]
    table.add_row("optimizations", f"{summary['optimizations']}")
    outcomes = {
        "kept": "kept",
        "rolled_back": "rolled back",
        "inconclusive": "inconclusive, left in force",
        "superseded": "superseded by more capacity",
        "running": "cut off by the end of a window",
    }
    for key, label in outcomes.items():
        table.add_row(f"  {label}", f"{summary[key]}")
    table.add_row("opportunity to applied, p99", f"{delay:.2f} s")
    table.add_row("availability (requests answered)", f"{summary['availability']:.3%}")
    table.add_row("  of the reference", f"{summary['availability_reference']:.3%}")
    return table


def _style(better: str, low: float, high: float) -> str:
    if better == "more":
        return "green" if low > 0 else "red" if high < 0 else ""
    return "green" if high < 0 else "red" if low > 0 else ""
