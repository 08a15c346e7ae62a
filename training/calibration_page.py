"""The page that says how far the simulator can be trusted: simulated against measured, in a table and in pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.objective import Objective
from envs.simulator.parameters import Parameters
from envs.spec import SystemSpec
from envs.units import number, quantity, unit_of
from telemetry.metrics import MetricSpec, Scale
from telemetry.trace import Trace
from training.calibrate import Pieces, Recording, pieces, replayed, report

NMAE_BAR, RANK_BAR = 0.25, 0.8
NMAE_GOAL, RANK_GOAL = 0.15, 0.9
BAR_ON = (
    "efficiency",
    "serving_goodput_per_second",
    "training_samples_per_second",
    "training_goodput_per_second",
    "ingest_written_per_second",
    "serving_cpu_used_cores",
    "training_cpu_used_cores",
    "ingest_cpu_used_cores",
    "host_cpu_used_ratio",
    "serving_latency_p50_seconds",
    "serving_latency_p99_seconds",
    "training_backlog_samples",
    "ingest_backlog_events",
    "serving_memory_bytes",
    "training_memory_bytes",
    "ingest_memory_bytes",
)
"""What the bar is set on: throughput, utilisation, latency, backlog, memory, training rate; above all, efficiency."""
PLOTS = "plots"
PERIODS = 240
"""Most periods of a run that are drawn: more would not be told apart."""
MEASURED, SIMULATED, FAINT = "#1c2733", "#d9822b", "#dfe3e8"
TICKS = np.outer(10.0 ** np.arange(-9, 12), [1.0, 3.0]).ravel()
"""Where a logarithmic axis may have its labels."""
DPI = 85
INTRO = """# Calibration

How well the simulator explains recorded runs that it was not fitted to. A run holds one setting after another; its
arrivals, events and settings are replayed in the simulator without noise, and both sides are averaged over each piece
of constant setting.

- **NMAE**: mean |simulated − measured| over the pieces, divided by the mean |measured|.
- **rank correlation**: Spearman's, of the pieces: whether the simulator puts settings in the right order.
- **noise floor**: the NMAE between the two halves of each measured piece: what no simulator could explain.
"""

Agreement = Mapping[str, Mapping[str, float | None]]


def write_page(spec: SystemSpec, parameters: Parameters, traces: Sequence[Trace], folder: Path) -> None:
    """Write `calibration.md` and its pictures, `plots/calibration-*.png`, into a folder.

    Args:
        spec: of the traces.
        parameters: of the simulator.
        traces: recorded runs that the parameters were not fitted to.
        folder: is made where it is missing.

    Raises:
        CalibrationError: traces that cannot be used.
    """
    (folder / PLOTS).mkdir(parents=True, exist_ok=True)
    agreement, compared = report(spec, parameters, traces), pieces(spec, parameters, traces)
    recording, simulated = max(replayed(spec, parameters, traces), key=lambda run: len(run[1]))
    parts = [INTRO, _told(parameters, compared, traces), _verdict(agreement), _table(agreement)]
    for title, words, draw in (
        ("efficiency", EFFICIENCY_SAID, lambda figure: _draw_ranking(figure, spec, compared)),
        ("one run", RUN_SAID, lambda figure: _draw_run(figure, spec, recording, simulated)),
        *(
            (name, "Each dot is one setting.", _scatter_of(spec, compared, agreement, name))
            for name in (*spec.workloads, "host")
        ),
    ):
        name = f"calibration-{title.replace(' ', '-')}.png"
        _save(folder / PLOTS / name, draw)
        parts.append(f"## {title.capitalize()}\n\n{words}\n\n![{title}]({PLOTS}/{name})")
    (folder / "calibration.md").write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


EFFICIENCY_SAID = (
    "Above all, the order of the settings by efficiency must be right: a policy learns from differences. Left, the "
    "settings in the order of their measured efficiency; right, the ranks."
)
RUN_SAID = (
    "The longest held-out run, or its beginning, period by period: the simulator has the same arrivals, no noise."
)


def _told(parameters: Parameters, compared: Pieces, traces: Sequence[Trace]) -> str:
    periods = sum(len(trace) for trace in traces)
    source = parameters.metadata.get("source", "not fitted")
    runs = f"{len(traces)} run{'s' * (len(traces) > 1)}"
    return (
        f"Parameters: {source}. Held out: {runs}, {len(compared.settings)} settings, {periods} periods. "
        "`trimtab calibrate --report` prints the table."
    )


def _verdict(agreement: Agreement) -> str:
    judged = {name: _met(agreement[name]) for name in BAR_ON if name in agreement}
    missed = [f"`{name}`" for name, met in judged.items() if met is False]
    met = sum(verdict is True for verdict in judged.values())
    told = f"Missed: {', '.join(missed)}." if missed else "None is missed."
    return (
        f"The bar is an NMAE of at most {NMAE_BAR} and a rank correlation of at least {RANK_BAR} (goal: {NMAE_GOAL} "
        f"and {RANK_GOAL}); {met} of {len(judged)} metrics meet it. {told}"
    )


def _met(of: Mapping[str, float | None]) -> bool | None:
    """Whether a metric meets the bar; None where that cannot be told."""
    error, rank = of["nmae"], of["rank_correlation"]
    if error is None or rank is None:
        return None
    return error <= NMAE_BAR and rank >= RANK_BAR


def _table(agreement: Agreement) -> str:
    """Metrics that the bar is on first, in its order; then the others."""
    names = [name for name in BAR_ON if name in agreement]
    names += [name for name in agreement if name not in BAR_ON]
    lines = ["| metric | NMAE | rank correlation | noise floor | bar |", "|---|---|---|---|---|"]
    for name in names:
        of = agreement[name]
        cells = [_figure(of.get(key)) for key in ("nmae", "rank_correlation", "noise_floor")]
        verdict = {True: "met", False: "**missed**", None: "–"}[_met(of)] if name in BAR_ON else ""
        lines.append(f"| `{name}` | {' | '.join(cells)} | {verdict} |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _save(path: Path, draw: Callable[[Any], None]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(dpi=DPI, layout="constrained")
    draw(figure)
    figure.savefig(path, metadata={"Software": None})


def _scatter_of(spec: SystemSpec, compared: Pieces, agreement: Agreement, workload: str) -> Callable[[Any], None]:
    """Draws a panel for each metric of a workload; of the host, for whatever belongs to none."""
    metrics = [
        (i, metric)
        for i, metric in enumerate(spec.catalogue.metrics)
        if next((name for name in spec.workloads if metric.name.startswith(name)), "host") == workload
    ]

    def draw(figure: Any) -> None:
        columns = min(4, max(len(metrics), 1))
        rows = -(-len(metrics) // columns) or 1
        figure.set_size_inches(2.75 * columns, 2.6 * rows)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, (i, metric) in zip(axes, metrics, strict=False):
            _draw_scatter(panel, metric, compared.measured[:, i], compared.simulated[:, i])
            of = agreement[metric.name]
            told = f"NMAE {_figure(of['nmae'])}, rank {_figure(of['rank_correlation'])}"
            panel.set_title(f"{metric.name}\n{told}", fontsize=7.5, loc="left")
        for panel in axes[len(metrics) :]:
            panel.axis("off")

    return draw


def _draw_scatter(axes: Any, metric: MetricSpec, measured: np.ndarray, simulated: np.ndarray) -> None:
    _plain(axes)
    known = np.isfinite(measured) & np.isfinite(simulated)
    both = np.concatenate([measured[known], simulated[known]])
    low, high = float(np.min(both, initial=np.inf)), float(np.max(both, initial=-np.inf))
    if not low < high:
        axes.text(0.5, 0.5, "constant", ha="center", fontsize=7, transform=axes.transAxes)
        return
    if metric.scale is Scale.LOG:
        # Linear below a hundredth of the knee, so that settings without any queue or failure have their place.
        for scale in (axes.set_xscale, axes.set_yscale):
            scale("symlog", linthresh=metric.knee / 100)
        ends = (0.8 * low if low > metric.knee / 100 else 0.0, 1.25 * high)
    else:
        ends = (low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.plot(ends, ends, color=FAINT, lw=1.0, zorder=0)
    axes.plot(measured[known], simulated[known], "o", ms=3.5, alpha=0.6, mew=0, color=SIMULATED, clip_on=False)
    axes.set(xlim=ends, ylim=ends)
    _label(axes, metric, ends)


def _label(axes: Any, metric: MetricSpec, ends: tuple[float, float]) -> None:
    """Three or four round ticks, the same on both axes."""
    from matplotlib.ticker import MaxNLocator

    low, high = ends
    ticks = np.asarray(MaxNLocator(4).tick_values(low, high))
    if metric.scale is Scale.LOG:
        places = TICKS[(max(low, metric.knee / 100) <= TICKS) & (high >= TICKS)]
        ticks = places if len(places) <= 4 else places[np.isclose(np.log10(places) % 1.0, 0.0)][-4:]
    ticks = ticks[(ticks >= low) & (ticks <= high)]
    unit = unit_of(metric.name)
    words = [
        quantity(tick, unit) if unit in ("seconds", "bytes", "bytes/s", "ratio") else number(tick) for tick in ticks
    ]
    for axis, side in ((axes.xaxis, "measured"), (axes.yaxis, "simulated")):
        axis.set_ticks(ticks, words)
        axis.set_ticks([], minor=True)
        axis.set_label_text(side, fontsize=7)


def _draw_ranking(figure: Any, spec: SystemSpec, compared: Pieces) -> None:
    """Efficiency of each setting, in the measured order, and rank against rank."""
    objective = Objective(spec)
    simulated, measured = (
        objective.value(means) / objective.cost(means, compared.settings)
        for means in (compared.simulated, compared.measured)
    )
    known = np.isfinite(simulated) & np.isfinite(measured)
    order = np.argsort(measured[known], kind="stable")
    measured, simulated = measured[known][order], simulated[known][order]
    figure.set_size_inches(11, 4)
    values, ranks = figure.subplots(1, 2, width_ratios=(1.7, 1))
    values.plot(measured, color=MEASURED, lw=1.5, label="measured")
    values.plot(simulated, "o", ms=4, mew=0, alpha=0.7, color=SIMULATED, label="simulated")
    values.set_xlabel("settings, by measured efficiency", fontsize=8)
    values.set_ylabel("efficiency", fontsize=8)
    values.legend(frameon=False, fontsize=8)
    places = np.argsort(np.argsort(simulated, kind="stable"), kind="stable")
    ranks.plot([0, len(places)], [0, len(places)], color=FAINT, lw=1.0, zorder=0)
    ranks.plot(np.arange(len(places)) + 1, places + 1, "o", ms=4, mew=0, alpha=0.7, color=SIMULATED)
    ranks.set_xlabel("measured rank", fontsize=8)
    ranks.set_ylabel("simulated rank", fontsize=8)
    for axes in (values, ranks):
        _plain(axes)


def _draw_run(figure: Any, spec: SystemSpec, recording: Recording, simulated: np.ndarray) -> None:
    """The 99th percentile of latency, and the CPU that each workload uses, period by period."""
    at = np.arange(min(len(simulated), PERIODS)) * spec.control_period_seconds
    latency = [name for name in spec.catalogue.names if "_latency_" in name][-1:]
    used = [objective.cpu_used for objective in spec.workloads.values()]
    figure.set_size_inches(11, 1.7 * len(latency + used))
    panels = figure.subplots(len(latency + used), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, latency + used, strict=True):
        column = spec.catalogue.index(name)
        axes.plot(at, recording.values[: len(at), column], color=MEASURED, lw=0.9, label="measured")
        axes.plot(at, simulated[: len(at), column], color=SIMULATED, lw=1.2, label="simulated")
        axes.set_title(name, fontsize=8, loc="left")
        _plain(axes)
        if name in latency:
            axes.set_yscale("log")
            axes.axhline(spec.latency_slo_seconds, color="#c0392b", lw=0.8, ls="--", label="deadline")
            axes.yaxis.set_major_formatter(lambda y, _: quantity(y, "seconds"))
        else:
            axes.yaxis.set_major_formatter(lambda y, _: f"{number(y)} cores")
    panels[0].legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 0.98))
    panels[-1].set_xlabel("seconds", fontsize=8)


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
