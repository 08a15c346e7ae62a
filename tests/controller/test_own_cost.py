from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from controller.own_cost import Limits, OwnCost
from plants import FakeClock

BURNT_SECONDS = 0.2  # many of the 10 ms steps in which the kernel counts


@pytest.fixture
def sleeper() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def burn() -> None:
    end = time.process_time() + BURNT_SECONDS
    while time.process_time() < end:
        pass


@pytest.mark.clause("L9")
def test_processor_time_beyond_the_limit_over_a_whole_window_is_a_problem() -> None:
    clock = FakeClock()
    limits = Limits(cpu_cores=0.001, window_seconds=60.0, resident_bytes=1 << 40)
    cost = OwnCost(lambda: {"controller": os.getpid()}, limits, clock)
    cost.measure()
    burn()
    clock.advance(30.0)
    cost.measure()
    assert cost.problem() is None, "half a window proves nothing"
    clock.advance(30.0)
    cost.measure()
    assert cost.cpu_cores >= 0.7 * BURNT_SECONDS / 60.0
    assert "cores over 60 s, at most 0.001" in str(cost.problem())
    for _ in range(2):
        clock.advance(60.0)
        cost.measure()
    assert cost.problem() is None, "and is over when the window is quiet"


@pytest.mark.clause("L9")
def test_memory_beyond_the_limit_is_a_problem_at_once(sleeper: int) -> None:
    cost = OwnCost(lambda: {"controller": os.getpid(), "warden": sleeper}, Limits(resident_bytes=1 << 20))
    cost.measure()
    assert cost.usage["controller"].resident_bytes > cost.usage["warden"].resident_bytes > 0
    assert "MiB resident, at most 1" in str(cost.problem())


def test_what_a_successor_uses_is_added(sleeper: int) -> None:
    pids = iter([sleeper, os.getpid()])
    cost = OwnCost(lambda: {"warden": next(pids)})
    cost.measure()
    cost.measure()
    assert cost.usage["warden"].cpu_seconds >= 0.7 * time.process_time()


def test_a_process_that_is_gone_takes_no_memory_and_gives_no_time_back() -> None:
    pids = iter([os.getpid(), os.getpid(), 0])
    cost = OwnCost(lambda: {"controller": next(pids)})
    cost.measure()
    burn()
    cost.measure()
    used = cost.usage["controller"].cpu_seconds
    assert used > 0
    cost.measure()
    assert cost.usage["controller"].cpu_seconds == used
    assert cost.resident_bytes == 0
