from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.bench_monitor import BenchError, Exporter, Usage, bench_monitor, soak_monitor
from training.churn import CHURN

MIB = 1 << 20


def test_usage_is_what_the_kernel_charges() -> None:
    before = Usage.of(os.getpid())
    sum(i * i for i in range(400_000))
    after = Usage.of(os.getpid())
    assert 0.009 < after.cpu_seconds - before.cpu_seconds < 2.0
    assert after.rss_bytes > MIB
    assert after.fds >= 3


def test_a_process_that_ended_is_told_in_one_line() -> None:
    with pytest.raises(BenchError, match="has ended while it was measured"):
        Usage.of(2**22 + 1)


def test_an_exporter_that_does_not_start_says_what_it_printed(tmp_path: Path) -> None:
    exporter = Exporter(["sh", "-c", "echo no such option"], tmp_path / "log")
    exporter.process.wait()
    with pytest.raises(BenchError, match=r"does not show its metrics.*no such option"):
        exporter.wait_ready()


def test_churn_counts_what_it_started_and_leaves_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", CHURN], stdout=subprocess.PIPE) as churn:
        tree = Path(f"/proc/{churn.pid}/task/{churn.pid}/children")
        while len(tree.read_text().split()) < 24:
            pass
        children = tree.read_text().split()
        churn.terminate()
        started, _ = churn.communicate()
    assert int(started) >= 24
    assert [pid for pid in children if os.path.exists(f"/proc/{pid}")] == []


@pytest.mark.system
def test_a_bare_host_costs_little() -> None:
    found = bench_monitor(seconds=5.0, testbed=False)
    assert found["series"] >= 500
    assert found["missed_periods"] == 0
    assert found["rss_bytes"] < 60 * MIB


@pytest.mark.system
def test_processes_that_come_and_go_cost_no_sample_of_others() -> None:
    found = soak_monitor(seconds=6.0, hz=2.0)
    assert found["processes_started"] >= 24
    assert found["source_errors"] == 0
    assert found["missed_periods"] == 0
    assert found["sweeps"] >= 11
