"""A figure of one episode: load, latency against its SLO, CPU reserved and used, and the knobs of a task."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.scaling import KnobScaling
from envs.spec import SystemSpec
from envs.task import Task
from envs.units import without_unit
from training.rollout import Rollout

LIMIT = "#b3372f"
WIDTH, ROW = 10.0, 1.9
"""Inches."""


def episode_figure(task: Task, rollout: Rollout, title: str) -> Any:
    """A matplotlib figure of the first system of a rollout.

    Args:
        task: whose knobs are drawn, scaled to [-1, 1] since their units differ.
        rollout: of T periods and at least one system.
        title: stands above it.
    """
    from matplotlib.figure import Figure

    spec, values, settings = task.spec, rollout.values[:, 0], rollout.settings[:, 0]  # (T, n_metrics), (T, n_knobs)
    at = np.arange(len(values)) * spec.control_period_seconds
    figure = Figure(figsize=(WIDTH, 4 * ROW))
    figure.subplots_adjust(left=0.08, right=0.82, top=0.96, bottom=0.07)  # a computed layout takes twice as long
    load, latency, cpu, knobs = figure.subplots(4, 1, sharex=True)
    _draw_load(load, spec, at, values)
    _draw_latency(latency, spec, at, values)
    _draw_cpu(cpu, spec, at, values, settings)
    scaled = KnobScaling(spec.knobs).scale(settings)  # (T, n_knobs)
    for knob in task.knobs:
        knobs.step(at, scaled[:, knob], lw=1.1, label=without_unit(spec.knob_names[knob]))
    for axis, name in zip(
        (load, latency, cpu, knobs), ("requests/s", "p99, s", "CPU, cores", "knobs, scaled"), strict=True
    ):
        axis.set_ylabel(name, fontsize=9)
        axis.tick_params(labelsize=8, which="both")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    load.set_title(title, fontsize=10, loc="left")
    knobs.set_ylim(-1.05, 1.05)
    knobs.set_xlabel("seconds of the episode", fontsize=9)
    return figure


def _draw_load(axis: Any, spec: SystemSpec, at: np.ndarray, values: np.ndarray) -> None:
    for name, colour in (("serving_arrivals_per_second", "#444"), ("serving_goodput_per_second", "#0b7285")):
        label = name.removeprefix("serving_").removesuffix("_per_second")
        axis.plot(at, values[:, spec.catalogue.index(name)], color=colour, lw=1.0, label=label)
    axis.set_ylim(bottom=0)


def _draw_latency(axis: Any, spec: SystemSpec, at: np.ndarray, values: np.ndarray) -> None:
    p99 = values[:, spec.catalogue.index("serving_latency_p99_seconds")]
    axis.plot(at, p99, color="#0b7285", lw=1.0, label="p99")
    axis.axhline(spec.latency_slo_seconds, color=LIMIT, lw=1.0, ls="--", label="SLO")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")


def _draw_cpu(axis: Any, spec: SystemSpec, at: np.ndarray, values: np.ndarray, settings: np.ndarray) -> None:
    for (workload, objective), colour in zip(spec.workloads.items(), ("#2f6fb3", "#d9822b", "#0b8a7d"), strict=False):
        reserved = settings[:, spec.knob_index(objective.cpu_knob)]
        used = values[:, spec.catalogue.index(objective.cpu_used)]
        axis.step(at, reserved, color=colour, lw=1.4, label=f"{workload}, reserved")
        axis.plot(at, used, color=colour, lw=0.8, ls=":", label=f"{workload}, used")
    axis.set_ylim(bottom=0)
