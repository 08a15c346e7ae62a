"""Judges on the real testbed: `trimtab demo` is one such comparison, `trimtab evaluate --live` repeats it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from agents.artifact import load, load_shipped
from envs.spec import Role, SystemSpec
from telemetry.options import finite
from telemetry.public_traces import load_demand
from telemetry.workload import Demand, generate_demand
from training.demo import (
    BEST_HEURISTIC,
    BEST_STATIC,
    STATIC_DEFAULT,
    Contestants,
    DemoConfig,
    Hooks,
    LiveRun,
    Plan,
    changes_made,
    run_live,
)
from training.heuristics import HEURISTICS
from training.live import Progress
from training.pooling import OUTCOMES, comparisons, pool
from training.references import TUNED, load_references, reference_policies
from training.report import write_html, write_tensorboard

NO_CEILING = (
    "CPU ceilings are off, for want of privilege: CPU is shared by weight, and what a workload uses beyond its share "
    "counts as reserved."
)


BUSY_HOST, BUSY_RATIO = (
    "the host's CPU was in use to {:.0%}: other work disturbed the comparison; repeat it in quiet",
    0.9,
)
"""Undisturbed, it is 0.5 to 0.7 on the reference host."""


class NoHeuristic(ValueError):
    """There is no tuned heuristic to compare with; one line."""


def evaluate_live(
    spec_source: str,
    policy: Path | None,
    out: Path,
    *,
    runs: int,
    trace: Path | None = None,
    config: DemoConfig | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_period: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Compare Trimtab on the real testbed with the static default, the best static setting and the best tuned rule.

    Each run starts the testbed anew, with other arrivals and, without a given trace, another day. What all runs
    measured is pooled; the intervals are bootstrapped over runs and segments.

    Args:
        spec_source: SystemSpec file or shipped name.
        policy: folder with `allocation/` and `tuning/`; None takes the shipped ones.
        out: folder for `result.json`, `report.html` and, for each run, journal, trace, logs and TensorBoard.
        runs: how many; one run gives intervals over its segments alone.
        trace: a request trace in any supported format; None generates a day for each run.
        config: length and seed.
        on_stage: called with each stage's name.
        on_period: called after each control period; `Progress` counts the periods of all runs.

    Returns:
        The stable keys of `demo --json` against the static default, the same under `vs_best_static` and
        `vs_best_heuristic`, and `runs`. `simulated` is None: nothing was simulated here.

    Raises:
        SpecError, ArtifactError, TraceError: what was given cannot be used.
        NoHeuristic: no search has tuned a heuristic for this spec.
        DemoError, TestbedError, LoadError: the testbed cannot be run.
    """
    spec, config = SystemSpec.load(spec_source), config or DemoConfig()
    contestants = find_contestants(spec, policy)
    plans = [Plan(demand, config, run) for run, demand in enumerate(_demands(trace, config, runs))]
    done = [
        run_live(spec, contestants, plan, _folder(out, plan.run, runs), _hooks(plan.run, runs, on_stage, on_period))
        for plan in plans
    ]
    on_stage("writing the report")
    return _finish(spec, out, contestants, config, done)


def best_heuristic(spec: SystemSpec) -> str:
    """The tuned heuristic with the best score of the search.

    Raises:
        NoHeuristic: none was tuned for this spec.
    """
    found = json.loads((resources.files("training") / "configs" / TUNED).read_text())
    scores = {h.name: float(found[h.name]["score"]) for h in HEURISTICS if h.name in found}
    if found.get("fingerprint") != spec.setting_fingerprint or not scores:
        which = f"spec {spec.name!r} ({spec.setting_fingerprint})"
        raise NoHeuristic(f"no heuristic is tuned for {which}; run `trimtab search`")
    return max(scores, key=lambda name: scores[name])


def disturbances(result: Mapping[str, Any]) -> list[str]:
    """A line for each run during which something else used the host, so that its figures are worth little."""
    used = [run["host_cpu_used_ratio"] for run in result["runs"]]
    return [
        f"run {number}: {share:.0%} of the host's CPU was in use, other work disturbed it; repeat it on a quiet machine"
        for number, share in enumerate(used, 1)
        if share > BUSY_RATIO
    ]


def without_ratio(result: Mapping[str, Any]) -> list[str]:
    """A line for each reference that did nothing in some windows, so that efficiency is told from the others alone."""
    return [
        f"{part['reference']}: did no useful work, or none that could be read, in {part['pairs_without_ratio']} of "
        f"{part['pairs']} windows; efficiency is compared in the others"
        for part in comparisons(result)
        if part["pairs_without_ratio"]
    ]


def live_tables(result: Mapping[str, Any]) -> list[Table]:
    """What each arm reached, the differences with intervals, the runs if there are several, what the controller did."""
    tables = [_means_table(result), _differences_table(result)]
    if len(result["runs"]) > 1:
        tables.append(_runs_table(result))
    return [*tables, _controller_table(result)]


def find_contestants(spec: SystemSpec, policy: Path | None) -> Contestants:
    """The best static setting, the best tuned rule, and the policies in a folder or the shipped ones."""
    references = load_references(spec)
    rule = best_heuristic(spec)
    return Contestants(
        best_static=references.best_static,
        rule=rule,
        rule_policies=reference_policies(spec, references)[rule],
        rule_setting=references.settings.get(rule, references.best_static),
        learned={role: load(policy / role, spec, role) if policy else load_shipped(role, spec) for role in Role},
    )


def _demands(trace: Path | None, config: DemoConfig, runs: int) -> list[Demand]:
    if trace is not None:
        return [load_demand(trace)] * runs
    return [generate_demand(config.seed + run, family="servegen") for run in range(runs)]


def _folder(out: Path, run: int, runs: int) -> Path:
    return out if runs == 1 else out / f"run-{run + 1}"


def _hooks(run: int, runs: int, on_stage: Callable[[str], None], on_period: Callable[[Progress], None]) -> Hooks:
    if runs == 1:
        return Hooks(on_stage, on_period)

    def counted_over_all(progress: Progress) -> None:
        on_period(replace(progress, done=run * progress.total + progress.done, total=runs * progress.total))

    return Hooks(lambda stage: on_stage(f"run {run + 1} of {runs}: {stage}"), counted_over_all)


def _finish(
    spec: SystemSpec, out: Path, contestants: Contestants, config: DemoConfig, runs: Sequence[LiveRun]
) -> dict[str, Any]:
    """Result, report and TensorBoard logs of all runs."""
    windows = [window for run in runs for window in run.windows]
    records = [record for run in runs for record in run.records]
    result = pool(spec, runs)
    notes = [*disturbances(result), *without_ratio(result), *_notes(spec, contestants, runs)]
    result |= {"seed": config.seed, "out": str(out), "notes": notes}
    (out / "result.json").write_text(json.dumps(finite(result), indent=2) + "\n")
    for number, run in enumerate(runs):
        write_tensorboard(_folder(out, number, len(runs)) / "tensorboard", spec, run.windows)
    write_html(out / "report.html", spec, comparisons(result), windows, changes_made(records))
    return result


def _notes(spec: SystemSpec, contestants: Contestants, runs: Sequence[LiveRun]) -> list[str]:
    """Lines for people: what the references are, and which actuators are off."""
    settings = {
        STATIC_DEFAULT: spec.default_setting,
        BEST_STATIC: contestants.best_static,
        f"{BEST_HEURISTIC} ({contestants.rule}), around which it moves": contestants.rule_setting,
    }
    shown = {name: zip(spec.knob_names, setting, strict=True) for name, setting in settings.items()}
    return [
        *(f"{name}: {', '.join(f'{knob} {value:.3g}' for knob, value in knobs)}" for name, knobs in shown.items()),
        *([] if all(run.enforced for run in runs) else [NO_CEILING]),
        *runs[-1].actuators.splitlines(),
    ]


def _means_table(result: Mapping[str, Any]) -> Table:
    names = [str(comparison["reference"]) for comparison in comparisons(result)]
    table = _table(f"On the testbed, mean of {result['pairs']} windows each", *names, "Trimtab")
    for rows in zip(*(comparison["rows"] for comparison in comparisons(result)), strict=True):
        if rows[0]["name"] == "efficiency":  # relative to each reference: see the differences
            continue
        means = [*(row["reference"] for row in rows), rows[0]["trimtab"]]
        table.add_row(_label(rows[0]), *(_shown(rows[0]["unit"], mean) for mean in means))
    return table


def _differences_table(result: Mapping[str, Any]) -> Table:
    against = [f"against {comparison['reference']}" for comparison in comparisons(result)]
    table = _table("Trimtab minus the reference, paired, 95 % interval", *against)
    for rows in zip(*(comparison["rows"] for comparison in comparisons(result)), strict=True):
        cells = []
        for row in rows:
            low, high = (_signed(row["unit"], end) for end in row["difference_ci"])
            style = _style(row["better"], *row["difference_ci"])
            cells.append(f"[{style}]{low} to {high}[/]" if style else f"{low} to {high}")
        table.add_row(_label(rows[0]), *cells)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE, padding=(0, 0, 0, 1))
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left", no_wrap=not name)
    return table


def _label(row: Mapping[str, Any]) -> str:
    return str(row["name"]) if row["unit"] == "ratio" else f"{row['name']} [dim]{row['unit']}[/]"


def _shown(unit: str, value: float) -> str:
    """Ratios in percent."""
    return f"{value:.1%}" if unit == "ratio" else f"{value:.3g}"


def _signed(unit: str, value: float) -> str:
    """An end of an interval, shorter than a mean: whole percents, two digits or as many as it has."""
    if unit == "ratio":
        return f"{value:+.0%}"
    return f"{value:+.0f}" if abs(value) >= 10 else f"{value:+.2g}"


def _runs_table(result: Mapping[str, Any]) -> Table:
    names = [f"against {comparison['reference']}" for comparison in comparisons(result)]
    table = _table("Efficiency, run by run", "requests/s", "host CPU", *names, "all SLOs met")
    for number, run in enumerate(result["runs"], 1):
        gains = [f"{part['efficiency_gain']:+.0%}" for part in comparisons(run)]
        capacity, held = f"{run['capacity_requests_per_second']:.0f}", f"{run['slo_periods']['trimtab']:.0%}"
        table.add_row(f"run {number}", capacity, f"{run['host_cpu_used_ratio']:.0%}", *gains, held)
    return table


def _controller_table(result: Mapping[str, Any]) -> Table:
    table = Table(title="What the controller did", show_header=False)
    table.add_row("optimizations", f"{result['optimizations']}")
    for key, label in OUTCOMES.items():
        table.add_row(f"  {label}", f"{result[key]}")
    table.add_row("opportunity to applied, p99", f"{result['opportunity_to_applied_p99_seconds']:.2f} s")
    table.add_row("availability (requests answered)", f"{result['availability']:.3%}")
    for comparison in comparisons(result):
        table.add_row(f"  of the {comparison['reference']}", f"{comparison['availability_reference']:.3%}")
    return table


def _style(better: str, low: float, high: float) -> str:
    if better == "more":
        return "green" if low > 0 else "red" if high < 0 else ""
    return "green" if high < 0 else "red" if low > 0 else ""
