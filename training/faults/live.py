"""Real faults on the real testbed: one a minute, while the real controller acts under a replayed request trace."""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from controller.commands import JOURNAL
from controller.guard import GuardConfig
from controller.journal import Journal
from envs.spec import SystemSpec
from telemetry.processes import boot_seconds
from telemetry.workload import generate_demand
from testbed.capacity import measure_capacity
from testbed.launcher import Testbed
from testbed.processes import answers
from training.excite import MEAN_EVENTS_PER_SECOND
from training.faults.live_controller import LiveController, left_groups, request, trimtab
from training.faults.live_faults import WORKLOADS, LiveFault, Scene, Undo, live_faults
from training.faults.live_measures import AFTER_SECONDS, OwnCost, Requests, optimization_figures, rollbacks_near_faults
from training.faults.live_proxy import LyingProxy
from training.live import replay
from training.references import load_references

PEAK_SHARE = 0.6
"""Peak of the replayed day as a share of what serving can do. Less than the demo's 0.8: after a `kill -9` everything
goes back to what was found, and that must be able to carry the load, or its failures would be counted as Trimtab's."""
DISK_MEGABYTES = 64
"""Of the state directory: half an hour of journal, and soon full when somebody fills it."""
FAULT_SECONDS = 60.0
"""Between two faults."""
TICK_SECONDS = 0.25
RESTART_SECONDS = 3.0
"""After which a controller that died is started again, as a service manager would."""
SETTLE_SECONDS = 15.0
"""Before the first fault."""


@dataclass(frozen=True)
class LiveCampaign:
    """What is run.

    Attributes:
        minutes: how long; a fault each.
        seed: of demand, arrivals and what faults draw.
        out: folder for journal and logs.
        spec: source of the system's spec.
    """

    minutes: float
    out: Path
    seed: int = 0
    spec: str = "reference"


@dataclass
class _Directory:
    """Where the controller finds the components: the proxies' URLs and the real process ids."""

    testbed: Testbed
    proxies: dict[str, LyingProxy]
    path: Path

    def pid(self, name: str) -> int:
        """Of a component."""
        return self.testbed.components[name].pid

    def url(self, name: str) -> str:
        """Base URL of a component."""
        return self.testbed.url(name)

    def write(self) -> None:
        """Tell who is there now."""
        urls = {
            name: self.proxies[name].url if name in self.proxies else self.url(name) for name in self.testbed.components
        }
        content = {name: {"url": url, "pid": self.pid(name)} for name, url in urls.items()}
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content))
        temporary.replace(self.path)


@dataclass
class _Run:
    """One run: what is going on, and what has been measured."""

    scene: Scene
    directory: _Directory
    settings: dict[str, dict[str, float]]
    requests: Requests = field(default_factory=Requests)
    cost: OwnCost = field(default_factory=OwnCost)
    told: list[dict[str, Any]] = field(default_factory=list)
    fault: str = "none yet"
    undo: tuple[float, Undo] | None = None
    excused: dict[str, float] = field(default_factory=dict)
    died_at: float | None = None
    fresh: set[str] = field(default_factory=set)

    def tick(self, now: float) -> None:
        """Keep everything running that should run, and look at it."""
        if self.undo is not None and now >= self.undo[0]:
            self.undo[1]()
            self.undo = None
        for name in self.directory.testbed.poll():
            self.directory.write()
            self.fresh.add(name)
        self._follow_restarts(now)
        controller = self.scene.controller
        if controller.pid:
            self.died_at = None
        elif self.died_at is None:
            self.died_at = now
        elif now - self.died_at >= RESTART_SECONDS:
            controller.keep_alive()
        excused = any(until > now for until in self.excused.values())
        with suppress(OSError):
            self.requests.look(self.directory.url("load"), excused, self.fault)
        self.cost.look(controller)

    def inject(self, fault: LiveFault, now: float) -> None:
        """Let it happen."""
        self.fault, begin = fault.name, boot_seconds()
        before = len(self.scene.reverts)
        if fault.breaks:
            self.excused[fault.breaks] = float("inf")
        undo = fault.inject(self.scene)
        if undo is not None:
            self.undo = (now + fault.seconds, undo)
        seconds = [seconds for _, seconds in self.scene.reverts[before:]]
        self.told.append(
            {
                "fault": fault.name,
                "hazard": fault.hazard,
                "boot_seconds": begin,
                "seconds": fault.seconds,
                "revert_seconds": seconds[0] if seconds else None,
            }
        )

    def _follow_restarts(self, now: float) -> None:
        """A fresh process has its deployment's setting again; the window of its own crash ends some time after that."""
        for name in WORKLOADS:
            down = self.excused.get(name) == float("inf") and self.undo is None
            if not (down or name in self.fresh) or not answers(self.directory.url(name)):
                continue
            if name in self.fresh and name in self.settings:
                deploy(self.directory.url(name), self.settings[name])
            self.fresh.discard(name)
            if down:
                self.excused[name] = now + AFTER_SECONDS


def run_live_campaign(campaign: LiveCampaign, on_progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Start testbed and controller, let a fault happen each minute, measure, and leave nothing running.

    Args:
        campaign: what is run.
        on_progress: called with seconds done, seconds in all, and a line.

    Returns:
        The figures of `live`; see docs/faults.md.

    Raises:
        TestbedError, LoadError: the testbed cannot be run.
    """
    spec = SystemSpec.load(campaign.spec)
    campaign.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        on_progress(0, 0, "starting the testbed")
        testbed = stack.enter_context(Testbed(log_dir=campaign.out / "logs"))
        testbed.wait_ready()
        capacity = measure_capacity(testbed.url("serving"))
        run = stack.enter_context(_running(campaign, spec, testbed))
        seconds = 60.0 * campaign.minutes
        demand = generate_demand(campaign.seed + 7100)
        fitted = demand.scaled(PEAK_SHARE * capacity, MEAN_EVENTS_PER_SECOND).compressed(demand.duration / seconds)
        replay(testbed.url("load"), fitted.resampled(spec.control_period_seconds), campaign.seed)
        _play(run, seconds, on_progress)
        status = run.scene.controller.stop()
        figures = _figures(run, seconds, campaign) | {"controller_exit_status": status, "capacity": capacity}
    return figures | {"problems": _problems(figures)}


def _problems(figures: dict[str, Any]) -> list[str]:
    """What must not be, whatever the load of the host; empty if all is well."""
    found = [f"control group {path} was left behind" for path in left_groups()]
    for one in figures["faults"]:
        seconds = one["revert_seconds"]
        if seconds is not None and not seconds <= GuardConfig().lease_seconds + 1.0:  # NaN is not within it
            found.append(f"{one['fault']}: restored after {seconds:.1f} s")
    if not figures["journal"]["equal"]:
        found.append("the journal does not replay")
    if figures["controller_exit_status"]:
        found.append(f"the controller ended with status {figures['controller_exit_status']}")
    return found


@contextmanager
def _running(campaign: LiveCampaign, spec: SystemSpec, testbed: Testbed) -> Iterator[_Run]:
    with ExitStack() as stack:
        state_dir = campaign.out / "state"
        small = stack.enter_context(_small_disk(state_dir))
        proxies = {name: LyingProxy(testbed.url(name)) for name in WORKLOADS}
        for proxy in proxies.values():
            stack.callback(proxy.close)
        directory = _Directory(testbed, proxies, campaign.out / "components.json")
        directory.write()
        settings = deployment(spec)
        for name in WORKLOADS:
            deploy(testbed.url(name), settings[name])
        command = trimtab(
            "control", "run", "--components", str(directory.path), "--mode", "act", "--state-dir", str(state_dir),
            "--spec", campaign.spec,
        )  # fmt: skip
        controller = LiveController(command, state_dir, campaign.out / "controller.log")
        rng = np.random.default_rng(campaign.seed)
        run = _Run(Scene(directory, controller, proxies, spec, state_dir, small, rng), directory, settings)
        stack.callback(controller.stop)
        stack.callback(lambda: run.undo[1]() if run.undo is not None else None)
        controller.keep_alive()
        yield run
        _keep(state_dir / JOURNAL, campaign.out)


def _play(run: _Run, seconds: float, on_progress: Callable[[int, int, str], None]) -> None:
    faults = live_faults(run.scene.small_disk)
    begin = time.monotonic()
    number = 0
    while (now := time.monotonic()) - begin < seconds:
        due = begin + SETTLE_SECONDS + FAULT_SECONDS * number
        if now >= due and now - begin < seconds - SETTLE_SECONDS:
            run.inject(faults[number % len(faults)], now)
            number += 1
        run.tick(time.monotonic())
        on_progress(int(now - begin), int(seconds), f"{run.fault}; {run.requests.availability:.3%} answered")
        time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - now)))


def _figures(run: _Run, seconds: float, campaign: LiveCampaign) -> dict[str, Any]:
    requests, journal = run.requests, run.scene.state_dir / JOURNAL
    killed = [s for how, s in run.scene.reverts if how == "killed"]
    stopped = [s for how, s in run.scene.reverts if how == "stopped"]
    spells = [(one["boot_seconds"], one["boot_seconds"] + one["seconds"]) for one in run.told]
    return {
        "seconds": seconds,
        "faults": run.told,
        "availability": requests.availability,
        "requests": requests.sent,
        "failed": requests.failed,
        "failed_by_fault": requests.by_fault,
        "excluded": {"requests": requests.own_sent, "failed": requests.own_failed},
        **optimization_figures(journal),
        **rollbacks_near_faults(Journal.records(journal), spells),
        **run.cost.figures(seconds),
        "worst_revert_seconds_killed": max(killed, default=None),
        "worst_revert_seconds_stopped": max(stopped, default=None),
        "controller_starts": run.scene.controller.starts,
        "small_disk": run.scene.small_disk,
        "journal": _replayed(run.scene.state_dir),
    }


def _replayed(state_dir: Path) -> dict[str, Any]:
    """What `trimtab control replay` says about the journal."""
    done = subprocess.run(
        trimtab("control", "replay", "--state-dir", str(state_dir), "--json"),
        capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    try:
        return {"equal": done.returncode == 0, **json.loads(done.stdout)}
    except ValueError:
        return {"equal": False, "problem": done.stderr.strip()[-300:]}


def deployment(spec: SystemSpec) -> dict[str, dict[str, float]]:
    """The components' own knobs as a deployment would set them at their start: the best static setting."""
    best = dict(zip(spec.knob_names, load_references(spec).best_static.tolist(), strict=True))
    found: dict[str, dict[str, float]] = {name: {} for name in WORKLOADS}
    for knob in spec.knobs:
        if knob.actuator == "component":
            found[knob.workload][knob.name] = int(best[knob.name]) if knob.integer else best[knob.name]
    return found


def deploy(url: str, knobs: dict[str, float]) -> None:
    """Set a component's knobs; one that does not answer keeps its own."""
    try:
        request("PATCH", f"{url}/knobs", knobs)
    except OSError as error:
        logging.getLogger(__name__).warning("%s was not set up: %s", url, error)


@contextmanager
def _small_disk(path: Path) -> Iterator[bool]:
    """A disk of its own for a folder, where that is allowed; yields whether it is one."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=False)


def _keep(journal: Path, out: Path) -> None:
    """A copy of the journal that outlives the small disk."""
    with suppress(OSError):
        (out / JOURNAL).write_bytes(journal.read_bytes())
