"""What `trimtab monitor` costs, beside node_exporter in the same minute; and whether it lasts while processes churn."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetry.collectors.scrape import parse_text
from training.churn import CHURN

NODE_EXPORTERS = ("prometheus-node-exporter", "node_exporter")
WARM_UP_SECONDS = 6.0
"""Not counted: start, first sweeps, names and templates."""
LOGGED_SECONDS = 5.0
"""Between two looks at descriptors and memory during a soak."""


class BenchError(Exception):
    """What is to be measured does not run."""


@dataclass(frozen=True)
class Usage:
    """What a process and its children that ended have used.

    Attributes:
        cpu_seconds: user and system, to 10 ms.
        rss_bytes: resident memory now.
        fds: open file descriptors.
    """

    cpu_seconds: float
    rss_bytes: float
    fds: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Usage of a process now.

        Raises:
            BenchError: it has ended.
        """
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            ticks = sum(map(int, fields[11:15]))
            rss = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
            return cls(ticks / os.sysconf("SC_CLK_TCK"), float(rss), len(os.listdir(f"/proc/{pid}/fd")))
        except (OSError, IndexError):
            raise BenchError(f"process {pid} has ended while it was measured") from None


class Exporter:
    """A process that shows Prometheus text on a port of 127.0.0.1, scraped once a second.

    Args:
        command: of the process, with `{port}` where the port belongs.
        log: file for what it prints.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/metrics"
        self._name, self._log = command[0], log
        with log.open("wb") as output:
            filled = [word.replace("{port}", str(port)) for word in command]
            self.process = subprocess.Popen(filled, stdout=output, stderr=subprocess.STDOUT)

    def scrape(self) -> str:
        """The page.

        Raises:
            BenchError: there is none.
        """
        try:
            with urllib.request.urlopen(self.url, timeout=5.0) as answer:
                return answer.read().decode()
        except OSError as error:
            last = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise BenchError(f"{self._name} does not show its metrics ({error}): {last[:200]}") from None

    def wait_ready(self, seconds: float = 20.0) -> None:
        """Wait until there is a page.

        Raises:
            BenchError: not in time, or the process ended.
        """
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(BenchError):
                if self.scrape():
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                self.scrape()
                raise BenchError(f"{self._name} shows an empty page for {seconds:g} s")
            time.sleep(0.2)

    def close(self) -> None:
        """End the process."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def bench_monitor(seconds: float = 60.0, hz: float = 1.0, *, testbed: bool = True) -> dict[str, Any]:
    """Cost of `trimtab monitor`, collecting, storing and showing, beside node_exporter's.

    All run as processes of their own, are scraped once a second, and are charged what /proc/PID/stat says. With the
    testbed, our monitor watches its processes; a second one asks its components for their own metrics as well, which
    node_exporter has no counterpart to.

    Args:
        seconds: measured, after a warm-up.
        hz: sweeps of our monitor a second; node_exporter always sweeps when it is scraped.
        testbed: whether the learning system of the testbed runs and is watched meanwhile.

    Returns:
        `series`, `core_share`, `rss_bytes`, `missed_periods`, `sweeps` of ours; the same in `with_components`, None
        without the testbed; `node_exporter` {`series`, `core_share`, `rss_bytes`}, None where it is not installed, and
        `cpu_ratio`, `series_ratio` to it.

    Raises:
        BenchError: a monitor does not run.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-monitor-")))
        measured: dict[str, Exporter] = {}
        watched: list[str] = []
        if testbed:
            components, watched = _testbed(stack, folder)
            command = _monitor_command(folder / "store-2", 1.0 / hz, ["--components", str(components)])
            measured["with_components"] = _start(stack, command, folder / "monitor-2.log")
        measured["trimtab"] = _start(
            stack, _monitor_command(folder / "store", 1.0 / hz, watched), folder / "monitor.log"
        )
        node_exporter = next(filter(None, map(shutil.which, NODE_EXPORTERS)), None)
        if node_exporter is not None:
            command = [node_exporter, "--web.listen-address=127.0.0.1:{port}"]
            measured["node_exporter"] = _start(stack, command, folder / "node_exporter.log")
        found = _measure(measured, seconds)
    ours, other = found.pop("trimtab"), found.get("node_exporter")
    return {
        **ours,
        "node_exporter": other,
        "cpu_ratio": ours["core_share"] / other["core_share"] if other and other["core_share"] else None,
        "series_ratio": ours["series"] / other["series"] if other else None,
        "with_components": found.get("with_components"),
        "seconds": seconds,
        "hz": hz,
    }


def _measure(exporters: dict[str, Exporter], seconds: float) -> dict[str, dict[str, Any]]:
    """Series, share of a core and memory of each, over the same seconds; of ours also sweeps and missed periods."""
    _scrape_all(exporters.values(), WARM_UP_SECONDS)
    before = {name: (Usage.of(one.process.pid), parse_text(one.scrape())) for name, one in exporters.items()}
    begin = time.monotonic()
    _scrape_all(exporters.values(), seconds)
    found = {}
    for name, one in exporters.items():
        usage, passed, page = Usage.of(one.process.pid), time.monotonic() - begin, parse_text(one.scrape())
        found[name] = {
            "series": len(page),
            "core_share": (usage.cpu_seconds - before[name][0].cpu_seconds) / passed,
            "rss_bytes": usage.rss_bytes,
        }
        if "trimtab_sampler_sweeps_total" in page:
            for key in ("sweeps", "missed_periods"):
                found[name][key] = _grown(before[name][1], page, f"trimtab_sampler_{key}_total")
    return found


def soak_monitor(seconds: float = 600.0, hz: float = 1.0) -> dict[str, Any]:
    """Whether `trimtab monitor` leaks or misses anything while processes are started and killed all the time.

    Args:
        seconds: watched, after a warm-up.
        hz: sweeps a second.

    Returns:
        `fds` and `rss_bytes` {`start`, `end`, `max`}, `rss_growth_bytes_per_hour` over the second half, `sweeps`,
        `missed_periods`, `source_errors`, `missing` {reason: values}, `processes_started`, and `log`, a list of
        [seconds, fds, rss_bytes].

    Raises:
        BenchError: the monitor does not last.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-monitor-")))
        churn = stack.enter_context(_ended(subprocess.Popen([sys.executable, "-c", CHURN], stdout=subprocess.PIPE)))
        watched = ["--pid", str(churn.pid)]
        ours = _start(stack, _monitor_command(folder / "store", 1.0 / hz, watched), folder / "monitor.log")
        _scrape_all([ours], WARM_UP_SECONDS)
        first, begin = parse_text(ours.scrape()), time.monotonic()
        log: list[tuple[float, int, float]] = []
        while (passed := time.monotonic() - begin) < seconds:
            usage = Usage.of(ours.process.pid)
            log.append((passed, usage.fds, usage.rss_bytes))
            _scrape_all([ours], min(LOGGED_SECONDS, seconds - passed))
        last = parse_text(ours.scrape())
        started = _started(churn)
    return _soak_report(first, last, log) | {"processes_started": started, "seconds": passed, "hz": hz}


def _soak_report(
    first: dict[str, float], last: dict[str, float], log: list[tuple[float, int, float]]
) -> dict[str, Any]:
    fds, rss = [entry[1] for entry in log], [entry[2] for entry in log]
    half = log[len(log) // 2 :]
    hours = (half[-1][0] - half[0][0]) / 3600
    errors = sum(_grown(first, last, s) for s in last if s.startswith("trimtab_sampler_source_errors_total"))
    missing = {
        match[1]: value
        for series, value in last.items()
        if (match := re.match(r'trimtab_sampler_missing_total\{.*reason="([^"]*)"', series))
    }
    return {
        "fds": {"start": fds[0], "end": fds[-1], "max": max(fds)},
        "rss_bytes": {"start": rss[0], "end": rss[-1], "max": max(rss)},
        "rss_growth_bytes_per_hour": (half[-1][2] - half[0][2]) / hours if hours > 0 else None,
        "sweeps": _grown(first, last, "trimtab_sampler_sweeps_total"),
        "missed_periods": _grown(first, last, "trimtab_sampler_missed_periods_total"),
        "source_errors": errors,
        "missing": missing,
        "log": log,
    }


def _monitor_command(store: Path, period: float, watched: list[str]) -> list[str]:
    period_words = ["--period", f"{period:g}"]
    return [
        sys.executable,
        "-m",
        "trimtab",
        "monitor",
        *period_words,
        "--serve",
        "{port}",
        "--store",
        str(store),
        *watched,
    ]


def _start(stack: contextlib.ExitStack, command: list[str], log: Path) -> Exporter:
    exporter = stack.enter_context(contextlib.closing(Exporter(command, log)))
    exporter.wait_ready()
    return exporter


def _testbed(stack: contextlib.ExitStack, folder: Path) -> tuple[Path, list[str]]:
    """Start the testbed; where its components are found, and the monitor's options to watch its processes."""
    from testbed.launcher import Testbed

    bed = stack.enter_context(Testbed(folder / "testbed", log_dir=folder))
    bed.wait_ready()
    watched = [word for component in bed.components.values() for word in ("--pid", str(component.pid))]
    return bed.state_dir / "testbed.json", watched


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    with process:
        yield process
        process.terminate()


def _started(churn: subprocess.Popen[bytes]) -> int:
    churn.terminate()
    output, _ = churn.communicate()
    return int(output.split()[-1]) if output.split() else 0


def _scrape_all(exporters: Collection[Exporter], seconds: float) -> None:
    """Scrape each once a second for so many seconds."""
    begin = time.monotonic()
    for tick in range(1, math.ceil(seconds) + 1):
        for exporter in exporters:
            exporter.scrape()
        time.sleep(max(0.0, begin + min(tick, seconds) - time.monotonic()))


def _grown(first: dict[str, float], last: dict[str, float], series: str) -> float:
    return last.get(series, 0.0) - first.get(series, 0.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
