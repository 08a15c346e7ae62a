"""What the controller itself costs: `trimtab control run` beside a testbed under load, process by process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from controller.commands import JOURNAL, METRICS
from controller.figures import STAGES
from controller.journal import Journal
from envs.spec import SystemSpec
from telemetry.collectors.scrape import parse_text
from telemetry.workload import generate_demand
from testbed.launcher import Testbed
from training.excite import MEAN_EVENTS_PER_SECOND
from training.faults.live import deploy, deployment
from training.faults.live_controller import LiveController, cpu_seconds, trimtab
from training.live import replay

REQUESTS_PER_SECOND = 150.0
"""Mean of the replayed day. Little: the host's processors are to be free for what is measured."""
WARM_UP_SECONDS = 15.0
"""Before the measurement: imports, first observations and the first changes are over."""
DEMAND_SEED = 7100
KERNEL = ("controller", "warden")
KINDS = {"Rss": "resident_bytes", "Pss": "proportional_bytes", "Private_Dirty": "private_bytes"}


class FootprintError(RuntimeError):
    """The controller that was to be measured does not run; one line."""


def bench_own(seconds: float, on_progress: Callable[[int, int, str], None] | None = None) -> dict[str, Any]:
    """Run testbed and controller (mode `act`, shipped policies), and measure the controller's processes.

    Args:
        seconds: measured, after a warm-up.
        on_progress: called with seconds done, seconds in all, and a line.

    Returns:
        `cpu_share` (of a core) of all processes together, `processes` {name: cpu_share, resident_bytes,
        proportional_bytes, private_bytes}, `resident_bytes_controller_and_warden`, `changes_per_minute`,
        `stage_seconds` (mean per period).

    Raises:
        FootprintError: the controller does not run.
        TestbedError, LoadError: the testbed cannot be run.
    """
    tell = on_progress or (lambda done, total, line: None)
    tell(0, 0, "starting the testbed")
    spec = SystemSpec.load("reference")
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-own-")))
        testbed = stack.enter_context(Testbed(log_dir=out / "logs"))
        testbed.wait_ready()
        for name, knobs in deployment(spec).items():
            deploy(testbed.url(name), knobs)
        demand = generate_demand(DEMAND_SEED).scaled(REQUESTS_PER_SECOND, MEAN_EVENTS_PER_SECOND)
        length = seconds + 2.0 * WARM_UP_SECONDS
        played = demand.compressed(demand.duration / length).resampled(spec.control_period_seconds)
        replay(testbed.url("load"), played, DEMAND_SEED)
        state, directory = out / "state", str(testbed.state_dir / "testbed.json")
        command = trimtab("control", "run", "--components", directory, "--mode", "act", "--state-dir", str(state))
        controller = LiveController(command, state, out / "controller.log")
        stack.callback(controller.stop)
        controller.keep_alive()
        _wait(WARM_UP_SECONDS, controller, "warming up", tell)
        return _measured(seconds, controller, tell)


def _measured(seconds: float, controller: LiveController, tell: Callable[[int, int, str], None]) -> dict[str, Any]:
    parts, begin, before = controller.parts(), time.monotonic(), _figures(controller.state_dir)
    used = {part: cpu_seconds(pid) for part, pid in parts.items()}
    _wait(seconds, controller, "measuring", tell)
    shares = {part: (cpu_seconds(pid) - used[part]) / (time.monotonic() - begin) for part, pid in parts.items()}
    elapsed, after = time.monotonic() - begin, _figures(controller.state_dir)
    if controller.parts() != parts:
        raise FootprintError(f"of {', '.join(parts)} one was started anew while it was measured; try again")
    memory = {part: _memory(pid) for part, pid in parts.items()}
    growth = {name: after[name] - before[name] for name in before}
    return {
        "seconds": elapsed,
        "changes_per_minute": growth["changes"] * 60.0 / elapsed,
        "cpu_share": sum(shares.values()),
        "processes": {part: {"cpu_share": shares[part], **memory[part]} for part in parts},
        "resident_bytes_controller_and_warden": sum(memory[part]["resident_bytes"] for part in KERNEL),
        "stage_seconds": {stage: growth[stage] / growth["periods"] for stage in STAGES},
    }


def _figures(state_dir: Path) -> dict[str, float]:
    """Counters of a running controller: changes, periods, and the seconds that each stage took."""
    series = parse_text((state_dir / METRICS).read_text())
    periods = sum(value for key, value in series.items() if key.startswith("trimtab_controller_periods_total"))
    stages = {stage: series[f'trimtab_controller_stage_seconds_total{{stage="{stage}"}}'] for stage in STAGES}
    changes = sum(len(record.get("opened", [])) for record in Journal.records(state_dir / JOURNAL))
    return {"changes": float(changes), "periods": periods, **stages}


def _memory(pid: int) -> dict[str, int]:
    """Memory of a process by kind, bytes; what several processes share counts in `resident_bytes` for each."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {name: int(value.split()[0]) << 10 for name, _, value in (line.partition(":") for line in lines)}
    return {key: found[name] for name, key in KINDS.items()}


def _wait(seconds: float, controller: LiveController, what: str, tell: Callable[[int, int, str], None]) -> None:
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < seconds:
        if not controller.pid:
            raise FootprintError(f"the controller has ended: {controller.last_words()}")
        tell(int(passed), int(seconds), what)
        time.sleep(min(1.0, seconds - passed))


def footprint_lines(found: Mapping[str, Any]) -> list[str]:
    """The result as text."""
    lines = [f"{'':12} {'% of a core':>11} {'RSS, MiB':>9} {'PSS, MiB':>9} {'private':>8}"]
    for part, figures in found["processes"].items():
        sizes = [figures[key] / (1 << 20) for key in KINDS.values()]
        lines.append(f"{part:12} {100 * figures['cpu_share']:11.2f} {sizes[0]:9.1f} {sizes[1]:9.1f} {sizes[2]:8.1f}")
    both = found["resident_bytes_controller_and_warden"] / (1 << 20)
    stages = ", ".join(f"{stage} {1e3 * seconds:.2f}" for stage, seconds in found["stage_seconds"].items())
    return [
        *lines,
        f"together {100 * found['cpu_share']:.2f} % of a core at {found['changes_per_minute']:.0f} changes a minute; "
        f"controller and warden {both:.1f} MiB resident",
        f"milliseconds a period, waiting included: {stages}",
    ]
