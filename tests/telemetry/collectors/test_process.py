from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from telemetry.collectors.portable_processes import PortableProcesses
from telemetry.collectors.process import ProcessDetail, ProcessSource
from telemetry.collectors.targets import Named

# A parent with one child; both end when their standard input closes.
FAMILY = """
import subprocess, sys
worker = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.readline()"]
child = subprocess.Popen(worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("up", flush=True)
sys.stdin.readline()
child.communicate(b"\\n")
print("alone", flush=True)
sys.stdin.readline()
"""

# Works, starts threads, runs another program in its place: a line of input for each step.
STEPS = """
import os, sys, threading
sum(i * i for i in range(300_000))
print("up", flush=True)
sys.stdin.readline()
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("threaded", flush=True)
sys.stdin.readline()
os.execv("/bin/sh", ["sh", "-c", "echo other; read line; read line"])
"""


ALWAYS = ProcessDetail(search_share=1.0)
"""Looks for new processes at every reading a second apart, however slow the machine is."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def start(program: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


@pytest.fixture
def family() -> Iterator[subprocess.Popen]:
    with start(FAMILY) as process:
        yield process
        process.kill()


@pytest.fixture
def steps() -> Iterator[subprocess.Popen]:
    with start(STEPS) as process:
        yield process
        process.kill()


def tell(process: subprocess.Popen) -> None:
    process.stdin.write("\n")  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]


def sums(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name.startswith("process_")}


def test_a_group_is_the_whole_tree(family: subprocess.Popen) -> None:
    values = ProcessSource({"serving": family.pid}).collect()
    assert values['process_count{group="serving"}'] == 2
    assert values['process_threads{group="serving"}'] >= 2
    assert values['process_resident_memory_bytes{group="serving"}'] > 1 << 20
    assert values['process_open_fds{group="serving"}'] >= 6


def test_counters_of_a_group_do_not_fall_when_a_worker_ends(family: subprocess.Popen) -> None:
    source = ProcessSource({"g": family.pid})
    before = sums(source.collect())
    tell(family)
    assert family.stdout.readline() == "alone\n"  # type: ignore[union-attr]
    after = sums(source.collect())
    assert after['process_count{group="g"}'] == 1
    assert [k for k in before if "_total" in k and after[k] < before[k]] == []


def test_a_vanished_group_is_absent(family: subprocess.Popen) -> None:
    source = ProcessSource({"g": family.pid, "me": os.getpid()})
    assert any('group="g"' in key for key in source.collect())
    tell(family)
    tell(family)
    family.wait()
    values = source.collect()
    assert not any('group="g"' in key for key in values)
    assert any('group="me"' in key for key in values)


def test_a_group_whose_root_is_a_zombie_is_absent(family: subprocess.Popen) -> None:
    source = ProcessSource({"g": family.pid})
    source.collect()
    family.kill()
    os.waitid(os.P_PID, family.pid, os.WEXITED | os.WNOWAIT)
    assert source.collect() == {}


def test_a_zombie_among_others_has_no_memory_and_is_counted(steps: subprocess.Popen) -> None:
    """Our own child is a zombie from its end until we wait for it; we are the root of the tree."""
    source = ProcessSource({"g": os.getpid()})
    source.collect()
    steps.kill()
    os.waitid(os.P_PID, steps.pid, os.WEXITED | os.WNOWAIT)
    values = source.collect()
    own = f'group="g",pid="{steps.pid}"'
    assert f"workload_process_anonymous_memory_bytes{{{own}}}" not in values
    assert f"workload_process_proportional_memory_bytes{{{own}}}" not in values
    assert values[f'workload_process_cpu_seconds_total{{{own},mode="user"}}'] > 0
    assert values['process_resident_memory_bytes{group="g"}'] > 0
    assert source.missing["zombie"] > 0


def test_a_restarted_component_is_followed_by_its_new_id(family: subprocess.Popen) -> None:
    ids = {"g": family.pid}
    source = ProcessSource(lambda: ids)
    assert source.collect()['process_count{group="g"}'] == 2
    ids["g"] = os.getppid()
    assert source.collect()
    ids.clear()
    assert source.collect() == {}


def test_an_id_that_never_was_is_absent() -> None:
    assert ProcessSource({"g": 2**22 + 1}).collect() == {}


def test_every_process_and_thread_tells_its_own(steps: subprocess.Popen) -> None:
    values = ProcessSource({"g": steps.pid}).collect()
    labels = f'group="g",pid="{steps.pid}"'
    assert values[f'workload_process_cpu_seconds_total{{{labels},mode="user"}}'] > 0
    assert values[f"workload_process_resident_memory_bytes{{{labels}}}"] > 1 << 20
    assert values[f"workload_process_threads{{{labels}}}"] == 1
    ticks = sum(values[f'workload_process_cpu_seconds_total{{{labels},mode="{m}"}}'] for m in ("user", "system"))
    exact = values[f'workload_thread_cpu_seconds_total{{{labels},tid="{steps.pid}"}}']
    assert exact == pytest.approx(ticks, abs=0.021)  # two counters that are each cut off at 10 ms


def test_a_thread_has_series_once_it_is_settled(steps: subprocess.Popen) -> None:
    clock = Clock()
    source = ProcessSource({"g": steps.pid}, clock=clock)
    threads = [name for name in source.collect() if name.startswith("workload_thread_cpu")]
    tell(steps)
    assert steps.stdout.readline() == "threaded\n"  # type: ignore[union-attr]
    clock.now = 20.0
    assert [name for name in source.collect() if name.startswith("workload_thread_cpu")] == threads
    clock.now = 55.0
    assert len([name for name in source.collect() if name.startswith("workload_thread_cpu")]) == 2


def test_a_young_process_counts_in_the_sum_and_changes_no_names(family: subprocess.Popen) -> None:
    clock = Clock()
    source = ProcessSource({"me": os.getpid()}, detail=ALWAYS, clock=clock)
    count = source.collect()['process_count{group="me"}']
    names = source.series()
    with start(FAMILY) as young:
        clock.now = 2.0
        row = np.empty(len(names))
        assert source.read(row)
        assert source.series() is names
        assert dict(zip(names, row, strict=True))['process_count{group="me"}'] == count + 2
        young.kill()
        young.wait()
        assert source.read(row)


def test_a_listed_process_may_end_just_before_the_next_search(family: subprocess.Popen) -> None:
    clock = Clock()
    source = ProcessSource({"me": os.getpid()}, clock=clock)
    assert f'workload_process_threads{{group="me",pid="{family.pid}"}}' in source.collect()
    row = np.empty(len(source.series()))
    family.kill()
    family.wait()
    clock.now = 1000.0
    assert not source.read(row)
    assert f'workload_process_threads{{group="me",pid="{family.pid}"}}' not in source.collect()


def test_an_exec_is_followed(steps: subprocess.Popen) -> None:
    clock = Clock()
    source = ProcessSource({"g": steps.pid}, detail=ProcessDetail(memory_share=1.0), clock=clock)
    share = f'workload_process_proportional_memory_bytes{{group="g",pid="{steps.pid}"}}'
    source.collect()
    before = source.collect()[share]
    tell(steps)
    tell(steps)
    assert [steps.stdout.readline() for _ in range(2)] == ["threaded\n", "other\n"]  # type: ignore[union-attr]
    clock.now = 2.0
    source.collect()
    assert 0 < source.collect()[share] < before / 2


def test_the_proportional_memory_is_read_only_as_often_as_its_share_pays_for(steps: subprocess.Popen) -> None:
    clock = Clock()
    source = ProcessSource({"g": steps.pid}, detail=ProcessDetail(memory_share=1e-9), clock=clock)
    share = f'workload_process_proportional_memory_bytes{{group="g",pid="{steps.pid}"}}'
    source.collect()
    first = source.collect()[share]
    tell(steps)
    tell(steps)
    assert [steps.stdout.readline() for _ in range(2)] == ["threaded\n", "other\n"]  # type: ignore[union-attr]
    clock.now = 100.0
    source.collect()
    assert source.collect()[share] == first


def test_the_cpu_clock_counts_below_a_tick(steps: subprocess.Popen) -> None:
    values = ProcessSource({"g": steps.pid}).collect()
    clock = values['process_cpu_clock_seconds_total{group="g"}']
    ticks = sum(values[f'process_cpu_seconds_total{{group="g",mode="{mode}"}}'] for mode in ("user", "system"))
    assert 0 <= clock - ticks < 0.021
    assert clock != round(clock, 2)


def test_sums_alone_are_twelve_series(family: subprocess.Popen) -> None:
    values = ProcessSource({"g": family.pid}, detail=ProcessDetail(processes=False)).collect()
    assert len(values) == len(sums(values)) == 12


def test_processes_are_found_by_name(family: subprocess.Popen) -> None:
    values = ProcessSource({"g": Named(r"subprocess\.Popen\(worker")}).collect()
    assert f'workload_process_threads{{group="g",pid="{family.pid}"}}' in values
    assert f'workload_process_threads{{group="g",pid="{os.getpid()}"}}' not in values


def test_descriptors_are_given_back_when_processes_end(family: subprocess.Popen) -> None:
    source = ProcessSource({"g": family.pid})
    before = len(os.listdir("/proc/self/fd"))
    source.collect()
    assert len(os.listdir("/proc/self/fd")) > before
    os.kill(family.pid, signal.SIGKILL)
    family.wait()
    source.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_psutil_tells_the_same_sums(family: subprocess.Popen) -> None:
    portable = PortableProcesses({"g": family.pid})
    assert not portable.read(np.empty(0))
    row = np.empty(len(portable.names))
    assert portable.read(row)
    values = dict(zip(portable.names, row.tolist(), strict=True))
    ours = ProcessSource({"g": family.pid}).collect()
    assert values == pytest.approx({name: ours[name] for name in values}, rel=0.02)
