"""One live comparison: a testbed of its own, a day replayed to every contestant in turn, everything recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.heuristics.fallback import fallback_policy
from agents.policy import Policy
from controller.commands import JOURNAL
from controller.decision import Mode
from controller.journal import Journal
from controller.live_plant import LivePlant
from controller.loop import Controller, ControllerConfig
from controller.shield import ShieldConfig
from envs.plant import Plant
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.trace import TraceRecorder
from telemetry.workload import Demand
from testbed.capacity import measure_capacity
from testbed.launcher import Testbed
from training.excite import MEAN_EVENTS_PER_SECOND
from training.live import Interleaving, Progress, Window, cut, run_interleaved
from training.live_arms import Arm, ControllerArm, PolicyArm, StaticArm

PEAK_SHARE = 0.8
"""Peak of the replayed trace, as a share of what serving can do with good settings (measured at the start)."""
STATIC_DEFAULT, BEST_STATIC, BEST_HEURISTIC = "static default", "best static", "best heuristic"


class DemoError(ValueError):
    """A live comparison that cannot be run as asked; one line."""


@dataclass(frozen=True)
class DemoConfig:
    """Length of a live comparison; the defaults take eight and a half minutes."""

    segments: int = 5
    """Segments of the demand; each is replayed to every arm."""
    periods: int = 18
    """Counted control periods of a window."""
    settle_periods: int = 5
    """See `training.live.Interleaving`, as the next."""
    warm_up_periods: int = 10
    seed: int = 2024
    """Of the generated day; training takes seeds from 1, validation from 1001, simulated tests from 9001 on."""


@dataclass(frozen=True)
class Contestants:
    """Who is compared on the testbed, beside the static default.

    Attributes:
        best_static: (n_knobs,) best static setting.
        rule: name of the best tuned heuristic.
        rule_policies: its policies.
        rule_setting: (n_knobs,) found best for the knobs that it leaves alone.
        learned: Trimtab's policies.
    """

    best_static: np.ndarray
    rule: str
    rule_policies: Mapping[Role, Policy]
    rule_setting: np.ndarray
    learned: Mapping[Role, Policy]


@dataclass(frozen=True)
class Plan:
    """What one comparison replays.

    Attributes:
        demand: compressed in time to fit.
        config: length.
        run: number of this comparison among several; each has other arrivals and another part of the drifting stream.
    """

    demand: Demand
    config: DemoConfig
    run: int = 0

    def interleaving(self, spec: SystemSpec) -> Interleaving:
        """Turns and seeds; a run goes on in the drifting stream where the one before it ended."""
        config = self.config
        seconds = config.segments * (config.periods + config.settle_periods) * spec.control_period_seconds
        return Interleaving(
            config.settle_periods, config.warm_up_periods, seed=self.run, stream_seconds=self.run * seconds
        )

    def compression(self, spec: SystemSpec) -> float:
        """How many times faster than life the demand runs, from 1 to 60: budgets per hour of demand grow by it."""
        replayed = self.config.segments * self.config.periods * spec.control_period_seconds
        return float(np.clip(self.demand.duration / replayed, 1.0, 60.0))


@dataclass(frozen=True)
class LiveRun:
    """What one comparison leaves.

    Attributes:
        demand: name of the trace.
        windows: every counted window.
        records: of the controller's journal.
        capacity: requests a second that serving can answer with good settings.
        enforced: whether CPU ceilings could be set.
        actuators: lines for people.
    """

    demand: str
    windows: list[Window]
    records: list[dict[str, Any]]
    capacity: float
    enforced: bool
    actuators: str


@dataclass(frozen=True)
class Hooks:
    """What is told while a comparison runs."""

    on_stage: Callable[[str], None] = lambda stage: None
    """Called with each stage's name."""
    on_period: Callable[[Progress], None] = lambda progress: None
    """Called after each control period."""


def run_live(spec: SystemSpec, contestants: Contestants, plan: Plan, out: Path, hooks: Hooks | None = None) -> LiveRun:
    """Start a testbed, compare, leave nothing running; journal, trace and the components' logs go to `out`.

    Args:
        spec: the reference system.
        contestants: who is compared.
        plan: what is replayed.
        out: folder, made if missing.
        hooks: told while it runs.

    Raises:
        TestbedError: the testbed cannot be started.
        LoadError: the testbed does not answer.
        DemoError: `out` holds an earlier comparison, whose journal must not be mixed with this one's.
    """
    if (out / JOURNAL).exists():
        raise DemoError(f"{str(out)!r} holds an earlier demo or comparison; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    hooks = hooks or Hooks()
    with ExitStack() as stack:
        hooks.on_stage("starting the testbed")
        testbed = stack.enter_context(Testbed(log_dir=out / "logs"))
        testbed.wait_ready()
        hooks.on_stage("measuring what serving can do")
        capacity = measure_capacity(testbed.url("serving"))
        plant = LivePlant(spec, testbed.state_dir / "testbed.json")
        stack.callback(plant.close)
        journal = Journal(out / JOURNAL)
        stack.callback(journal.close)
        metadata = _metadata(spec, capacity)
        recorder = stack.enter_context(
            TraceRecorder(out / "trace", spec.catalogue.names, spec.knob_names, metadata=metadata)
        )

        def record(progress: Progress) -> None:
            testbed.poll()
            recorder.append(progress.snapshot.time, progress.snapshot.values, progress.setting)
            hooks.on_period(progress)

        hooks.on_stage("replaying the trace")
        scaled = plan.demand.scaled(PEAK_SHARE * capacity, MEAN_EVENTS_PER_SECOND)
        config = plan.config
        windows = run_interleaved(
            plant,
            {name: testbed.url(name) for name in testbed.components},
            arms(plant, contestants, journal, plan.compression(spec)),
            cut(scaled, spec, config.segments, config.periods, config.settle_periods),
            plan.interleaving(spec),
            on_period=record,
        )
        enforced, actuators = plant.actuators.enforced, plant.actuators.report()
    windows = [replace(window, run=plan.run) for window in windows]
    return LiveRun(plan.demand.name, windows, Journal.read(out / JOURNAL), capacity, enforced, actuators)


def arms(plant: Plant, contestants: Contestants, journal: Journal, compression: float) -> list[Arm]:
    """Both static settings, the rule, and Trimtab with budgets per hour of the compressed demand.

    Rule and Trimtab begin at the best settings that are known for them.
    """
    spec, best = plant.spec, contestants.best_static
    fallback = {Role.ALLOCATION: fallback_policy(Task(spec, Role.ALLOCATION))}  # without tuning: held as it is
    config = ControllerConfig(shield=ShieldConfig(reversals_per_hour=60.0 * compression))

    def make() -> Controller:
        return Controller(plant, contestants.learned, fallback, journal, mode=Mode.ACT, config=config)

    rule = f"{BEST_HEURISTIC} ({contestants.rule})"
    return [
        StaticArm(plant, spec.default_setting, STATIC_DEFAULT),
        StaticArm(plant, best, BEST_STATIC),
        PolicyArm(plant, contestants.rule_policies, contestants.rule_setting, rule),
        ControllerArm(plant, make, best),
    ]


def changes_made(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
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


def _metadata(spec: SystemSpec, capacity: float) -> dict[str, Any]:
    return {
        "spec": spec.name,
        "spec_fingerprint": spec.fingerprint,
        "source": "demo",
        "wall_start": time.time(),
        "capacity_requests_per_second": capacity,
    }
