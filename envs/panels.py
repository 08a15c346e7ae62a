"""What a picture of a learning system shows: lanes, each a quantity over time and what it is held against.

Everything follows from the spec, so that a system with other metrics, knobs and SLOs is drawn without a line of code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from envs.scaling import MetricScaling
from envs.spec import Slo
from envs.units import number, quantity, unit_of, without_unit
from telemetry.metrics import MetricSpec, Scale

if TYPE_CHECKING:
    from envs.task import Task

PERIODS = 120
"""Most periods that are shown: two minutes of one-second periods hold a few trials of settings."""
HEADWAY = 1.25
"""A lane reaches so far above the limit that is drawn in it."""


class Frames(NamedTuple):
    """The last periods of one system, newest last; the last `PERIODS` of them are shown."""

    values: np.ndarray
    """(T, n_metrics) in natural units, NaN where missing."""
    settings: np.ndarray
    """(T, n_knobs) in force during each."""


@dataclass(frozen=True)
class Lane:
    """One quantity over time."""

    label: str
    values: np.ndarray
    """(T,) in natural units; NaN where missing."""
    height: np.ndarray
    """(T,) the same from 0 to 1, as it is drawn; NaN where missing."""
    reading: str
    """The last value for people, with its limit where it has one."""
    workload: str = ""
    """Whose it is; empty for the host's or the whole system's."""
    limit: np.ndarray | None = None
    """(T,) what was wanted, granted or allowed, in natural units."""
    limit_height: np.ndarray | None = None
    """(T,) likewise from 0 to 1."""
    broken: np.ndarray | None = None
    """(T,) bool, where an SLO was broken."""
    own: bool | None = None
    """Whether this task sets it; None for what is no knob."""


@dataclass(frozen=True)
class Panel:
    """Lanes under one title."""

    title: str
    lanes: list[Lane]


@dataclass(frozen=True)
class Overview:
    """A whole picture. Panels stand in the order in which they are read."""

    title: str
    summary: str
    period_seconds: float
    load: Panel
    latency: Panel
    reward: Panel
    levels: Panel
    waiting: Panel
    resources: Panel
    settings: Panel


def overview(task: Task, frames: Frames) -> Overview:
    """Everything that a picture shows of the last periods.

    Raises:
        ValueError: no period, or arrays that are not the spec's.
    """
    shown = _checked(task, frames)
    seen = _Seen(task, shown)
    scores = seen.scores()
    return Overview(
        title=f"{task.spec.name} · {task.name}",
        summary=_summary(task, shown, scores),
        period_seconds=task.spec.control_period_seconds,
        load=Panel("Work done, of what was wanted", [seen.load(name) for name in task.spec.workloads]),
        latency=Panel("Latency", seen.latency()),
        reward=Panel("Reward", scores),
        levels=Panel("Service levels", [seen.level(i, slo) for i, slo in enumerate(task.spec.slos)]),
        waiting=Panel("Waiting and failed", seen.waiting()),
        resources=Panel("Used, of what is granted", seen.resources()),
        settings=Panel("Settings", [seen.knob(i) for i in range(len(task.spec.knobs))]),
    )


def _checked(task: Task, frames: Frames) -> Frames:
    values, settings = (np.asarray(part, dtype=float)[-PERIODS:] for part in frames)
    expected = [(len(values), len(task.spec.metrics)), (len(values), len(task.spec.knobs))]
    if [values.shape, settings.shape] != expected or not len(values):
        raise ValueError(
            f"frames hold values {values.shape} and settings {settings.shape}; at least one period of "
            f"{len(task.spec.metrics)} metrics and {len(task.spec.knobs)} knobs is needed"
        )
    return Frames(values, settings)


def _summary(task: Task, frames: Frames, scores: list[Lane]) -> str:
    met = float(task.objective.slo_met(frames.values).mean())
    means = (f"{lane.label} {number(_mean(lane.values))}" for lane in scores)
    length = len(frames.values) * task.spec.control_period_seconds
    return f"last {number(length)} s:  SLOs met {number(100 * met)} %,  " + ",  ".join(means)


class _Seen:
    """Makes lanes of a task's metrics and knobs."""

    WAITING = ("queue", "backlog", "failed", "kills", "dropped")
    """What the name of a metric holds that counts work waiting or lost."""

    def __init__(self, task: Task, frames: Frames) -> None:
        self.task, self.spec, self.frames = task, task.spec, frames
        self.catalogue = task.catalogue
        self.names = self.catalogue.names
        self.broken = task.objective.breaches(frames.values) > 0  # (T, n_slos)
        self.scaled_settings = (task.knob_scaling.scale(frames.settings) + 1.0) / 2.0  # (T, n_knobs)

    def load(self, workload: str) -> Lane:
        """A workload's useful work, of what was wanted; linear, so that a shortfall shows as what it is."""
        objective = self.spec.workloads[workload]  # type: ignore[index]
        return self._metric(objective.done, self._column(objective.wanted), label=workload, linear=True)

    def latency(self) -> list[Lane]:
        """Latency percentiles against the deadline, broken where an SLO about latency was."""
        about = [i for i, slo in enumerate(self.spec.slos) if "latency" in slo.name + slo.metric]
        broken = np.asarray(self.broken[:, about].any(axis=1))
        seconds = self.spec.latency_slo_seconds
        deadline = np.full(len(self.frames.values), seconds)
        lanes = []
        for name in (name for name in self.names if "_latency_" in name):
            label = without_unit(name.partition("_latency_")[2])
            reading = f"{quantity(self._column(name)[-1], 'seconds')} (≤ {quantity(seconds, 'seconds')})"
            lanes.append(self._metric(name, deadline, label=label, broken=broken, reading=reading))
        return lanes

    def level(self, index: int, slo: Slo) -> Lane:
        """What an SLO bounds, and its bound."""
        bound = float(slo.at_most if slo.at_most is not None else slo.at_least)  # type: ignore[arg-type]
        sign, unit = "≤" if slo.at_most is not None else "≥", unit_of(slo.metric)
        reading = f"{quantity(self._column(slo.metric)[-1], unit)} ({sign} {quantity(bound, unit)})"
        limit = np.full(len(self.frames.values), bound)
        label = slo.name.replace("_", " ")
        return self._metric(slo.metric, limit, label=label, broken=self.broken[:, index], reading=reading)

    def waiting(self) -> list[Lane]:
        """Work that waits or was lost."""
        return [self._metric(name) for name in self.names if any(word in name for word in self.WAITING)]

    def resources(self) -> list[Lane]:
        """CPU and memory of each workload, of what it is granted; then what the host and the pool tell."""
        lanes = []
        for resource in ("cpu", "memory"):
            for workload, objective in self.spec.workloads.items():
                knob = getattr(objective, f"{resource}_knob")
                granted = None if knob is None else self.frames.settings[:, self.spec.knob_index(knob)]
                name = getattr(objective, f"{resource}_used")
                lanes.append(self._metric(name, granted, label=f"{workload} {resource}", linear=True))
        others = [name for name in self.names if name.startswith(("host_", "pool_"))]
        return lanes + [self._metric(name) for name in (*others, self.spec.storage_written, self.spec.network_moved)]

    def knob(self, index: int) -> Lane:
        """A knob over its range."""
        knob, values = self.spec.knobs[index], self.frames.settings[:, index]
        return Lane(
            label=without_unit(knob.name),
            values=values,
            height=self.scaled_settings[:, index],
            reading=quantity(values[-1], knob.unit),
            workload=knob.workload,
            own=index in self.task.knobs,
        )

    def scores(self) -> list[Lane]:
        """Reward and efficiency by the spec's own weights, and the price of what is reserved."""
        values, settings = self.frames
        before = np.concatenate([settings[:1], settings[:-1]])
        terms = self.task.objective.score(values, settings, before)
        parts = {
            "efficiency": terms["efficiency"],
            "reward": np.asarray(sum(terms.values())),
            "cost": self.task.objective.cost(values, settings),
        }
        low = min(0.0, *(_least(part) for part in parts.values()))
        high = max(1.0, *(_most(part) for part in parts.values()))
        return [Lane(name, part, (part - low) / (high - low), number(part[-1])) for name, part in parts.items()]

    def _metric(
        self,
        name: str,
        limit: np.ndarray | None = None,
        *,
        label: str | None = None,
        linear: bool = False,
        broken: np.ndarray | None = None,
        reading: str | None = None,
    ) -> Lane:
        values = self._column(name)
        height, limit_height = _heights(self.catalogue[name], values, limit, linear=linear)
        if reading is None:
            reading = quantity(values[-1], unit_of(name))
            if limit is not None:
                reading = _of(values[-1], limit[-1], unit_of(name))
        return Lane(
            label=without_unit(name) if label is None else label,
            values=values,
            height=height,
            reading=reading,
            workload=next((workload for workload in self.spec.workloads if name.startswith(workload)), ""),
            limit=limit,
            limit_height=limit_height,
            broken=broken,
        )

    def _column(self, name: str) -> np.ndarray:
        return self.frames.values[:, self.catalogue.index(name)]


def _heights(
    metric: MetricSpec, values: np.ndarray, limit: np.ndarray | None, *, linear: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and limit from 0 to 1: of the metric's range, but no farther up than what is to be seen needs.

    A quantity that has no limit is seen against its bound, or, on a log scale, against the value that matters.

    Returns:
        (T,) each; no limit stays None.
    """
    scale = Scale.LINEAR if linear else metric.scale
    least = HEADWAY * _most(limit) if limit is not None else metric.knee if scale is Scale.LOG else metric.high
    top = metric.high if metric.name.endswith("_ratio") else max(_most(values), least, metric.low + 1e-9)
    scaling = MetricScaling([MetricSpec(metric.name, metric.low, top, metric.help, scale=scale, knee=metric.knee)])

    def height(of: np.ndarray) -> np.ndarray:
        return (scaling.scale(of[:, None])[:, 0] + 1.0) / 2.0

    return height(values), None if limit is None else height(limit)


def _of(value: float, limit: float, unit: str) -> str:
    """`132 of 140 /s`: a unit that both have is written once."""
    short, whole = quantity(value, unit), quantity(limit, unit)
    amount, _, symbol = short.rpartition(" ")
    return f"{amount if symbol == whole.rpartition(' ')[2] else short} of {whole}"


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _most(values: np.ndarray) -> float:
    return float(np.max(values, initial=0.0, where=np.isfinite(values)))


def _least(values: np.ndarray) -> float:
    return float(np.min(values, initial=0.0, where=np.isfinite(values)))
