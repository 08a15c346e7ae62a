"""The main job: the shipped policies run online on a real learning system, compared with static settings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.artifact import load_shipped
from agents.heuristics.fallback import fallback_policy
from agents.policy import Policy
from controller.commands import JOURNAL
from controller.journal import Journal, optimizations
from controller.live_plant import LivePlant
from controller.loop import Controller, ControllerConfig
from controller.shield import ShieldConfig
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.public_traces import load_demand
from telemetry.trace import TraceRecorder
from telemetry.workload import Demand, generate_demand
from testbed.capacity import measure_capacity
from testbed.launcher import Testbed
from training.comparison import compare
from training.excite import MEAN_EVENTS_PER_SECOND
from training.live import Arm, ControllerArm, Progress, StaticArm, Window, cut, run_interleaved
from training.references import load_references
from training.report import write_html, write_tensorboard

PEAK_SHARE = 0.8
"""Peak of the replayed trace, as a share of what serving can do with good settings (measured at the start)."""


NO_CEILING = (
    "CPU ceilings are off, for want of privilege: CPU is shared by weight, and what a workload uses beyond its share "
    "counts as reserved."
)
STATIC_DEFAULT, BEST_STATIC = "static default", "best static"


class DemoError(ValueError):
    """A demo that cannot be run as asked; one line."""


@dataclass(frozen=True)
class DemoConfig:
    """What the demo does; the defaults take under eight minutes."""

    segments: int = 6
    """Segments of the demand; each is replayed to every arm."""
    periods: int = 18
    """Counted control periods of a window."""
    settle_periods: int = 4
    """Periods before them that are not counted: the last arm's queues drain, the controller's window fills."""
    warm_up_periods: int = 10
    """Periods that each arm runs before the first window."""
    trace: Path | None = None
    """A request trace in any supported format; None is a generated day (`telemetry.workload`, seed 2024)."""
    seed: int = 2024
    """Of the generated day."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo leaves.

    Attributes:
        summary: the JSON object with its stable keys.
        windows: every counted window.
        out: folder with `report.html`, `result.json`, `journal.jsonl`, `trace/` and `tensorboard/`.
        notes: lines for people.
    """

    summary: dict[str, Any]
    windows: list[Window]
    out: Path
    notes: list[str]


def run_demo(
    spec: SystemSpec,
    out: Path,
    config: DemoConfig,
    *,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_period: Callable[[Progress], None] = lambda progress: None,
) -> DemoResult:
    """Start the testbed, compare, write report and logs, leave nothing running.

    Args:
        spec: the reference system.
        out: folder for results; made if missing.
        config: length and trace.
        on_stage: called with each stage's name.
        on_period: called after each control period.

    Raises:
        TestbedError: the testbed cannot be started.
        TraceError: the trace cannot be read.
        ArtifactError: a shipped policy does not fit the spec.
        DemoError: `out` holds an earlier demo, whose journal must not be mixed with this one's.
    """
    demand = _demand(config)
    if (out / JOURNAL).exists():
        raise DemoError(f"{str(out)!r} holds an earlier demo; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    windows, facts, actuators = _play(spec, out, config, demand, on_stage, on_period)
    on_stage("writing the report")
    notes = [
        _setting_note(spec, STATIC_DEFAULT, spec.default_setting),
        _setting_note(spec, BEST_STATIC, load_references(spec).best_static),
        *([] if facts["enforced"] else [NO_CEILING]),
        *actuators.splitlines(),
    ]
    return _finish(spec, out, windows, notes, demand=demand.name, **facts)


def _play(
    spec: SystemSpec,
    out: Path,
    config: DemoConfig,
    demand: Demand,
    on_stage: Callable[[str], None],
    on_period: Callable[[Progress], None],
) -> tuple[list[Window], dict[str, Any], str]:
    """Run the comparison on a testbed of its own; windows, facts of the run, report on the actuators."""
    policies = {role: load_shipped(role, spec) for role in Role}  # first: a bad artifact is told at once
    with ExitStack() as stack:
        on_stage("starting the testbed")
        testbed = stack.enter_context(Testbed(log_dir=out / "logs"))
        testbed.wait_ready()
        on_stage("measuring what serving can do")
        capacity = measure_capacity(testbed.url("serving"))
        plant = LivePlant(spec, testbed.state_dir / "testbed.json")
        stack.callback(plant.close)
        journal = Journal(out / JOURNAL)
        stack.callback(journal.close)
        recorder = stack.enter_context(
            TraceRecorder(out / "trace", spec.catalogue.names, spec.knob_names, metadata=_metadata(spec, capacity))
        )

        def record(progress: Progress) -> None:
            testbed.poll()
            recorder.append(progress.snapshot.time, progress.snapshot.values, progress.setting)
            on_period(progress)

        on_stage("replaying the trace")
        scaled = demand.scaled(PEAK_SHARE * capacity, MEAN_EVENTS_PER_SECOND)
        windows = run_interleaved(
            plant,
            {name: testbed.url(name) for name in testbed.components},
            _arms(plant, policies, journal, _compression(demand, spec, config)),
            cut(scaled, spec, config.segments, config.periods, config.settle_periods),
            settle_periods=config.settle_periods,
            warm_up_periods=config.warm_up_periods,
            on_period=record,
        )
        facts = {"enforced": plant.actuators.enforced, "capacity": capacity}
        return windows, facts, plant.actuators.report()


def _arms(plant: LivePlant, policies: Mapping[Role, Policy], journal: Journal, compression: float) -> list[Arm]:
    """Static default, best static setting, and Trimtab with budgets per hour of the compressed demand."""
    spec = plant.spec
    fallback = {Role.ALLOCATION: fallback_policy(Task(spec, Role.ALLOCATION))}  # without tuning: held as it is
    config = ControllerConfig(shield=ShieldConfig(reversals_per_hour=60.0 * compression))
    return [
        StaticArm(plant, spec.default_setting, STATIC_DEFAULT),
        StaticArm(plant, load_references(spec).best_static, BEST_STATIC),
        ControllerArm(plant, lambda: Controller(plant, policies, fallback, journal, mode="act", config=config)),
    ]


def _finish(spec: SystemSpec, out: Path, windows: list[Window], notes: list[str], **facts: Any) -> DemoResult:
    arms = {name: [w for w in windows if w.arm == name] for name in (STATIC_DEFAULT, BEST_STATIC, ControllerArm.name)}
    ours = arms[ControllerArm.name]
    records = Journal.read(out / JOURNAL)
    made = optimizations(records)
    summary = compare(spec, arms[STATIC_DEFAULT], ours) | {
        "vs_best_static": compare(spec, arms[BEST_STATIC], ours),
        "optimizations": made.count,
        "rolled_back": made.rolled_back,
        "kept": made.kept,
        "inconclusive": made.inconclusive,
        "superseded": made.superseded,
        "running": made.running,
        "opportunity_to_applied_p99_seconds": made.opportunity_to_applied_p99_seconds,
        "root": facts["enforced"],
        "capacity_requests_per_second": facts["capacity"],
        "demand": facts["demand"],
        "out": str(out),
    }
    (out / "result.json").write_text(json.dumps(summary, indent=2) + "\n")
    write_tensorboard(out / "tensorboard", spec, windows)
    write_html(out / "report.html", spec, summary, windows, changes_made(records), notes)
    return DemoResult(summary, windows, out, notes)


def changes_made(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The journal's optimizations, one dict each: time (plant's clock), workload, changes, verdict, reason."""
    changes: dict[str, dict[str, Any]] = {}
    for record in records:
        for opened in record.get("opened", []):
            knobs = ", ".join(f"{name} {old:.3g} → {new:.3g}" for name, (old, new) in opened["knobs"].items())
            changes[opened["id"]] = {
                "time": opened["applied_at"],
                "workload": f"{opened['workload']} ({opened['role']})",
                "changes": knobs,
                "verdict": "running",
                "reason": "",
            }
        for verdict in record.get("verdicts", []):
            if verdict["id"] in changes:
                changes[verdict["id"]] |= {"verdict": verdict["outcome"], "reason": verdict["reason"]}
    return list(changes.values())


def _demand(config: DemoConfig) -> Demand:
    return load_demand(config.trace) if config.trace else generate_demand(config.seed, family="servegen")


def _compression(demand: Demand, spec: SystemSpec, config: DemoConfig) -> float:
    """How many times faster than life the demand runs; budgets per hour of demand grow by it (at most 60-fold)."""
    replayed = config.segments * config.periods * spec.control_period_seconds
    return float(np.clip(demand.duration / replayed, 1.0, 60.0))


def _setting_note(spec: SystemSpec, name: str, setting: np.ndarray) -> str:
    return f"{name}: " + ", ".join(f"{n} {value:.3g}" for n, value in zip(spec.knob_names, setting, strict=True))


def _metadata(spec: SystemSpec, capacity: float) -> dict[str, Any]:
    return {
        "spec": spec.name,
        "spec_fingerprint": spec.fingerprint,
        "source": "demo",
        "wall_start": time.time(),
        "capacity_requests_per_second": capacity,
    }
