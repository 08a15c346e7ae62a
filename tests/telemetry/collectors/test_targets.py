from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry.collectors.source import SourceError
from telemetry.collectors.targets import ControlGroup, Named, Tree
from telemetry.processes import process_start, thread_ids


def test_a_tree_ends_with_its_root_even_if_the_id_is_used_again() -> None:
    assert Tree.of(os.getpid()).pids()[0] == os.getpid()
    assert Tree(os.getpid(), start=process_start(os.getpid()) - 1).pids() == []
    assert Tree.of(2**22 + 1).pids() == []


def test_a_tree_holds_grandchildren() -> None:
    child_program = "import sys; print(1, flush=True); sys.stdin.read()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child_program!r}])"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = Tree.of(os.getpid()).pids()
        assert child.pid in found
        assert set(Tree.of(child.pid).pids()) < set(found)
        assert len(Tree.of(child.pid).pids()) == 2


@pytest.mark.parametrize("hierarchy", ["", "cpuacct", "memory"])
def test_a_control_group_holds_those_below_it(tmp_path: Path, hierarchy: str) -> None:
    folder = tmp_path / hierarchy / "trimtab"
    (folder / "serving").mkdir(parents=True)
    (folder / "cgroup.procs").write_text("7\n")
    (folder / "serving/cgroup.procs").write_text("8\n9\n")
    assert ControlGroup("trimtab", str(tmp_path)).pids() == [7, 8, 9]
    assert ControlGroup("elsewhere", str(tmp_path)).pids() == []


def test_names_are_searched_in_the_command_line_and_never_find_us() -> None:
    program = "import sys; print(1, flush=True); sys.stdin.read()  # odd_name_1"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert Named("odd_name_[0-9]").pids() == [child.pid]
    assert os.getpid() not in Named(".").pids()


def test_a_pattern_that_is_no_expression_is_refused_in_one_line() -> None:
    with pytest.raises(SourceError, match=r"'\(' is no regular expression"):
        Named("(")


def test_threads_of_a_process_that_is_gone_are_none() -> None:
    assert os.getpid() in thread_ids(os.getpid())
    assert thread_ids(2**22 + 1) == []
