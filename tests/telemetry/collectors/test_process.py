from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from telemetry.collectors.process import ProcessSource

# A parent with one child; both end when their standard input closes.
FAMILY = """
import subprocess, sys
worker = [sys.executable, "-c", "print('up', flush=True); input()"]
child = subprocess.Popen(worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("up", flush=True)
sys.stdin.readline()
child.communicate(b"\\n")
print("alone", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def family() -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def tell(process: subprocess.Popen) -> None:
    process.stdin.write("\n")  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]


def test_a_group_is_the_whole_tree(family: subprocess.Popen) -> None:
    values = ProcessSource({"serving": family.pid}).collect()
    assert values['process_count{group="serving"}'] == 2
    assert values['process_threads{group="serving"}'] >= 2
    assert values['process_resident_memory_bytes{group="serving"}'] > 1 << 20
    assert values['process_open_fds{group="serving"}'] >= 6


def test_counters_do_not_fall_when_a_worker_ends(family: subprocess.Popen) -> None:
    source = ProcessSource({"g": family.pid})
    before = source.collect()
    tell(family)
    assert family.stdout.readline() == "alone\n"  # type: ignore[union-attr]
    after = source.collect()
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
